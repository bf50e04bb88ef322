"""The last step of a sale's day: its report, kept as it was then.

Owns: when the report is final, and what is said of one that is not. Read next: `reporting.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import StepName, StepRow, StepState
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.day_ports import Asked, Detail, NotYet, StepFailed, StepSkipped
from doorbuster.engine.timeline_ports import TimelineStore

Compose = Callable[[str], Awaitable[dict[str, Any] | Refusal]]
"""The whole report of a sale as JSON values."""


class WrapUp:
    def __init__(self, store: TimelineStore, compose: Compose) -> None:
        self._store = store
        self._compose = compose

    async def step(self, asked: Asked) -> Detail:
        sale_id = asked.sale.sale_id
        if asked.sale.status not in SALE_OVER:
            if asked.forced and asked.now_ms < asked.sale.end_ms:
                raise StepSkipped("the sale is not over; `sale report` shows it as of now")
            raise NotYet("the sale has not ended")
        kept = await self._store.report(sale_id)
        if kept is not None and kept.report["final"]:
            return _figures(kept.report)
        audit = _row(await self._store.steps(sale_id), StepName.FINAL_AUDIT)
        if audit is not None and not audit.over:
            raise NotYet("the last audit is not done")
        report = await self._compose(sale_id)
        if isinstance(report, Refusal):
            raise StepFailed(report.detail)
        report["timeline"] = [step for step in report["timeline"] if step["step"] != StepName.REPORT.value]
        if audit is not None and audit.state is StepState.DONE:
            report |= {"final": True, "why_not_final": "", "final_at_earliest": None}
        await self._store.keep_report(sale_id, report)
        return _figures(report)


def why_not_final(sale: Sale, steps: Sequence[StepRow]) -> tuple[str, int | None]:
    """Of a report that is made now: what it waits for, and when it will be final at the earliest, None if that takes a
    person."""
    audit, report = _row(steps, StepName.FINAL_AUDIT), _row(steps, StepName.REPORT)
    if audit is None or report is None:
        return "the sale has no steps, so nobody makes its last report", None
    earliest = max(report.due_ms, *(row.next_ms or 0 for row in (audit, report)))
    if sale.status not in SALE_OVER:
        return "the sale is not over", earliest
    if audit.over and audit.state is not StepState.DONE:
        what = "left out" if audit.state is StepState.SKIPPED else "given up"
        return f"the last audit was {what} ({audit.words}); run the steps final-audit and report again", None
    if not audit.over:
        return f"the last audit is not done: {audit.words or 'it waits for the last hold'}", earliest
    if report.over:
        return "the last audit was done after the report; run the step report again", None
    return f"the step report is not done: {report.words or 'it is next'}", earliest


def _row(steps: Sequence[StepRow], step: StepName) -> StepRow | None:
    return next((row for row in steps if row.step is step), None)


def _figures(report: dict[str, Any]) -> Detail:
    money, orders = report["money"], report["orders"]
    return {
        "paid_orders": orders["paid"],
        "revenue_cents": money["revenue_cents"],
        "currency": money["currency"],
        "sold_out_after_ms": report["pace"]["sold_out_ms"],
        "audit": "in_step" if report["final"] else "not in step",
    }
