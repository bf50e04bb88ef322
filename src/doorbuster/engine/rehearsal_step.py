"""The step of the sale's day that has a sale rehearsed half an hour before.

Owns: when it is left out, and who hears of a no-go. Read next: `rehearsing.py`.
"""

import asyncio
from typing import Any, Final

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import CLEAR_MS, Sheet, Verdict, Wish
from doorbuster.engine.day_ports import Asked, Detail, NotYet, PageCall, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import Actor, Ids
from doorbuster.engine.rehearsal_ports import Rehearsal, RehearsalDesk

_TIMELINE: Final = Actor(name="timeline", reason="the rehearsal before the sale")


class RehearsalStep:
    """The step of the timeline: has the sale rehearsed, and calls somebody if it should not go ahead."""

    def __init__(self, store: RehearsalDesk, ids: Ids, on_call: OnCall, url: str, *, look_s: float = 1.0) -> None:
        self._store = store
        self._ids = ids
        self._on_call = on_call
        self._url = url
        self._look_s = look_s

    async def step(self, asked: Asked) -> Detail:
        sale_id = asked.sale.sale_id
        self._skip(asked)
        running = await self._store.latest(sale_id)
        if running is None or running.over:
            wish = Wish(multiple=asked.plan.rehearsal_multiple)
            asked_for = await self._store.ask(self._ids.new_id(), sale_id, wish, _TIMELINE)
            if isinstance(asked_for, Refusal):
                if "under way" in asked_for.detail:
                    raise NotYet(asked_for.detail)
                if asked_for.code is Code.CONFLICT and asked.attempt == 1:
                    raise StepSkipped(asked_for.detail)
                raise StepFailed(asked_for.detail)  # after a no-go it stays failed
            running = asked_for
        while not running.over:
            await asyncio.sleep(self._look_s)
            running = await self._store.get(running.rehearsal_id) or running
        return await self._outcome(sale_id, running)

    def _skip(self, asked: Asked) -> None:
        if not asked.forced and not asked.plan.rehearse:
            raise StepSkipped("the plan says that it is not rehearsed")
        if asked.now_ms > asked.sale.start_ms - CLEAR_MS:
            raise StepSkipped("the sale begins within five minutes, or has begun: a rehearsal would be in its way")
        if not self._url:
            raise StepSkipped("DOORBUSTER_PUBLIC_URL is not set for the worker")

    async def _outcome(self, sale_id: str, found: Rehearsal) -> Detail:
        key = f"rehearsal:{sale_id}"
        if found.sheet is None:
            raise StepFailed(found.words or "it was stopped")
        detail = {"verdict": found.sheet.verdict.value, "reasons": found.sheet.reasons, **_figures(found.sheet)}
        if found.sheet.verdict is Verdict.NO_GO:
            text = "; ".join(found.sheet.reasons)
            await self._on_call.call(PageCall(key=key, title="The rehearsal says no-go", text=text, sale_id=sale_id))
            raise StepFailed(f"no-go: {text}", detail, told=True)
        await self._on_call.resolve(key, "a later rehearsal says go")
        return detail


def _figures(sheet: Sheet) -> dict[str, Any]:
    names = ("buyers", "requests", "p99_ms", "peak_per_s", "headroom", "units_sold")
    return {name: sheet.figures[name] for name in names if name in sheet.figures}
