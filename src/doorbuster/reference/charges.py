"""Orders that are charged without their buyers, in memory: implements `engine.money_ports.ChargeStore`.

Owns: when an order wants charging. Read next: `payments.py`.
"""

from collections.abc import Sequence
from typing import Final

from doorbuster.domain import limits
from doorbuster.domain.order import Order
from doorbuster.domain.sale import PaymentMode
from doorbuster.domain.transitions import OrderStatus, PaymentState, SaleStatus
from doorbuster.engine.money_ports import DueCharge
from doorbuster.engine.ports import Actor
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.payments import ReferencePaymentStore

_FAILED: Final = Actor(name="payment", reason="the payment failed")
_PAUSE_MS: Final = 2_000
_STEP_S: Final = 60
_NEAR_MS: Final = 30_000


class ReferenceChargeStore:
    def __init__(self, ledger: ReferenceLedger, payments: ReferencePaymentStore) -> None:
        self._ledger = ledger
        self._payments = payments
        self._methods: dict[str, str] = {}

    async def due_charges(self, *, limit: int) -> Sequence[DueCharge]:
        now = self._ledger.clock.now_ms()
        due: list[tuple[int, DueCharge]] = []
        for order in self._uncharged():
            past = await self._payments.attempts(order.order_id)
            sale = self._ledger.sales[order.sale_id]
            rested = all(attempt.updated_ms <= now - _PAUSE_MS for attempt in past)
            sold = sale.status is not SaleStatus.CANCELLED and order.expires_ms > now
            if sold and rested and len(past) < sale.payment_attempts and not self._ledger.payment_open(order):
                method = self._methods.get(order.user_id)
                charge = DueCharge(order_id=order.order_id, user_id=order.user_id, method=method, tries=len(past))
                due.append((order.expires_ms, charge))
        return [charge for _, charge in sorted(due, key=lambda row: row[0])[:limit]]

    async def cancel_uncharged(self, *, limit: int) -> int:
        failed: list[Order] = []
        for order in self._uncharged():
            past = await self._payments.attempts(order.order_id)
            voided = sum(attempt.state is PaymentState.VOIDED for attempt in past)
            if voided >= self._ledger.sales[order.sale_id].payment_attempts:
                failed.append(order)
        return self._ledger.close(failed[:limit], OrderStatus.CANCELLED, _FAILED)

    async def extend_uncharged(self, *, limit: int) -> int:
        now = self._ledger.clock.now_ms()
        near = [
            order
            for order in self._uncharged()
            if now < order.expires_ms <= now + _NEAR_MS
            and self._ledger.extended[order.order_id] + _STEP_S <= limits.EXTENSION_SECONDS_MAX
            and self._ledger.sales[order.sale_id].status is not SaleStatus.CANCELLED
        ]
        for order in near[:limit]:
            self._ledger.extended[order.order_id] += _STEP_S
            self._ledger.write_order(order, expires_ms=order.expires_ms + _STEP_S * 1000)
        return len(near[:limit])

    async def store_method(self, user_id: str, payment_method: str) -> None:
        self._methods[user_id] = payment_method

    async def forget_method(self, user_id: str) -> None:
        self._methods.pop(user_id, None)

    def _uncharged(self) -> list[Order]:
        auto = {sale_id for sale_id, sale in self._ledger.sales.items() if sale.payment_mode is PaymentMode.AUTO}
        return [
            order
            for order in self._ledger.orders.values()
            if order.sale_id in auto and order.status is OrderStatus.RESERVED
        ]
