"""The rows of a ledger in memory, and the few steps by which stock changes in them.

Owns: the state that the three stores share, and the one way a unit is given back or paid for.
Keeps: I2 (count, allowance, log and release move together), I10 (marks never fall), I13, I15. Its clock is the
database's clock.
Read next: `orders.py`, then `sales.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from doorbuster.domain.audit import AuditReport
from doorbuster.domain.chain import LogKind, LogRow, next_head
from doorbuster.domain.order import Order, PaymentView
from doorbuster.domain.payment import PAYMENT_OPEN
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import ORDER_ARROWS, ORDER_LIVE, OrderStatus, SaleStatus, may_move
from doorbuster.engine.actions import Action
from doorbuster.engine.image import LineRow
from doorbuster.engine.ports import (
    Actor,
    Clock,
    InvariantViolation,
    PendingRelease,
)


class ReferenceLedger:
    """Everything PostgreSQL keeps. The stores read and write these rows; nothing here waits."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sales: dict[str, Sale] = {}
        self.orders: dict[str, Order] = {}
        self.keys: dict[tuple[str, str, str], str] = {}
        """Sale, buyer and idempotency key to the order it made."""
        self.returned: set[str] = set()
        """Paid orders whose units went back on sale."""
        self.allowances: defaultdict[str, Counter[str]] = defaultdict(Counter[str])
        """Units held or bought, by sale and buyer."""
        self.lapsed: defaultdict[str, Counter[str]] = defaultdict(Counter[str])
        """Holds that ran out unpaid, by sale and buyer."""
        self.extended: Counter[str] = Counter()
        """Seconds by which holds were lengthened, by order."""
        self.given_up: set[str] = set()
        """Orders of which an attempt was voided: their buyers tried to pay."""
        self.closed_by: dict[str, Actor] = {}
        """Who cancelled an order, and why."""
        self.releases: dict[int, PendingRelease] = {}
        self.blocked: defaultdict[str, set[str]] = defaultdict(set[str])
        self.numbers: dict[tuple[str, int], str] = {}
        """Sale and ticket number to the order that was granted for it."""
        self.left: defaultdict[str, dict[str, int]] = defaultdict(dict[str, int])
        """The highest number given up, by sale and buyer."""
        self.drawn: dict[str, Sequence[LineRow]] = {}
        """The order of every draw that was held, by sale."""
        self.entered: Counter[str] = Counter()
        """Entries of every draw whose list is open, by sale."""
        self.log: defaultdict[str, list[LogRow]] = defaultdict(list[LogRow])
        self.actions: list[Action] = []
        self.audits: dict[str, AuditReport] = {}
        self.watchers: list[Callable[[Sale | None, Sale], None]] = []
        """Told of every sale that is written: as it was (None: it is new), and as it is."""
        self._last_release = 0
        self._last_action = 0

    # ------------------------------------------------------------------------------------------------ reading

    def orders_of(self, sale_id: str, *statuses: OrderStatus) -> list[Order]:
        """Orders of a sale by id, of these statuses or of all."""
        found = [order for order in self.orders.values() if order.sale_id == sale_id]
        return sorted(
            (order for order in found if not statuses or order.status in statuses), key=lambda order: order.order_id
        )

    def owns_units(self, order: Order) -> bool:
        return order.status in ORDER_LIVE and order.order_id not in self.returned

    def may_close(self, order: Order) -> bool:
        """RESERVED, and no payment under way that may still end in money (I7)."""
        return order.status is OrderStatus.RESERVED and not self.payment_open(order)

    @staticmethod
    def payment_open(order: Order) -> bool:
        return order.payment is not None and order.payment.state in PAYMENT_OPEN

    def releases_of(self, sale_id: str) -> Iterator[PendingRelease]:
        return (row for row in self.releases.values() if row.sale_id == sale_id)

    # ------------------------------------------------------------------------------------------------ writing

    def write_sale(self, sale_id: str, **changes: object) -> Sale:
        changed = msgspec.structs.replace(self.sales[sale_id], updated_ms=self.clock.now_ms(), **changes)
        if not 0 <= changed.quantity_paid <= changed.quantity_sold <= changed.quantity_available:  # I1
            raise InvariantViolation(f"{changed.quantity_sold} units of {changed.quantity_available} would be sold")
        if not _marks_stand(self.sales[sale_id], changed):  # I10
            raise InvariantViolation(f"a mark of the line of sale {sale_id} would fall, or pass the numbers there are")
        before, self.sales[sale_id] = self.sales[sale_id], changed
        for watcher in self.watchers:
            watcher(before, changed)
        return changed

    def add_sale(self, sale: Sale) -> None:
        self.sales[sale.sale_id] = sale
        for watcher in self.watchers:
            watcher(None, sale)

    def write_order(self, order: Order, **changes: object) -> Order:
        changed = msgspec.structs.replace(order, **changes)
        if not may_move(ORDER_ARROWS, order.status, changed.status):  # I13
            raise InvariantViolation(f"order {order.order_id} would go from {order.status} to {changed.status}")
        self.orders[order.order_id] = changed
        return changed

    def append_log(self, sale_id: str, kind: LogKind, quantity: int, *, order_id: str = "", epoch: int = -1) -> None:
        """One row, and the sale's head with it (I15). The epoch is the sale's unless another is named."""
        sale = self.sales[sale_id]
        row = LogRow(
            sale_id=sale_id,
            seq=sale.log_size + 1,
            kind=kind,
            order_id=order_id,
            quantity=quantity,
            epoch=sale.epoch if epoch < 0 else epoch,
            at_ms=self.clock.now_ms(),
            hash=b"",
        )
        head = next_head(sale.log_head, row)
        self.log[sale_id].append(msgspec.structs.replace(row, hash=head))
        self.write_sale(sale_id, log_size=row.seq, log_head=head)

    def add_release(self, sale_id: str, order: Order, *, forget_key: bool) -> None:
        self._last_release += 1
        self.releases[self._last_release] = PendingRelease(
            release_id=self._last_release,
            sale_id=sale_id,
            hold_id=order.order_id,
            user_id=order.user_id,
            epoch=self.sales[sale_id].epoch,
            forget_key=forget_key,
        )

    def note(self, sale_id: str, what: str, actor: Actor, detail: Mapping[str, Any] | None = None) -> None:
        self._last_action += 1
        self.actions.append(
            Action(
                action_id=self._last_action,
                sale_id=sale_id,
                what=what,
                actor=actor,
                at_ms=self.clock.now_ms(),
                detail=detail or {},
            )
        )

    def close(self, orders: Iterable[Order], status: OrderStatus, by: Actor | None = None) -> int:
        """End those of these orders that may be ended, in the order of their ids; their units go back. Returns how
        many."""
        closing = sorted((order for order in orders if self.may_close(order)), key=lambda order: order.order_id)
        for order in closing:
            self._give_back(order, LogKind(status.value.lower()), paid=False)
            self.write_order(order, status=status, closed_ms=self.clock.now_ms())
            if by is not None:
                self.closed_by[order.order_id] = by
            if status is OrderStatus.EXPIRED and order.order_id not in self.given_up:
                self.lapsed[order.sale_id][order.user_id] += 1
        return len(closing)

    def _give_back(self, order: Order, kind: LogKind, *, paid: bool) -> None:
        """Count, allowance, log and release row of units that nobody owns any more."""
        sale = self.sales[order.sale_id]
        self.allowances[sale.sale_id][order.user_id] -= order.quantity
        self.append_log(sale.sale_id, kind, order.quantity, order_id=order.order_id)
        self.add_release(sale.sale_id, order, forget_key=False)
        self.write_sale(
            sale.sale_id,
            quantity_sold=sale.quantity_sold - order.quantity,
            quantity_paid=sale.quantity_paid - (order.quantity if paid else 0),
            # A unit that comes back after the end changes nothing but the counts.
            status=SaleStatus.ACTIVE if sale.status is SaleStatus.SOLD_OUT else sale.status,
        )

    # ------------------------------------------------------------------------------------------------ money

    def show_payment(self, order_id: str, payment: PaymentView | None) -> Order:
        """What the order's latest attempt looks like: an open one keeps the order from ending."""
        return self.write_order(self.orders[order_id], payment=payment)

    def mark_paid(self, order_id: str) -> Order | None:
        """RESERVED to PAID, with count and log (the ledger's part of P6). Idempotent; returns the order as it is."""
        order = self.orders.get(order_id)
        if order is None or order.status is not OrderStatus.RESERVED:
            return order
        sale = self.sales[order.sale_id]
        self.append_log(sale.sale_id, LogKind.PAID, order.quantity, order_id=order_id)
        self.write_sale(sale.sale_id, quantity_paid=sale.quantity_paid + order.quantity)
        return self.write_order(order, status=OrderStatus.PAID, closed_ms=self.clock.now_ms())

    def mark_returned(self, order_id: str) -> bool:
        """The units of a paid order back on sale; the order stays PAID. False if there is nothing to give back."""
        order = self.orders.get(order_id)
        if order is None or order.status is not OrderStatus.PAID or order_id in self.returned:
            return False
        self.returned.add(order_id)
        self._give_back(order, LogKind.REFUNDED, paid=True)
        return True


def _marks_stand(before: Sale, after: Sale) -> bool:
    """Whether the marks of a line are where they may be: none falls, none is above the numbers there are."""
    return (
        before.number_high <= after.number_high
        and before.granted_mark <= after.granted_mark <= after.number_high
        and before.ended_number <= after.ended_number <= after.number_high
    )
