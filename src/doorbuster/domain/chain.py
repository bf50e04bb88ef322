"""The sale's log: what a row says, how rows are chained, and what the chain replays to (I15).

Owns: the canonical text of a log row and the hash rule; PostgreSQL computes the same rule inside the committing
statement (`link` in the migrations), and a test holds the two together.
    head(0) = sha256(sale_id)      head(n) = sha256(head(n-1) || text(row n))
The text names no buyer: who a row is about stays outside the chain, where it can be erased.
"""

import hashlib
from collections.abc import Iterable
from enum import StrEnum

import msgspec


class LogKind(StrEnum):
    CREATED = "created"  # quantity = units on sale at creation
    STOCK = "stock"  # quantity = change of the units on sale, negative for a cut
    RESERVED = "reserved"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"  # a paid unit given back to the sale
    EPOCH = "epoch"  # quantity = 0; the image was rebuilt under `epoch`


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One change of stock. `seq` starts at 1; `order_id` is empty where no order is concerned."""

    sale_id: str
    seq: int
    kind: LogKind
    order_id: str
    quantity: int
    epoch: int
    at_ms: int
    hash: bytes


def text_of(row: LogRow) -> bytes:
    """The canonical text that is hashed: fields in this order, separated by `|`, in UTF-8."""
    return f"{row.sale_id}|{row.seq}|{row.kind.value}|{row.order_id}|{row.quantity}|{row.epoch}|{row.at_ms}".encode()


def first_head(sale_id: str) -> bytes:
    """The head of an empty log."""
    return hashlib.sha256(sale_id.encode()).digest()


def next_head(head: bytes, row: LogRow) -> bytes:
    """The head after `row` was appended to a log whose head was `head`."""
    return hashlib.sha256(head + text_of(row)).digest()


class Replay(msgspec.Struct, kw_only=True):
    """The state a log leads to. `fault` is empty, or says which row breaks the chain or an invariant, and how."""

    size: int = 0
    head: bytes = b""
    available: int = 0
    held: int = 0
    sold: int = 0
    epoch: int = 0
    fault: str = ""


class Replayer:
    """Walks a log row by row; holds one entry per live order, never the log.

    Feed rows in order of `seq` with `add`; read `state` at any time. After the first fault further rows are ignored.
    """

    def __init__(self, sale_id: str) -> None:
        self.state = Replay(head=first_head(sale_id))
        self._live: dict[str, tuple[LogKind, int]] = {}

    def add(self, rows: Iterable[LogRow]) -> None:
        for row in rows:
            if self.state.fault:
                return
            self._add_one(row)

    def _add_one(self, row: LogRow) -> None:
        state = self.state
        if row.seq != state.size + 1:
            state.fault = f"row {state.size + 1} is missing; found row {row.seq}"
            return
        head = next_head(state.head, row)
        if head != row.hash:
            state.fault = f"row {row.seq} does not hash to its stored value"
            return
        fault = self._apply(row)
        if fault:
            state.fault = f"row {row.seq} ({row.kind.value}): {fault}"
            return
        state.size, state.head = row.seq, head
        if not 0 <= state.held + state.sold <= state.available:
            state.fault = f"row {row.seq}: {state.held} held + {state.sold} sold exceed {state.available}"  # I1

    def _apply(self, row: LogRow) -> str:
        state = self.state
        match row.kind:
            case LogKind.CREATED:
                if row.seq != 1:
                    return "a sale is created once"
                state.available, state.epoch = row.quantity, row.epoch
            case LogKind.STOCK:
                state.available += row.quantity
            case LogKind.EPOCH:
                if row.epoch <= state.epoch:
                    return f"epoch {row.epoch} after {state.epoch}"
                state.epoch = row.epoch
            case LogKind.RESERVED:
                if row.order_id in self._live:
                    return f"order {row.order_id} is reserved twice"
                self._live[row.order_id] = (row.kind, row.quantity)
                state.held += row.quantity
            case LogKind.PAID:
                return self._close(row, LogKind.RESERVED, sold=True)
            case LogKind.CANCELLED | LogKind.EXPIRED:
                return self._close(row, LogKind.RESERVED, sold=False)
            case LogKind.REFUNDED:
                if self._live.pop(row.order_id, None) != (LogKind.PAID, row.quantity):
                    return f"order {row.order_id} is not paid with {row.quantity} units"
                state.sold -= row.quantity
        return ""

    def _close(self, row: LogRow, before: LogKind, *, sold: bool) -> str:
        if self._live.get(row.order_id) != (before, row.quantity):
            return f"order {row.order_id} is not reserved with {row.quantity} units"
        self.state.held -= row.quantity
        if sold:
            self.state.sold += row.quantity
            self._live[row.order_id] = (LogKind.PAID, row.quantity)
        else:
            del self._live[row.order_id]
        return ""
