"""What was done to sales, in memory: implements `engine.actions.ActionStore`."""

from collections.abc import Sequence

from doorbuster.engine.actions import Action
from doorbuster.reference.ledger import ReferenceLedger


class ReferenceActions:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger

    async def actions(self, sale_id: str, *, before: int | None, limit: int) -> Sequence[Action]:
        found = [
            action
            for action in reversed(self._ledger.actions)
            if action.sale_id == sale_id and (before is None or action.action_id < before)
        ]
        return found[:limit]
