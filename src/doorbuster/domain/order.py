"""An order: units that belong to one buyer, from RESERVED to one of three ends.

Owns: the shape of an order and of a hold. Keeps: I11 (a hold's end is the one that was shown).
An order and its hold in Valkey have one id: the id is made before the unit is taken, so a repeat finds the same one.
"""

import msgspec

from doorbuster.domain.transitions import OrderStatus, PaymentState


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """What an order shows of its latest payment."""

    state: PaymentState
    gateway: str
    attempt: int
    amount_cents: int
    currency: str
    decline_reason: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as PostgreSQL has it. Times are milliseconds of its clock; the amount is for all units."""

    order_id: str
    sale_id: str
    user_id: str
    quantity: int
    amount_cents: int
    currency: str
    status: OrderStatus
    reserved_ms: int
    expires_ms: int
    closed_ms: int | None = None
    idempotency_key: str | None = None
    body_digest: str = ""
    payment: PaymentView | None = None
    line_number: int | None = None
    """The ticket number it was granted for; None in a race."""
    claimed_ms: int | None = None
    """When its buyer was first seen with it; asked for only where the sale has a claim window."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A claim in Valkey on units, committed or not yet. `hold_id` is the id of the order it becomes."""

    hold_id: str
    user_id: str
    quantity: int
    key: str
    digest: str
    since_ms: int
    number: int = 0
    """The ticket number this unit is granted for; 0: it was taken in a race."""
