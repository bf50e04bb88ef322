"""The shop's reports and the keys of passes in memory: implements `engine.external.ReportStore` and
`engine.passes.PassKeyStore`.

Owns: the precedence of what a report is answered with. Keeps: I7, I8, I9, I13; the lines are marked. No method waits
between looking and writing, so each is atomic. Read next: `payments.py`.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from doorbuster.domain.order import Order
from doorbuster.domain.passes import KEY_AHEAD_MS, KEY_KEPT_MS, PassKey
from doorbuster.domain.payment import EXTERNAL_GATEWAY
from doorbuster.domain.sale import PaymentMode
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.external import CancelWord, PaidReport, Reported, ReportPage, ReportRow, ReportWord
from doorbuster.engine.ports import Actor, Clock
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.payments import ReferencePaymentStore


class ReferenceReportStore:
    def __init__(self, ledger: ReferenceLedger, payments: ReferencePaymentStore) -> None:
        self._ledger = ledger
        self._payments = payments
        self._rows: dict[tuple[str, str, str, str], ReportRow] = {}
        """By order, kind, reference and answer: the same report again is the same row."""

    async def paid(self, report: PaidReport) -> Reported:
        order = self._ledger.orders.get(report.order_id)
        if order is None or order.idempotency_key is None:
            return Reported(word=ReportWord.NOT_FOUND)
        owner = self._owner(order.sale_id, report.reference)
        word = self._word(order, owner, report)
        if word is ReportWord.PAID:
            owner = order.order_id
            self._payments.paid_outside(order, report.report_id, report.reference)
            self._ledger.note(order.sale_id, "paid outside", report.actor)
        elif word not in (ReportWord.SAME, ReportWord.ELSEWHERE):
            self._note(order, "paid", word.value, report)
        return Reported(word=word, order=self._ledger.orders[order.order_id], taken_by=owner)

    def _word(self, order: Order, owner: str | None, report: PaidReport) -> ReportWord:
        sale = self._ledger.sales[order.sale_id]
        if sale.payment_mode is not PaymentMode.EXTERNAL:
            return ReportWord.ELSEWHERE
        if owner is not None and owner != order.order_id:  # I7
            return ReportWord.REFERENCE_TAKEN
        if order.status is OrderStatus.PAID and owner is None:  # I8
            return ReportWord.OTHER_REFERENCE
        if order.status not in (OrderStatus.RESERVED, OrderStatus.PAID):
            return ReportWord.ORDER_CLOSED
        if order.status is OrderStatus.RESERVED and sale.status is SaleStatus.CANCELLED:
            return ReportWord.SALE_ABORTED
        if report.amount_cents not in (None, order.amount_cents) or report.currency not in (None, order.currency):  # I9
            return ReportWord.DIFFERS
        return ReportWord.SAME if order.status is OrderStatus.PAID else ReportWord.PAID

    def _owner(self, sale_id: str, reference: str) -> str | None:
        rows = self._payments.rows.values()
        return next(
            (
                row.order.order_id
                for row in rows
                if row.gateway == EXTERNAL_GATEWAY and row.order.sale_id == sale_id and row.gateway_ref == reference
            ),
            None,
        )

    async def cancelled_late(self, report_id: str, order_id: str, actor: Actor) -> CancelWord | None:
        order = self._ledger.orders.get(order_id)
        if order is None or self._ledger.sales[order.sale_id].payment_mode is not PaymentMode.EXTERNAL:
            return CancelWord.ELSEWHERE
        words = {OrderStatus.PAID: CancelWord.PAID_BEFORE, OrderStatus.EXPIRED: CancelWord.ORDER_CLOSED}
        word = words.get(order.status)
        if word is not None:
            report = PaidReport(
                report_id=report_id, order_id=order_id, reference="", amount_cents=None, currency=None, actor=actor
            )
            self._note(order, "cancelled", word.value, report)
        return word

    async def reports(self, sale_id: str, *, cursor: str | None, limit: int) -> ReportPage:
        rows = sorted(self._rows.values(), key=lambda row: row.report_id)
        wanted = [
            row
            for row in rows
            if self._ledger.orders[row.order_id].sale_id == sale_id and (cursor is None or row.report_id > cursor)
        ]
        shown = wanted[:limit]
        return ReportPage(reports=shown, next_cursor=shown[-1].report_id if len(wanted) > limit else None)

    def _note(self, order: Order, kind: str, word: str, report: PaidReport) -> None:
        key = (order.order_id, kind, report.reference, word)
        now, before = self._ledger.clock.now_ms(), self._rows.get(key)
        self._rows[key] = ReportRow(
            report_id=report.report_id if before is None else before.report_id,
            order_id=order.order_id,
            kind=kind,
            reference=report.reference,
            amount_cents=report.amount_cents,
            currency=report.currency,
            answer=word,
            at_ms=now if before is None else before.at_ms,
            last_ms=now,
            times=1 if before is None else before.times + 1,
            actor=report.actor,
        )


class ReferencePassKeyStore:
    """Of a ledger in memory anybody may know the keys."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made = 0
        self._keys: list[PassKey] = []
        """The oldest first."""

    async def pass_keys(self) -> Sequence[PassKey]:
        if not self._keys:
            self._make(0)
        now = self._clock.now_ms()
        return [key for key in reversed(self._keys) if key.leaves_ms is None or key.leaves_ms > now]

    async def rotate_pass_keys(self, *, leaked: bool, actor: Actor) -> None:
        del actor
        now = self._clock.now_ms()
        if leaked:
            self._keys.clear()
            self._make(0)
        elif not any(key.signs_from_ms > now for key in self._keys):
            self._make(now + KEY_AHEAD_MS)

    def _make(self, signs_from_ms: int) -> None:
        if self._keys:
            self._keys[-1] = msgspec.structs.replace(self._keys[-1], leaves_ms=signs_from_ms + KEY_KEPT_MS)
        self._made += 1
        secret = hashlib.sha256(b"pass key %d of the reference" % self._made).digest()
        self._keys.append(
            PassKey(
                key_id=hashlib.sha256(secret).hexdigest()[:16],
                secret=secret,
                made_ms=self._clock.now_ms(),
                signs_from_ms=signs_from_ms,
                leaves_ms=None,
            )
        )
