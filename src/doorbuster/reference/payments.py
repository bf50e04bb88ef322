"""Payment attempts in memory: implements `engine.payment_ports.PaymentStore` over the reference ledger.

Owns: the precedence of what `begin` says, and which step starts from which states. Keeps: I5, I8, I9, I11, I13; the
lines are marked. No method waits between looking and writing, so each is atomic. Read next: `ledger.py`.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Order, PaymentView
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import (
    EXTERNAL_GATEWAY,
    FREE_GATEWAY,
    PAYMENT_OPEN,
    PAYMENT_UNFINISHED,
    Attempt,
    VoidReason,
)
from doorbuster.domain.sale import PaymentMode, Sale
from doorbuster.domain.transitions import PAYMENT_ARROWS, OrderStatus, PaymentState, SaleStatus, may_move
from doorbuster.engine.payment_ports import NOTHING_TO_REFUND, BeginWord, Begun, NotBegunWord, PayAsk, not_begun
from doorbuster.engine.ports import Actor, InvariantViolation
from doorbuster.reference.ledger import ReferenceLedger

DECLINED: Final = Actor(name="payment", reason="the payment was declined")
_CAPTURE_REFUSED: Final = Actor(name="payment", reason="the capture was refused")


class ReferencePaymentStore:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self.rows: dict[str, Attempt] = {}
        """Attempts by payment id; the order in each is the one it began with."""
        self.look_at: set[str] = set()
        """Attempts of which a gateway has news."""
        self._of_order: defaultdict[str, list[str]] = defaultdict(list)
        """Payment ids by order, the first first."""

    async def begin(self, ask: PayAsk) -> Begun | Refusal:
        order = self._ledger.orders.get(ask.order_id)
        if order is None or order.user_id != ask.user_id:
            return not_begun(NotBegunWord.NOT_FOUND, attempts=0)
        if not _is_storable(ask.key):
            return Refusal(Code.INVALID_REQUEST, "the idempotency key contains characters that cannot be kept")
        sale = self._ledger.sales[order.sale_id]
        past = [self.rows[payment_id] for payment_id in self._of_order[order.order_id]]
        same = next((row for row in past if row.idempotency_key == ask.key), None)
        if same is not None and same.body_digest != ask.digest:  # I5
            return not_begun(NotBegunWord.MISMATCH, attempts=sale.payment_attempts)
        if same is not None:
            return Begun(word=BeginWord.REPLAYED, attempt=self._shown(same))
        busy = next((row for row in past if row.state in PAYMENT_OPEN), None)
        if busy is not None and order.status is OrderStatus.RESERVED:  # I8
            return Begun(word=BeginWord.BUSY, attempt=self._shown(busy))
        word = self._why_not(order, sale, past)
        if word is not None:
            return not_begun(word, attempts=sale.payment_attempts)
        return self._begin(order, ask, len(past) + 1)

    def _why_not(self, order: Order, sale: Sale, past: Sequence[Attempt]) -> NotBegunWord | None:
        declined = sum(row.state is PaymentState.DECLINED for row in past)
        if order.status is not OrderStatus.RESERVED:
            return NotBegunWord.CLOSED
        if sale.status is SaleStatus.CANCELLED:
            return NotBegunWord.ABORTED
        if order.expires_ms <= self._ledger.clock.now_ms():  # I11
            return NotBegunWord.EXPIRED
        if sale.payment_mode is PaymentMode.EXTERNAL:
            return NotBegunWord.ELSEWHERE
        if declined >= sale.payment_attempts or len(past) >= limits.PAYMENT_ATTEMPTS_MAX:
            return NotBegunWord.USED_UP
        return None

    def _begin(self, order: Order, ask: PayAsk, number: int) -> Begun:
        free = order.amount_cents == 0
        now = self._ledger.clock.now_ms()
        row = Attempt(
            payment_id=ask.payment_id,
            attempt=number,
            gateway=FREE_GATEWAY if free else ask.gateway,
            payment_method=ask.payment_method,
            state=PaymentState.CAPTURED if free else PaymentState.INTENT,
            amount_cents=order.amount_cents,  # I9
            currency=order.currency,
            idempotency_key=ask.key,
            body_digest=ask.digest,
            gateway_ref=None,
            decline_reason=None,
            created_ms=now,
            updated_ms=now,
            order=order,
        )
        self._of_order[order.order_id].append(row.payment_id)
        self._keep(row)
        if free:
            self._ledger.mark_paid(order.order_id)
        return Begun(word=BeginWord.FREE if free else BeginWord.BEGUN, attempt=self._shown(row))

    # ------------------------------------------------------------------------------------------------ steps

    async def send(self, payment_id: str) -> Attempt:
        return self._move(payment_id, PaymentState.SENT, PaymentState.INTENT)

    async def decline(self, payment_id: str, reason: str) -> Attempt:
        row = self._move(payment_id, PaymentState.DECLINED, PaymentState.SENT, decline_reason=reason)
        sale = self._ledger.sales[row.order.sale_id]
        past = [self.rows[other] for other in self._of_order[row.order.order_id]]
        declined = sum(other.state is PaymentState.DECLINED for other in past)
        last = sale.payment_mode is PaymentMode.AUTO or declined >= sale.payment_attempts
        if row.state is PaymentState.DECLINED and last:
            self._ledger.close([row.order], OrderStatus.CANCELLED, DECLINED)
        return self._shown(row)

    async def confirm(self, payment_id: str, ref: str) -> Attempt:
        row = self._move(payment_id, PaymentState.AUTHORIZED, PaymentState.SENT, gateway_ref=ref)
        aborted = self._ledger.sales[row.order.sale_id].status is SaleStatus.CANCELLED
        if row.order.status is OrderStatus.RESERVED and not aborted:
            return self._move(payment_id, PaymentState.CAPTURING, PaymentState.AUTHORIZED)
        reason = VoidReason.ORDER_ENDED.value
        return self._move(payment_id, PaymentState.VOIDING, PaymentState.AUTHORIZED, decline_reason=reason)

    async def captured(self, payment_id: str) -> Attempt:
        before = self.rows[payment_id].state
        row = self._move(payment_id, PaymentState.CAPTURED, PaymentState.CAPTURING)
        if before is not PaymentState.CAPTURING:
            return row
        if row.order.status is not OrderStatus.RESERVED:
            return self._move(payment_id, PaymentState.REFUND_DUE, PaymentState.CAPTURED)  # I7
        self._ledger.mark_paid(row.order.order_id)
        return self._shown(row)

    async def void(self, payment_id: str, reason: VoidReason) -> Attempt:
        self._move(payment_id, PaymentState.VOIDED, PaymentState.INTENT, decline_reason=reason.value)
        sent = (PaymentState.SENT, PaymentState.AUTHORIZED, PaymentState.CAPTURING)
        return self._move(payment_id, PaymentState.VOIDING, *sent, decline_reason=reason.value)

    async def voided(self, payment_id: str) -> Attempt:
        row = self._move(payment_id, PaymentState.VOIDED, PaymentState.VOIDING)
        if row.state is PaymentState.VOIDED and row.decline_reason == VoidReason.CAPTURE_REFUSED:
            self._ledger.close([row.order], OrderStatus.CANCELLED, _CAPTURE_REFUSED)  # P7
        return self._shown(row)

    async def refund_due(self, payment_id: str) -> Attempt:
        return self._move(payment_id, PaymentState.REFUND_DUE, PaymentState.VOIDING)

    async def refunded(self, payment_id: str) -> Attempt:
        return self._move(payment_id, PaymentState.REFUNDED, PaymentState.REFUND_DUE)

    async def refund(self, order_id: str, actor: Actor) -> Attempt | Refusal:
        order = self._ledger.orders.get(order_id)
        if order is None or order.idempotency_key is None:
            return Refusal(Code.NOT_FOUND, "there is no such order")
        self._refund(order, actor)
        past = (self.rows[payment_id] for payment_id in reversed(self._of_order[order_id]))
        row = next((row for row in past if row.state in (PaymentState.REFUND_DUE, PaymentState.REFUNDED)), None)
        return Refusal(Code.CONFLICT, NOTHING_TO_REFUND) if row is None else self._shown(row)

    async def refund_aborted(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.status is not SaleStatus.CANCELLED:
            return 0
        paid = [order for order in self._ledger.orders_of(sale_id, OrderStatus.PAID) if self._captured(order)]
        for order in paid[:limit]:
            self._refund(order, actor)
        return len(paid[:limit])

    def _captured(self, order: Order) -> Attempt | None:
        rows = (self.rows[payment_id] for payment_id in self._of_order[order.order_id])
        return next((row for row in rows if row.state is PaymentState.CAPTURED), None)

    def _refund(self, order: Order, actor: Actor) -> None:
        row = self._captured(order)
        if row is None or order.status is not OrderStatus.PAID:
            return
        self._move(row.payment_id, PaymentState.REFUND_DUE, PaymentState.CAPTURED)
        self._ledger.mark_returned(order.order_id)
        if row.gateway in (FREE_GATEWAY, EXTERNAL_GATEWAY):
            self._move(row.payment_id, PaymentState.REFUNDED, PaymentState.REFUND_DUE)
        self._ledger.note(order.sale_id, "refund", actor)

    def paid_outside(self, order: Order, payment_id: str, reference: str) -> None:
        """A shop that charges by itself has the money of a RESERVED order (`external.py` has looked)."""
        now = self._ledger.clock.now_ms()
        row = Attempt(
            payment_id=payment_id,
            attempt=len(self._of_order[order.order_id]) + 1,
            gateway=EXTERNAL_GATEWAY,
            payment_method=EXTERNAL_GATEWAY,
            state=PaymentState.CAPTURED,
            amount_cents=order.amount_cents,  # I9
            currency=order.currency,
            idempotency_key=reference,
            body_digest="",
            gateway_ref=reference,
            decline_reason=None,
            created_ms=now,
            updated_ms=now,
            order=order,
        )
        self._of_order[order.order_id].append(payment_id)
        self._keep(row)
        self._ledger.mark_paid(order.order_id)

    async def claim(self, *, gateway: str, quiet_ms: int, limit: int) -> Sequence[Attempt]:
        now = self._ledger.clock.now_ms()
        due = [
            row
            for row in self.rows.values()
            if row.state in PAYMENT_UNFINISHED
            and row.gateway == gateway
            and (row.updated_ms <= now - quiet_ms or row.payment_id in self.look_at)
        ]
        claimed = sorted(due, key=lambda row: row.updated_ms)[:limit]
        for row in claimed:
            self.look_at.discard(row.payment_id)
            self.rows[row.payment_id] = msgspec.structs.replace(row, updated_ms=now)
        return [self._shown(self.rows[row.payment_id]) for row in claimed]

    async def attempts(self, order_id: str) -> Sequence[Attempt]:
        return [self._shown(self.rows[payment_id]) for payment_id in self._of_order[order_id]]

    # ------------------------------------------------------------------------------------------------ rows

    def _move(self, payment_id: str, to: PaymentState, *starts: PaymentState, **changes: object) -> Attempt:
        """Along one arrow if the attempt is where the arrow starts (I13); the attempt as it is then, in any case."""
        row = self.rows[payment_id]
        if row.state in starts:
            if not may_move(PAYMENT_ARROWS, row.state, to):
                raise InvariantViolation(f"payment {payment_id} would go from {row.state} to {to}")
            row = msgspec.structs.replace(row, state=to, updated_ms=self._ledger.clock.now_ms(), **changes)
            self._keep(row)
        return self._shown(row)

    def _keep(self, row: Attempt) -> None:
        self.rows[row.payment_id] = row
        if row.state is PaymentState.VOIDED:
            self._ledger.given_up.add(row.order.order_id)
        if self._of_order[row.order.order_id][-1] == row.payment_id:
            self._ledger.show_payment(row.order.order_id, _view(row))

    def _shown(self, row: Attempt) -> Attempt:
        return msgspec.structs.replace(row, order=self._ledger.orders[row.order.order_id])


def _view(row: Attempt) -> PaymentView:
    return PaymentView(
        state=row.state,
        gateway=row.gateway,
        attempt=row.attempt,
        amount_cents=row.amount_cents,
        currency=row.currency,
        decline_reason=row.decline_reason,
    )


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
