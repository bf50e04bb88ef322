"""What a sale came to, in numbers.

Owns: the shape, and what can be read from the log alone: when the last unit went. Read next: `engine/reporting.py`.
"""

from collections.abc import Iterable

import msgspec

from doorbuster.domain.chain import LogKind, LogRow


class SaleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the ledger. Tombstones are no orders. Times to pay are of PAID orders, in milliseconds, None without
    any."""

    orders: int = 0
    buyers: int = 0
    paid_orders: int = 0
    paid_units: int = 0
    cancelled_orders: int = 0
    """For one of the four causes that follow, or by an outside shop."""
    declined_orders: int = 0
    payment_failed_orders: int = 0
    given_back_orders: int = 0
    aborted_orders: int = 0
    expired_orders: int = 0
    reserved_orders: int = 0
    refunded_orders: int = 0
    """Paid once, and given back since."""
    revenue_cents: int = 0
    """Of PAID orders that were not refunded."""
    refunded_cents: int = 0
    declined_attempts: int = 0
    attempts: int = 0
    pay_p50_ms: int | None = None
    pay_p95_ms: int | None = None
    top_buyer_units: int = 0
    """Most units that one buyer has, paid or reserved."""
    buyers_of_several: int = 0
    """Buyers with more than one order that counts."""
    blocked_accounts: int = 0
    grants_out_of_order: int = 0
    """Orders of a line that were reserved after one with a higher number: none, ever (I10)."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it went, in milliseconds after the start of the sale; None: it did not happen."""

    first_reserved_ms: int | None = None
    all_held_ms: int | None = None
    sold_out_ms: int | None = None
    reserved_in_first_second: int = 0
    units_returned: int = 0
    """Units that came back on sale, each time it happened."""


class PaceReader:
    """Walks a log once; feed rows in order."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._available = self._held = self._sold = 0
        self._first: int | None = None
        self._all_held: int | None = None
        self._sold_out: int | None = None
        self._in_first_second = 0
        self._returned = 0

    def add(self, rows: Iterable[LogRow]) -> None:
        for row in rows:
            self._step(row)

    def _step(self, row: LogRow) -> None:
        after = max(0, row.at_ms - self._start_ms)
        match row.kind:
            case LogKind.CREATED | LogKind.STOCK:
                self._available += row.quantity
            case LogKind.RESERVED:
                self._held += row.quantity
                self._first = after if self._first is None else self._first
                self._in_first_second += row.quantity if after < 1000 else 0
            case LogKind.PAID:
                self._held -= row.quantity
                self._sold += row.quantity
            case LogKind.CANCELLED | LogKind.EXPIRED:
                self._held -= row.quantity
                self._returned += row.quantity
            case LogKind.REFUNDED:
                self._sold -= row.quantity
                self._returned += row.quantity
            case LogKind.EPOCH:
                return
        if self._all_held is None and self._available and self._held + self._sold == self._available:
            self._all_held = after
        if self._sold == self._available and self._available:
            self._sold_out = after if self._sold_out is None else self._sold_out
        else:
            self._sold_out = None  # a top-up, or a unit that was given back: it was not the end

    @property
    def pace(self) -> Pace:
        return Pace(
            first_reserved_ms=self._first,
            all_held_ms=self._all_held,
            sold_out_ms=self._sold_out,
            reserved_in_first_second=self._in_first_second,
            units_returned=self._returned,
        )
