"""What an operator sees of a sale's day and may do about it: the steps, the plan, run and skip.

Owns: the use case and its refusals. Read next: `running.py`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.plan import Plan, plan_problems
from doorbuster.domain.timeline import StepName, StepRow
from doorbuster.engine.day_ports import Detail
from doorbuster.engine.ports import Actor, OutcomeUnknown, SaleStore, StoreUnavailable
from doorbuster.engine.timeline_ports import TimelineStore

Progress = Callable[[str], Awaitable[Detail]]
"""What has become of a step's work since the step itself was done: mails that were queued and are sent since."""


class Planning:
    """Every method may be repeated."""

    def __init__(
        self, sales: SaleStore, store: TimelineStore, rules: frozenset[str], progress: Mapping[StepName, Progress]
    ) -> None:
        self._sales = sales
        self._store = store
        self._rules = rules
        self._progress = progress

    async def steps(self, sale_id: str) -> Sequence[StepRow] | Refusal:
        try:
            rows = await self._store.steps(sale_id)
            if not rows and await self._sales.get(sale_id) is None:
                return _no_sale()
            return [await self._with_progress(row) for row in rows]
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()

    async def run(self, sale_id: str, step: StepName, actor: Actor) -> Sequence[StepRow] | Refusal:
        """Have it done now, also if it is done already or not due yet."""
        try:
            word = await self._store.run(sale_id, step, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()
        if word == "running":
            return Refusal(Code.CONFLICT, "the step is running; wait for it, or skip it first")
        return _no_sale() if word == "not_found" else await self.steps(sale_id)

    async def skip(self, sale_id: str, step: StepName, actor: Actor) -> Sequence[StepRow] | Refusal:
        """Leave it out. The reason is for those who ask later why it was not done."""
        if not actor.reason.strip():
            return Refusal(Code.INVALID_REQUEST, "reason is missing; say why the step is left out")
        try:
            word = await self._store.skip(sale_id, step, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()
        match word:
            case "not_found":
                return _no_sale()
            case "done":
                return Refusal(Code.CONFLICT, "the step is done; it cannot be left out any more")
            case _:
                return await self.steps(sale_id)

    async def plan(self, sale_id: str) -> Plan | Refusal:
        try:
            if await self._sales.get(sale_id) is None:
                return _no_sale()
            return await self._store.plan(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()

    async def set_plan(self, sale_id: str, plan: Plan, actor: Actor) -> Plan | Refusal:
        """Replace the plan. Steps that are done are not repeated by it."""
        problems = plan_problems(plan, self._rules)
        if problems:
            return Refusal(Code.INVALID_REQUEST, "; ".join(problems))
        try:
            known = await self._store.set_plan(sale_id, plan, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()
        return plan if known else _no_sale()

    async def _with_progress(self, row: StepRow) -> StepRow:
        ask = self._progress.get(row.step)
        if ask is None or row.started_ms is None:
            return row
        return msgspec.structs.replace(row, detail={**row.detail, **await ask(row.sale_id)})


def _no_sale() -> Refusal:
    return Refusal(Code.NOT_FOUND, "there is no such sale")


def _unavailable() -> Refusal:
    return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
