"""The steps of a sale's day in memory: implements `engine.timeline_ports.TimelineStore`.

Owns: rows by sale and step, planned whenever the ledger writes the sale. Read next: `domain/timeline.py`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from doorbuster.domain.figures import SaleFigures
from doorbuster.domain.order import Order
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import (
    HOLDS_UP_TRIES,
    LEASE_MS,
    LEFT_OUT,
    OF_THE_PLAN,
    ORDER_PATIENCE_MS,
    ORDINAL,
    StepName,
    StepRow,
    StepState,
    first_plan,
    replanned,
)
from doorbuster.domain.transitions import SALE_OVER, OrderStatus, SaleStatus
from doorbuster.engine.ports import Actor
from doorbuster.engine.timeline_ports import KeptReport, Outcome
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.payments import DECLINED


class ReferenceTimelineStore:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self._rows: dict[tuple[str, StepName], StepRow] = {}
        self._plans: dict[str, Plan] = {}
        self._reports: dict[str, KeptReport] = {}
        for sale in ledger.sales.values():
            self._note(None, sale)
        ledger.watchers.append(self._note)

    async def steps(self, sale_id: str) -> Sequence[StepRow]:
        return self._of(sale_id)

    async def claim(self, lease: str, *, limit: int) -> Sequence[StepRow]:
        now = self._ledger.clock.now_ms()
        ready = sorted(
            (row for row in self._rows.values() if row.next_ms is not None and row.next_ms <= now),
            key=lambda row: (row.attempts > HOLDS_UP_TRIES, row.due_ms, ORDINAL[row.step]),
        )
        free = [row for row in ready if not any(_holds_up(other, row, now) for other in self._of(row.sale_id))]
        return [
            self._write(
                row,
                state=StepState.RUNNING,
                attempts=1 if row.state in (StepState.DONE, StepState.SKIPPED) else row.attempts + 1,
                lease=lease,
                started_ms=now,
                finished_ms=None,
                next_ms=now + LEASE_MS,
            )
            for row in free[:limit]
        ]

    async def renew(self, row: StepRow) -> bool:
        found = [one for one in self._rows.values() if one.lease == row.lease]
        for one in found:
            self._write(one, next_ms=self._ledger.clock.now_ms() + LEASE_MS)
        return bool(found)

    async def finish(self, row: StepRow, outcome: Outcome) -> bool:
        current = self._rows.get((row.sale_id, row.step))
        if current is None or not current.lease or current.lease != row.lease:
            return False
        now = self._ledger.clock.now_ms()
        done = self._write(
            current,
            state=outcome.state,
            lease="",
            words=outcome.words,
            detail=outcome.detail,
            attempts=current.attempts - (not outcome.counts),
            next_ms=None if outcome.wait_ms is None else now + outcome.wait_ms,
            finished_ms=None if outcome.state is StepState.DUE else now,
            forced=current.forced and outcome.wait_ms is not None,
        )
        if current.forced and done.over and done.due_ms > now:
            words = "; ".join(part for part in (outcome.words, "run before its time, and again at its time") if part)
            self._write(done, next_ms=done.due_ms, words=words)
        return True

    async def run(self, sale_id: str, step: StepName, actor: Actor) -> str:
        row = self._rows.get((sale_id, step))
        if row is None:
            return "not_found"
        if row.state is StepState.RUNNING:
            return "running"
        now = self._ledger.clock.now_ms()
        self._write(
            row, state=StepState.DUE, attempts=0, next_ms=now, started_ms=None, finished_ms=None, forced=True, words=""
        )
        self._ledger.note(sale_id, "step-run", actor)
        return "ok"

    async def skip(self, sale_id: str, step: StepName, actor: Actor) -> str:
        row = self._rows.get((sale_id, step))
        if row is None:
            return "not_found"
        if row.state in (StepState.DONE, StepState.SKIPPED):
            return row.state.value
        words = f"{LEFT_OUT}{actor.name}: {actor.reason}".rstrip(": ")
        now = self._ledger.clock.now_ms()
        self._write(row, state=StepState.SKIPPED, lease="", next_ms=None, finished_ms=now, forced=False, words=words)
        self._ledger.note(sale_id, "step-skip", actor)
        return "ok"

    async def plan(self, sale_id: str) -> Plan:
        return self._plans.get(sale_id, Plan())

    async def set_plan(self, sale_id: str, plan: Plan, actor: Actor) -> bool:
        if sale_id not in self._ledger.sales:
            return False
        self._plans[sale_id] = plan
        now = self._ledger.clock.now_ms()
        for row in self._of(sale_id) if self._ledger.sales[sale_id].status is SaleStatus.SCHEDULED else ():
            if row.state is StepState.SKIPPED and row.step in OF_THE_PLAN and not row.left_out:
                at = max(row.due_ms, now)
                self._rows[sale_id, row.step] = StepRow(sale_id=sale_id, step=row.step, due_ms=row.due_ms, next_ms=at)
        self._ledger.note(sale_id, "plan", actor)
        return True

    async def keep_report(self, sale_id: str, report: dict[str, Any]) -> None:
        kept = self._reports.get(sale_id)
        if kept is not None and kept.report["final"]:
            return
        self._reports[sale_id] = KeptReport(report=report, at_ms=self._ledger.clock.now_ms())

    async def report(self, sale_id: str) -> KeptReport | None:
        return self._reports.get(sale_id)

    def _of(self, sale_id: str) -> list[StepRow]:
        return [row for step in StepName if (row := self._rows.get((sale_id, step))) is not None]

    def _write(self, row: StepRow, **changes: object) -> StepRow:
        changed = msgspec.structs.replace(row, **changes)
        self._rows[row.sale_id, row.step] = changed
        return changed

    def _note(self, before: Sale | None, after: Sale) -> None:
        """In the transaction that writes the sale."""
        if before is None:
            for row in first_plan(after):
                self._rows[row.sale_id, row.step] = row
            return
        moved = (before.start_ms, before.end_ms, before.checkout_ttl_seconds) != (
            after.start_ms,
            after.end_ms,
            after.checkout_ttl_seconds,
        )
        over = before.status is not after.status and after.status in SALE_OVER
        if moved or over:
            for row in self._of(after.sale_id):
                self._rows[row.sale_id, row.step] = replanned(row, after, self._ledger.clock.now_ms())

    async def figures(self, sale_id: str) -> SaleFigures:
        """Implements `engine.reporting.FigureStore`. This ledger keeps no attempts: none are counted."""
        orders = [order for order in self._ledger.orders_of(sale_id) if order.idempotency_key is not None]
        paid = [order for order in orders if order.status is OrderStatus.PAID]
        kept = [order for order in paid if order.order_id not in self._ledger.returned]
        held = [order for order in orders if order.status is OrderStatus.RESERVED]
        took = sorted((order.closed_ms or 0) - order.reserved_ms for order in paid)
        units, several = Counter[str](), Counter[str]()
        for order in [*kept, *held]:
            units[order.user_id] += order.quantity
            several[order.user_id] += 1
        return SaleFigures(
            orders=len(orders),
            buyers=len({order.user_id for order in orders}),
            paid_orders=len(paid),
            paid_units=sum(order.quantity for order in kept),
            cancelled_orders=sum(order.status is OrderStatus.CANCELLED for order in orders),
            **self._causes(sale_id, orders),
            expired_orders=sum(order.status is OrderStatus.EXPIRED for order in orders),
            reserved_orders=len(held),
            refunded_orders=len(paid) - len(kept),
            revenue_cents=sum(order.amount_cents for order in kept),
            refunded_cents=sum(order.amount_cents for order in paid) - sum(order.amount_cents for order in kept),
            pay_p50_ms=_rank(took, 0.5),
            pay_p95_ms=_rank(took, 0.95),
            top_buyer_units=max(units.values(), default=0),
            buyers_of_several=sum(count > 1 for count in several.values()),
            blocked_accounts=len(self._ledger.blocked[sale_id]),
            grants_out_of_order=_out_of_order(orders),
        )

    def _causes(self, sale_id: str, orders: Sequence[Order]) -> Counter[str]:
        """Cancelled orders by why, where it is one that the figures name."""
        aborted = self._ledger.sales[sale_id].status is SaleStatus.CANCELLED
        end_ms = self._rows[sale_id, StepName.END].due_ms
        found = Counter[str]()
        for order in orders:
            by = self._ledger.closed_by.get(order.order_id)
            if order.status is not OrderStatus.CANCELLED or by is None:
                continue
            if by.name == DECLINED.name:
                found["declined_orders" if by == DECLINED else "payment_failed_orders"] += 1
            elif by.name == "buyer":
                found["given_back_orders"] += 1
            elif aborted and (order.closed_ms or 0) >= end_ms:
                found["aborted_orders"] += 1
        return found


def _holds_up(other: StepRow, row: StepRow, now: int) -> bool:
    """Whether `row` has to wait for `other`, which is of the same sale."""
    if other.step is row.step or other.attempts > HOLDS_UP_TRIES or other.next_ms is None:
        return False
    earlier = (other.due_ms, ORDINAL[other.step]) < (row.due_ms, ORDINAL[row.step])
    if other.next_ms <= now:
        return earlier
    return other.state is StepState.RUNNING and (other.started_ms or 0) > now - ORDER_PATIENCE_MS


def _rank(values: Sequence[int], share: float) -> int | None:
    """The first value that at least this share is not above, as percentile_disc has it."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None


def _out_of_order(orders: Sequence[Order]) -> int:
    latest, wrong = 0, 0
    for order in sorted((one for one in orders if one.line_number), key=lambda one: one.line_number or 0):
        wrong += order.reserved_ms < latest
        latest = max(latest, order.reserved_ms)
    return wrong
