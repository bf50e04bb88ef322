"""What the ledger remembers of lines, in memory: implements `engine.line_ports.LineLedger`.

Owns: the marks of a line, who gave up, what is told of returns. Keeps: I10 (marks never fall), I11 (a claim lasts).
No method waits between looking and writing, so each is atomic. Read next: `ledger.py`.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from doorbuster.domain.chain import LogKind, LogRow
from doorbuster.domain.order import Order
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER, OrderStatus
from doorbuster.engine.line_ports import Pulse, SealingKey
from doorbuster.reference.ledger import ReferenceLedger

_CHUNK: Final = 2_000
_RETURNS: Final = frozenset({LogKind.CANCELLED, LogKind.EXPIRED, LogKind.REFUNDED})


class ReferenceLineLedger:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger

    # ------------------------------------------------------------------------------------------------ marks

    async def reserve_numbers(self, sale_id: str, count: int, *, epoch: int) -> tuple[int, int] | None:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.epoch != epoch:  # I12
            return None
        if sale.mode is SaleMode.DRAW and sale.draw_size is None:
            return None
        after = sale.number_high + max(count, 0)
        self._ledger.write_sale(sale_id, number_high=after)
        return sale.number_high, after

    async def note_left(self, sale_id: str, user_id: str, number: int) -> None:
        if sale_id in self._ledger.sales and number > 0:
            left = self._ledger.left[sale_id]
            left[user_id] = max(left.get(user_id, 0), number)  # I10

    async def end_line(self, sale_id: str) -> int | None:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return None
        # By the stored status: until that has followed the clock, the end of the sale may still be moved.
        if sale.status not in SALE_OVER and sale.quantity_paid < sale.quantity_available:  # I14
            return None
        if sale.ended_number < sale.number_high:
            self._ledger.write_sale(sale_id, ended_number=sale.number_high)
        return sale.number_high

    # ------------------------------------------------------------------------------------------------ claims

    async def claim(self, order_ids: Sequence[str]) -> None:
        for order_id in order_ids:
            order = self._ledger.orders.get(order_id)
            if order is not None and order.status is OrderStatus.RESERVED and order.claimed_ms is None:
                self._ledger.write_order(order, claimed_ms=self._ledger.clock.now_ms())

    async def expire_unclaimed(self, *, limit: int) -> int:
        due = [order for order in self._ledger.orders.values() if self._is_unclaimed(order)]
        due.sort(key=lambda order: (order.sale_id, order.reserved_ms, order.line_number))
        return self._ledger.close(due[:limit], OrderStatus.EXPIRED)

    def _is_unclaimed(self, order: Order) -> bool:
        """Granted, not seen for the whole window, and with no payment under way (I7)."""
        window = self._ledger.sales[order.sale_id].claim_window_seconds
        if window is None or order.line_number is None or order.claimed_ms is not None:
            return False
        return self._ledger.may_close(order) and order.reserved_ms + window * 1000 <= self._ledger.clock.now_ms()

    # ------------------------------------------------------------------------------------------------ reading

    async def order_of(self, sale_id: str, user_id: str) -> str | None:
        own = [
            order
            for order in self._ledger.orders_of(sale_id)
            if order.user_id == user_id and order.idempotency_key is not None
        ]
        latest = max(own, key=lambda order: (self._ledger.owns_units(order), order.order_id), default=None)
        return None if latest is None else latest.order_id

    async def lapsed_holds(self, sale_id: str, user_id: str) -> int:
        return self._ledger.lapsed[sale_id][user_id]

    async def pulse(self, sale_id: str) -> Pulse | None:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return None
        now = self._ledger.clock.now_ms()
        ended = [
            order
            for order in self._ledger.orders_of(sale_id)
            if order.idempotency_key is not None and order.status is not OrderStatus.RESERVED
        ]
        paid = sum(self._ledger.owns_units(order) for order in ended)
        closable = [order for order in self._ledger.orders_of(sale_id) if self._ledger.may_close(order)]
        return Pulse(
            as_of_ms=now,
            paid=paid,
            returned=len(ended) - paid,
            returned_last_minute=self._returned(sale, now, 0),
            returned_minute_before=self._returned(sale, now, 60),
            granted_last_minute=sum(1 for row in self._minute(sale, now, 0) if row.kind is LogKind.RESERVED),
            next_expiry_ms=min((order.expires_ms for order in closable), default=None),
            entered=self._ledger.entered[sale_id],
        )

    def _returned(self, sale: Sale, now_ms: int, seconds_ago: int) -> int:
        return sum(row.quantity for row in self._minute(sale, now_ms, seconds_ago) if row.kind in _RETURNS)

    def _minute(self, sale: Sale, now_ms: int, seconds_ago: int) -> list[LogRow]:
        """The log of sixty whole seconds, the present one included; of a sale with a line, others have no pulse."""
        if sale.mode is SaleMode.RACE:
            return []
        last = now_ms // 1000 - seconds_ago
        return [row for row in self._ledger.log[sale.sale_id] if last - 60 < row.at_ms // 1000 <= last]

    async def sealing_keys(self) -> Sequence[SealingKey]:
        """Of a ledger in memory anybody may know them."""
        return [SealingKey("k1", hashlib.sha256(b"tickets of the reference").digest())]

    async def grants(self, sale_id: str) -> AsyncIterator[Sequence[tuple[int, int, int]]]:
        made = [
            (row.seq, number, row.at_ms)
            for row in self._ledger.log[sale_id]
            if row.kind is LogKind.RESERVED and (number := self._ledger.orders[row.order_id].line_number) is not None
        ]
        for start in range(0, len(made), _CHUNK):
            yield made[start : start + _CHUNK]
