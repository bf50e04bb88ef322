"""All reference stores over one ledger, one server and one clock.

Owns: nothing but the wiring, and the few things a test does to stores that no port offers.
"""

from doorbuster.domain.order import Order
from doorbuster.engine.ports import Clock, Ids
from doorbuster.reference.actions import ReferenceActions
from doorbuster.reference.audits import ReferenceAuditStore
from doorbuster.reference.charges import ReferenceChargeStore
from doorbuster.reference.draws import ReferenceDrawLedger
from doorbuster.reference.external import ReferencePassKeyStore, ReferenceReportStore
from doorbuster.reference.fleet import ReferenceFleet
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.line import ReferenceLineStore
from doorbuster.reference.line_ledger import ReferenceLineLedger
from doorbuster.reference.monitor import ReferenceMonitor
from doorbuster.reference.orders import ReferenceOrderStore
from doorbuster.reference.payments import ReferencePaymentStore
from doorbuster.reference.rehearsals import ReferenceRehearsals
from doorbuster.reference.sales import ReferenceSaleStore
from doorbuster.reference.stock import ReferenceStockStore
from doorbuster.reference.timeline import ReferenceTimelineStore
from doorbuster.reference.waitlist import ReferenceWaitlist


class ReferenceShop:
    """A ledger with its stores, and a stock counter."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self.clock = clock
        self.ids = ids
        self.ledger = ReferenceLedger(clock)
        self.sales = ReferenceSaleStore(self.ledger)
        self.orders = ReferenceOrderStore(self.ledger)
        self.audits = ReferenceAuditStore(self.ledger)
        self.lines = ReferenceLineLedger(self.ledger)
        self.draws = ReferenceDrawLedger(self.ledger)
        self.payments = ReferencePaymentStore(self.ledger)
        self.charges = ReferenceChargeStore(self.ledger, self.payments)
        self.reports = ReferenceReportStore(self.ledger, self.payments)
        self.waitlist = ReferenceWaitlist(self.ledger)
        self.fleet = ReferenceFleet(clock)
        self.rehearsals = ReferenceRehearsals(self.ledger)
        self.monitor = ReferenceMonitor(clock)
        self.actions = ReferenceActions(self.ledger)
        self.timeline = ReferenceTimelineStore(self.ledger)
        self.pass_keys = ReferencePassKeyStore(clock)
        self.stock = ReferenceStockStore()
        self.line = ReferenceLineStore(self.stock)

    @property
    def stores(self) -> tuple[object, ...]:
        """Everything that a port is kept by."""
        ledger = (self.sales, self.orders, self.audits, self.lines, self.draws, self.payments, self.charges)
        return (
            *ledger,
            self.reports,
            self.timeline,
            self.waitlist,
            self.fleet,
            self.rehearsals,
            self.actions,
            self.monitor,
            self.pass_keys,
            self.stock,
            self.line,
        )

    async def all_orders(self, sale_id: str) -> list[Order]:
        return self.ledger.orders_of(sale_id)

    async def mark_paid(self, order_id: str) -> Order | None:
        """The order becomes PAID if it is RESERVED, as a capture would have it; returned as it is then."""
        return self.ledger.mark_paid(order_id)

    def restart_stock(self) -> None:
        self.stock.restart()

    def lose_stock_key(self, sale_id: str) -> None:
        self.stock.lose_stock_key(sale_id)
