"""The shop's stores in memory. Time passes by moving what is stored into the past."""

import msgspec

from doorbuster.reference.audits import ReferenceAuditStore
from doorbuster.reference.charges import ReferenceChargeStore
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.news import ReferenceNewsStore
from doorbuster.reference.orders import ReferenceOrderStore
from doorbuster.reference.payments import ReferencePaymentStore
from doorbuster.reference.sales import ReferenceSaleStore
from helpers.balance import MemoryBalance


class ReferenceStores:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = ReferenceLedger(self.clock)
        self.sales = ReferenceSaleStore(self.ledger)
        self.orders = ReferenceOrderStore(self.ledger)
        self.audits = ReferenceAuditStore(self.ledger)
        self.payments = ReferencePaymentStore(self.ledger)
        self.charges = ReferenceChargeStore(self.ledger, self.payments)
        self.balance = MemoryBalance(self.payments)
        self.news = ReferenceNewsStore(self.payments)

    def now_ms(self) -> int:
        return self.clock.now_ms()

    async def run_out(self, order_id: str) -> None:
        order = self.ledger.orders[order_id]
        self.ledger.orders[order_id] = msgspec.structs.replace(order, expires_ms=self.now_ms() - 1_000)

    async def grow_old(self, payment_id: str, by_ms: int) -> None:
        row = self.payments.rows[payment_id]
        self.payments.rows[payment_id] = msgspec.structs.replace(
            row, created_ms=row.created_ms - by_ms, updated_ms=row.updated_ms - by_ms
        )
