"""What was done to a sale, by whom and why, for those who ask later.

Owns: the port. Actions are written by the transactions that do them; nobody writes them here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from doorbuster.engine.ports import Actor


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """`action_id` grows with time. `detail` is for people: what was set, from what to what."""

    action_id: int
    sale_id: str
    what: str
    actor: Actor
    at_ms: int
    detail: Mapping[str, Any] = {}


class ActionStore(Protocol):
    async def actions(self, sale_id: str, *, before: int | None, limit: int) -> Sequence[Action]:
        """The newest first, of those before that `action_id`. May raise StoreUnavailable."""
        ...
