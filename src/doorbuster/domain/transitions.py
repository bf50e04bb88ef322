"""All arrows of all states, as data. Anything that is not here does not happen (I13).

Owns: the tables. Every rule about which state may follow which lives here and nowhere else; this file does not know
who moves or why. The diagrams of the documentation are made from it. Read next: `sale.py`, `order.py`.
"""

from enum import StrEnum
from typing import Final, TypeVar


class SaleStatus(StrEnum):
    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    SOLD_OUT = "SOLD_OUT"
    PAUSED = "PAUSED"
    ENDED = "ENDED"
    CANCELLED = "CANCELLED"


class OrderStatus(StrEnum):
    RESERVED = "RESERVED"
    PAID = "PAID"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class PaymentState(StrEnum):
    INTENT = "INTENT"
    SENT = "SENT"
    AUTHORIZED = "AUTHORIZED"
    DECLINED = "DECLINED"
    CAPTURING = "CAPTURING"
    CAPTURED = "CAPTURED"
    VOIDING = "VOIDING"
    VOIDED = "VOIDED"
    REFUND_DUE = "REFUND_DUE"
    REFUNDED = "REFUNDED"


class EntryState(StrEnum):
    """Where a buyer's entry in a line is; each word is also the `state` of the place that is told."""

    WAITING = "waiting"
    STANDBY = "standby"
    GRANTED = "granted"
    LEFT = "left"
    OVER = "over"


SALE_ARROWS: Final[dict[SaleStatus, frozenset[SaleStatus]]] = {
    SaleStatus.SCHEDULED: frozenset({SaleStatus.ACTIVE, SaleStatus.ENDED, SaleStatus.CANCELLED}),
    SaleStatus.ACTIVE: frozenset({SaleStatus.SOLD_OUT, SaleStatus.PAUSED, SaleStatus.ENDED, SaleStatus.CANCELLED}),
    SaleStatus.SOLD_OUT: frozenset({SaleStatus.ACTIVE, SaleStatus.PAUSED, SaleStatus.ENDED, SaleStatus.CANCELLED}),
    SaleStatus.PAUSED: frozenset({SaleStatus.ACTIVE, SaleStatus.SOLD_OUT, SaleStatus.ENDED, SaleStatus.CANCELLED}),
    SaleStatus.ENDED: frozenset(),
    SaleStatus.CANCELLED: frozenset(),
}

ORDER_ARROWS: Final[dict[OrderStatus, frozenset[OrderStatus]]] = {
    OrderStatus.RESERVED: frozenset({OrderStatus.PAID, OrderStatus.CANCELLED, OrderStatus.EXPIRED}),
    OrderStatus.PAID: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.EXPIRED: frozenset(),
}

PAYMENT_ARROWS: Final[dict[PaymentState, frozenset[PaymentState]]] = {
    PaymentState.INTENT: frozenset({PaymentState.SENT, PaymentState.VOIDED}),
    PaymentState.SENT: frozenset({PaymentState.AUTHORIZED, PaymentState.DECLINED, PaymentState.VOIDING}),
    PaymentState.AUTHORIZED: frozenset({PaymentState.CAPTURING, PaymentState.VOIDING}),
    PaymentState.DECLINED: frozenset(),
    PaymentState.CAPTURING: frozenset({PaymentState.CAPTURED, PaymentState.VOIDING}),
    PaymentState.CAPTURED: frozenset({PaymentState.REFUND_DUE}),
    PaymentState.VOIDING: frozenset({PaymentState.VOIDED, PaymentState.REFUND_DUE}),
    PaymentState.VOIDED: frozenset(),
    PaymentState.REFUND_DUE: frozenset({PaymentState.REFUNDED}),
    PaymentState.REFUNDED: frozenset(),
}

ENTRY_ARROWS: Final[dict[EntryState, frozenset[EntryState]]] = {
    EntryState.WAITING: frozenset({EntryState.STANDBY, EntryState.GRANTED, EntryState.LEFT, EntryState.OVER}),
    EntryState.STANDBY: frozenset({EntryState.WAITING, EntryState.GRANTED, EntryState.LEFT, EntryState.OVER}),
    EntryState.GRANTED: frozenset({EntryState.LEFT, EntryState.OVER}),
    EntryState.LEFT: frozenset(),
    EntryState.OVER: frozenset(),
}
"""Who comes back after leaving, or joins again after a grant has ended, has a new entry."""

SALE_SELLS: Final = frozenset({SaleStatus.SCHEDULED, SaleStatus.ACTIVE, SaleStatus.SOLD_OUT})
"""Statuses in which a unit may be taken, inside the window. SCHEDULED is one: the clock opens a sale, not a job."""
SALE_OVER: Final = frozenset({SaleStatus.ENDED, SaleStatus.CANCELLED})
ORDER_LIVE: Final = frozenset({OrderStatus.RESERVED, OrderStatus.PAID})
"""Orders that own units."""

S = TypeVar("S", SaleStatus, OrderStatus, PaymentState, EntryState)


def may_move(arrows: dict[S, frozenset[S]], before: S, after: S) -> bool:
    """Whether the arrow exists. Staying where one is is not a move and is always allowed."""
    return before == after or after in arrows[before]
