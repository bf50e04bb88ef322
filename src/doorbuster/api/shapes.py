"""The JSON of the contract: what comes in, what goes out, and how times are written.

Owns: the shapes and their conversion from and to the domain. Unknown fields are refused, wrong types are refused,
times need an offset. Values out of bounds are the domain's business (`problems_of`).
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport
from doorbuster.domain.order import Order
from doorbuster.domain.rehearsal import USER_PREFIX
from doorbuster.domain.sale import PaymentMode, Sale, SaleMode, SaleTerms, availability, status_at, terms_of
from doorbuster.domain.transitions import SaleStatus

Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, with an offset")]
Reason = Annotated[
    str,
    msgspec.Meta(max_length=limits.REASON_LENGTH_MAX, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$"),
]
"""Why; kept with the sale. PostgreSQL has no zero character, and a log line no other control characters."""


def stamp(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp_or_none(ms: int | None) -> str | None:
    return None if ms is None else stamp(ms)


def _ms(time: datetime) -> int:
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


_INSIDE = {"start_time": "start_ms", "end_time": "end_ms", "entry_opens_at": "entry_opens_ms"}
"""Times by their names outside and inside."""


def _ms_if_time(value: Any) -> Any:
    return _ms(value) if isinstance(value, datetime) else value


class OrderBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many units; one buyer may have 1 to the sale's limit."""

    quantity: int = 1


class PaymentBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The method's token, as the gateway's own page gave it. Never a card number."""

    payment_method: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class MethodAnswer(msgspec.Struct):
    """Whether a method of this buyer is stored now."""

    stored: bool


class VerbBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why; kept with the sale."""

    reason: Reason = ""


class BuyerBody(msgspec.Struct, forbid_unknown_fields=True):
    user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.USER_ID_LENGTH_MAX)]


class BlocklistBody(msgspec.Struct, forbid_unknown_fields=True):
    user_ids: list[Annotated[str, msgspec.Meta(min_length=1, max_length=limits.USER_ID_LENGTH_MAX)]]
    reason: Reason = ""


class SaleBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A sale to create."""

    product_id: str
    title: str
    quantity_available: int
    price_cents: int
    currency: str
    start_time: Time
    end_time: Time
    mode: SaleMode = SaleMode.RACE
    payment_mode: PaymentMode = PaymentMode.CHECKOUT
    per_user_limit: int = 1
    checkout_ttl_seconds: int = limits.CHECKOUT_TTL_SECONDS_DEFAULT
    payment_attempts: int = limits.PAYMENT_ATTEMPTS_DEFAULT
    standby_limit: int | None = None
    claim_window_seconds: int | None = None
    entry_opens_at: Time | None = None
    beacon_round: int | None = None
    max_lapsed_holds: int | None = limits.LAPSED_HOLDS_DEFAULT

    def terms(self) -> SaleTerms:
        fields = msgspec.structs.asdict(self)
        return SaleTerms(**{_INSIDE.get(name, name): _ms_if_time(value) for name, value in fields.items()})


class SaleChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields to change; what is left out stays. A higher `quantity_available` is a top-up. Refused if the sale has not
    `expected_quantity` units."""

    product_id: str | msgspec.UnsetType = msgspec.UNSET
    title: str | msgspec.UnsetType = msgspec.UNSET
    quantity_available: int | msgspec.UnsetType = msgspec.UNSET
    price_cents: int | msgspec.UnsetType = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    start_time: Time | msgspec.UnsetType = msgspec.UNSET
    end_time: Time | msgspec.UnsetType = msgspec.UNSET
    mode: SaleMode | msgspec.UnsetType = msgspec.UNSET
    payment_mode: PaymentMode | msgspec.UnsetType = msgspec.UNSET
    per_user_limit: int | msgspec.UnsetType = msgspec.UNSET
    checkout_ttl_seconds: int | msgspec.UnsetType = msgspec.UNSET
    payment_attempts: int | msgspec.UnsetType = msgspec.UNSET
    standby_limit: int | msgspec.UnsetType | None = msgspec.UNSET
    claim_window_seconds: int | msgspec.UnsetType | None = msgspec.UNSET
    entry_opens_at: Time | msgspec.UnsetType | None = msgspec.UNSET
    max_lapsed_holds: int | msgspec.UnsetType | None = msgspec.UNSET
    expected_quantity: int | None = None
    reason: Reason = ""

    def changes(self) -> dict[str, object]:
        """By the names of SaleTerms."""
        found = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not msgspec.UNSET}
        del found["reason"], found["expected_quantity"]
        return {_INSIDE.get(name, name): _ms_if_time(value) for name, value in found.items()}


class AvailabilityView(msgspec.Struct):
    state: str
    free: int
    held: int
    sold: int


class SaleView(msgspec.Struct, kw_only=True):
    """What everybody may see of a sale."""

    sale_id: str
    product_id: str
    title: str
    status: str
    mode: str
    price_cents: int
    currency: str
    start_time: str
    end_time: str
    per_user_limit: int
    checkout_ttl_seconds: int
    entry_opens_at: str | None
    """From when a draw takes entries; null in other modes, and for a draw that takes them from its creation."""
    availability: AvailabilityView
    line_length: int
    server_time: str
    rehearsal_of: str | None = None
    """The sale that this one rehearses; null: it is a real sale."""


class AdminSaleView(msgspec.Struct, kw_only=True):
    """What the operator sees of a sale: its terms as they were given, and its state."""

    sale_id: str
    product_id: str
    title: str
    quantity_available: int
    price_cents: int
    currency: str
    start_time: str
    end_time: str
    mode: str
    payment_mode: str
    per_user_limit: int
    checkout_ttl_seconds: int
    payment_attempts: int
    standby_limit: int | None
    claim_window_seconds: int | None
    entry_opens_at: str | None
    beacon_round: int | None
    max_lapsed_holds: int | None
    status: str
    quantity_sold: int
    quantity_paid: int
    availability: AvailabilityView
    line_length: int
    last_number_granted: int
    """The highest ticket number that has got a unit; 0 in a race."""
    draw_size: int | None
    drawn_at: str | None
    epoch: int
    log_size: int
    log_head: str
    created_at: str
    updated_at: str
    server_time: str
    rehearsal_of: str | None = None
    """The sale that this one rehearses; null: it is a real sale."""


class SaleList(msgspec.Struct):
    sales: list[AdminSaleView]
    next_cursor: str | None


class OrderPayment(msgspec.Struct, kw_only=True):
    """The order's latest payment."""

    state: str
    gateway: str
    attempt: int
    amount_cents: int
    currency: str
    decline_reason: str | None


class OrderView(msgspec.Struct, kw_only=True):
    """An order. Until `expires_at` its units are nobody else's."""

    order_id: str
    sale_id: str
    user_id: str
    quantity: int
    amount_cents: int
    currency: str
    status: str
    reserved_at: str
    expires_at: str
    payment: OrderPayment | None
    rehearsal: bool = False
    """Of a rehearsal's crowd, in a shadow sale: nobody ordered anything."""


class OrderList(msgspec.Struct):
    orders: list[OrderView]
    next_cursor: str | None


class PaymentAnswer(OrderView, kw_only=True):
    """The order after paying. `action` is what the buyer has to do at the gateway, if anything."""

    action: dict[str, str] | None = None


class BlocklistAnswer(msgspec.Struct):
    added: int
    removed: int
    total: int


class BuyerToken(msgspec.Struct):
    user_id: str
    token: str
    expires_at: str


class DriftView(msgspec.Struct, kw_only=True):
    law: str
    expected: str
    found: str
    rows: list[str]
    repair: str


class AuditView(msgspec.Struct, kw_only=True):
    """What an audit found. `drifts` is empty exactly when the verdict is `in_step`."""

    verdict: str
    sale_id: str
    epoch: int
    at: str
    available: int
    free: int
    held: int
    sold: int
    orders: dict[str, int]
    log_size: int
    log_head: str
    drifts: list[DriftView]
    note: str


class Health(msgspec.Struct):
    status: str
    problems: list[str]


def availability_view(sale: Sale) -> AvailabilityView:
    found = availability(sale)
    return AvailabilityView(found.state.value, found.free, found.held, found.sold)


def shown_status(sale: Sale, now_ms: int) -> SaleStatus:
    """The clock's status; a sale that just began with nothing free is sold out, not active."""
    status = status_at(sale, now_ms)
    if status is SaleStatus.ACTIVE and sale.quantity_sold == sale.quantity_available:
        return SaleStatus.SOLD_OUT
    return status


def sale_view(sale: Sale, now_ms: int, line_length: int = 0) -> SaleView:
    status = shown_status(sale, now_ms)
    return SaleView(
        sale_id=sale.sale_id,
        product_id=sale.product_id,
        title=sale.title,
        status=status.value,
        mode=sale.mode.value,
        price_cents=sale.price_cents,
        currency=sale.currency,
        start_time=stamp(sale.start_ms),
        end_time=stamp(sale.end_ms),
        per_user_limit=sale.per_user_limit,
        checkout_ttl_seconds=sale.checkout_ttl_seconds,
        entry_opens_at=stamp_or_none(sale.entry_opens_ms),
        availability=availability_view(sale),
        line_length=line_length,
        server_time=stamp(now_ms),
        rehearsal_of=sale.rehearsal_of or None,
    )


def admin_sale_view(sale: Sale, now_ms: int, line_length: int = 0) -> AdminSaleView:
    fields: dict[str, Any] = msgspec.structs.asdict(terms_of(sale))
    for outside, inside in _INSIDE.items():
        fields[outside] = stamp_or_none(fields.pop(inside))
    fields["mode"], fields["payment_mode"] = sale.mode.value, sale.payment_mode.value
    return AdminSaleView(
        sale_id=sale.sale_id,
        status=shown_status(sale, now_ms).value,
        quantity_sold=sale.quantity_sold,
        quantity_paid=sale.quantity_paid,
        availability=availability_view(sale),
        line_length=line_length,
        last_number_granted=sale.granted_mark,
        draw_size=sale.draw_size,
        drawn_at=stamp_or_none(sale.drawn_ms),
        epoch=sale.epoch,
        log_size=sale.log_size,
        log_head=sale.log_head.hex(),
        created_at=stamp(sale.created_ms),
        updated_at=stamp(sale.updated_ms),
        server_time=stamp(now_ms),
        rehearsal_of=sale.rehearsal_of or None,
        **fields,
    )


def order_fields(order: Order) -> dict[str, Any]:
    payment = order.payment
    return {
        "order_id": order.order_id,
        "sale_id": order.sale_id,
        "user_id": order.user_id,
        "quantity": order.quantity,
        "amount_cents": order.amount_cents,
        "currency": order.currency,
        "status": order.status.value,
        "reserved_at": stamp(order.reserved_ms),
        "expires_at": stamp(order.expires_ms),
        "rehearsal": order.user_id.startswith(USER_PREFIX),
        "payment": None
        if payment is None
        else OrderPayment(
            state=payment.state.value,
            gateway=payment.gateway,
            attempt=payment.attempt,
            amount_cents=payment.amount_cents,
            currency=payment.currency,
            decline_reason=payment.decline_reason,
        ),
    }


def order_view(order: Order) -> OrderView:
    return OrderView(**order_fields(order))


def audit_view(report: AuditReport) -> AuditView:
    fields = {name: getattr(report, name) for name in AuditView.__struct_fields__ if name not in {"at", "drifts"}}
    fields["verdict"] = report.verdict.value
    drifts = [
        DriftView(law=d.law, expected=d.expected, found=d.found, rows=list(d.rows), repair=d.repair.value)
        for d in report.drifts
    ]
    return AuditView(at=stamp(report.at_ms), drifts=drifts, **fields)
