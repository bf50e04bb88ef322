"""Takes the reports of a shop that charges by itself (`payment_mode` external).

Owns: what each report is answered with, and the port that decides it in one transaction. Keeps: I7, I8, I9: a report
that contradicts what is known changes nothing, is kept for a person to see, and says what to do with the money.
Read next: `adapters/postgres/migrations/sql/0008_external.sql`; `passes.py` for what the shop is shown before.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol, assert_never

import msgspec

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.references import reference_problem
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.ports import Actor, Ids, OutcomeUnknown, StoreUnavailable

_RETRY_MS: Final = 1_000


class ReportWord(StrEnum):
    """What becomes of a report that an order is paid; the order is the precedence."""

    NOT_FOUND = "not_found"
    ELSEWHERE = "elsewhere"  # the sale's orders are paid for here, not at the shop
    REFERENCE_TAKEN = "reference_taken"  # this payment pays for another order of the sale
    OTHER_REFERENCE = "other_reference"  # the order is paid for, by another payment
    ORDER_CLOSED = "order_closed"
    SALE_ABORTED = "sale_aborted"  # the order is about to be CANCELLED
    DIFFERS = "differs"  # another amount or currency than the order's
    SAME = "same"  # reported before
    PAID = "paid"


_KEPT: Final = frozenset(ReportWord) - {
    ReportWord.NOT_FOUND,
    ReportWord.ELSEWHERE,
    ReportWord.SAME,
    ReportWord.PAID,
}


class CancelWord(StrEnum):
    """Why an order could not be cancelled, where the sale is the shop's."""

    ELSEWHERE = "elsewhere"
    PAID_BEFORE = "paid_before"
    ORDER_CLOSED = "order_closed"


class PaidReport(msgspec.Struct, frozen=True, kw_only=True):
    """The shop has the money of an order. `report_id` becomes the payment's id."""

    report_id: str
    order_id: str
    reference: str
    amount_cents: int | None
    currency: str | None
    actor: Actor


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """`order` is the order afterwards, whatever the word; `taken_by` the order that has the reference, if any."""

    word: ReportWord
    order: Order | None = None
    taken_by: str | None = None


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """A report that could not be followed. `answer` is a ReportWord or a CancelWord; `times`: how often it came."""

    report_id: str
    order_id: str
    kind: str
    reference: str
    amount_cents: int | None
    currency: str | None
    answer: str
    at_ms: int
    last_ms: int
    times: int
    actor: Actor


class ReportPage(msgspec.Struct, frozen=True, kw_only=True):
    reports: Sequence[ReportRow]
    next_cursor: str | None = None


class ReportStore(Protocol):
    """Reports in the ledger. Every method is one transaction, may raise StoreUnavailable or OutcomeUnknown, and may be
    repeated."""

    async def paid(self, report: PaidReport) -> Reported:
        """PAID with a payment of gateway `external`, CAPTURED, of the order's amount, if the order is RESERVED: whether
        its time is over is the expirer's to say. Anything but PAID and SAME changes nothing and is kept as a report,
        NOT_FOUND and ELSEWHERE apart."""
        ...

    async def cancelled_late(self, report_id: str, order_id: str, actor: Actor) -> CancelWord | None:
        """Keeps the report that an order was cancelled which has ended already, and says how it ended; None if it did
        end cancelled. ELSEWHERE keeps nothing."""
        ...

    async def reports(self, sale_id: str, *, cursor: str | None, limit: int) -> ReportPage:
        """Kept reports of a sale, the oldest first."""
        ...


class External:
    """One per gate."""

    def __init__(self, store: ReportStore, ordering: Ordering, ids: Ids) -> None:
        self._store = store
        self._ordering = ordering
        self._ids = ids
        self.refused = 0
        """Reports that were refused and kept, repeats included."""

    async def paid(
        self, order_id: str, *, reference: str, amount_cents: int | None, currency: str | None, actor: Actor
    ) -> Order | Refusal:
        """The order as it is after the shop charged for it. Idempotent by the reference."""
        problem = reference_problem(reference)
        if problem is not None:
            return Refusal(Code.INVALID_REQUEST, problem)
        report = PaidReport(
            report_id=self._ids.new_id(),
            order_id=order_id,
            reference=reference,
            amount_cents=amount_cents,
            currency=currency,
            actor=actor,
        )
        try:
            done = await self._store.paid(report)
        except (StoreUnavailable, OutcomeUnknown):
            return _silent()
        self.refused += done.word in _KEPT
        return answer(report, done)

    async def cancelled(self, order_id: str, actor: Actor) -> Order | Refusal:
        """The order's units given back. What comes too late is kept, where the sale is the shop's."""
        order = await self._ordering.cancel(order_id, None, actor)
        if isinstance(order, Order) or order.code is not Code.ORDER_CLOSED:
            return order
        try:
            word = await self._store.cancelled_late(self._ids.new_id(), order_id, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return _silent()
        self.refused += word in (CancelWord.PAID_BEFORE, CancelWord.ORDER_CLOSED)
        if word is CancelWord.PAID_BEFORE:
            detail = "the order is PAID; give the money back and report it with POST /v1/admin/orders/{order_id}/refund"
            return Refusal(Code.CONFLICT, detail)
        return order

    async def reports(self, sale_id: str, *, cursor: str | None, limit: int) -> ReportPage | Refusal:
        try:
            return await self._store.reports(sale_id, cursor=cursor, limit=limit)
        except (StoreUnavailable, OutcomeUnknown):
            return _silent()


def answer(report: PaidReport, done: Reported) -> Order | Refusal:
    """What the shop is told."""
    order = done.order
    if order is None:
        return Refusal(Code.NOT_FOUND, "there is no such order")
    match done.word:
        case ReportWord.PAID | ReportWord.SAME:
            return order
        case ReportWord.NOT_FOUND:
            return Refusal(Code.NOT_FOUND, "there is no such order")
        case ReportWord.ELSEWHERE:
            return Refusal(Code.CONFLICT, "orders of this sale are paid for here; the shop has nothing to report")
        case ReportWord.REFERENCE_TAKEN:
            return Refusal(
                Code.CONFLICT, f"this reference pays for order {done.taken_by}; one payment pays for one order"
            )
        case ReportWord.OTHER_REFERENCE:
            return Refusal(Code.CONFLICT, "the order is paid for with another reference; refund this second payment")
        case ReportWord.ORDER_CLOSED:
            return Refusal(
                Code.ORDER_CLOSED, f"the order is {order.status.value}, its unit is gone; refund this payment"
            )
        case ReportWord.SALE_ABORTED:
            return Refusal(Code.ORDER_CLOSED, "the sale was called off; refund this payment")
        case ReportWord.DIFFERS:
            return Refusal(Code.INVALID_REQUEST, _difference(report, order))
        case _:
            assert_never(done.word)


def _difference(report: PaidReport, order: Order) -> str:
    cents = order.amount_cents if report.amount_cents is None else report.amount_cents
    currency = report.currency or order.currency
    return f"the report says {cents} {currency}, the order costs {order.amount_cents} {order.currency} (in cents)"


def _silent() -> Refusal:
    return Refusal(Code.UNAVAILABLE, "the ledger does not answer; report again, it is safe", _RETRY_MS)
