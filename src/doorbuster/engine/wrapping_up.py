"""The last step of a sale's day: its report, kept as it was then.

Owns: when the report is final. Read next: `reporting.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.timeline import StepName, StepState
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
        audit = next((row for row in await self._store.steps(sale_id) if row.step is StepName.FINAL_AUDIT), None)
        if audit is not None and not audit.over and not asked.forced:
            raise NotYet("the last audit is not done")
        report = await self._compose(sale_id)
        if isinstance(report, Refusal):
            raise StepFailed(report.detail)
        report["timeline"] = [step for step in report["timeline"] if step["step"] != StepName.REPORT.value]
        report["final"] = audit is not None and audit.state is StepState.DONE
        await self._store.keep_report(sale_id, report)
        money, orders = report["money"], report["orders"]
        return {
            "paid_orders": orders["paid"],
            "revenue_cents": money["revenue_cents"],
            "currency": money["currency"],
            "sold_out_after_ms": report["pace"]["sold_out_ms"],
            "audit": "in_step" if report["final"] else "not in step",
        }
