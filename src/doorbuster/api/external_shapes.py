"""The JSON of an order that an existing shop charges for: what its buyer sees, and what the shop and the operator send.

Owns: the shapes. Read next: `external.py`.
"""

from typing import Annotated, Final

import msgspec

from doorbuster.api.shapes import OrderView, Reason, order_fields, stamp
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code
from doorbuster.domain.passes import KeyState, PassKey
from doorbuster.engine.external import CancelWord, ReportRow, ReportWord

_CENTS_MAX: Final = 2**53
_CODES: Final[dict[str, Code]] = {
    ReportWord.REFERENCE_TAKEN: Code.CONFLICT,
    ReportWord.OTHER_REFERENCE: Code.CONFLICT,
    ReportWord.ORDER_CLOSED: Code.ORDER_CLOSED,
    ReportWord.SALE_ABORTED: Code.ORDER_CLOSED,
    ReportWord.DIFFERS: Code.INVALID_REQUEST,
    CancelWord.PAID_BEFORE: Code.CONFLICT,
}


class BuyerOrderView(OrderView, kw_only=True):
    """An order as its buyer sees it."""

    shop_pass: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="pass")
    """Of a unit that the shop charges for: what the shop is shown, until `expires_at`."""


def buyer_order_view(order: Order, shop_pass: str | None) -> BuyerOrderView:
    return BuyerOrderView(**order_fields(order), shop_pass=shop_pass or msgspec.UNSET)


class PaidBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The shop has the money. `reference` is its own name for the payment, never a card number; amount and currency,
    where they are given, have to be the order's."""

    reference: str
    amount_cents: Annotated[int, msgspec.Meta(ge=0, le=_CENTS_MAX)] | None = None
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$")] | None = None
    reason: Reason = ""


class ReportedView(msgspec.Struct, kw_only=True):
    """A report of the shop's that was refused. `answer` is the code it was refused with, `finding` why in one word,
    `times` how often it came."""

    report_id: str
    order_id: str
    kind: str
    reference: str
    amount_cents: int | None
    currency: str | None
    answer: str
    finding: str
    at: str
    last_at: str
    times: int
    actor: str
    reason: str


class ReportedList(msgspec.Struct):
    reports: list[ReportedView]
    next_cursor: str | None


def reported_view(row: ReportRow) -> ReportedView:
    return ReportedView(
        report_id=row.report_id,
        order_id=row.order_id,
        kind=row.kind,
        reference=row.reference,
        amount_cents=row.amount_cents,
        currency=row.currency,
        answer=_CODES[row.answer].value,
        finding=row.answer,
        at=stamp(row.at_ms),
        last_at=stamp(row.last_ms),
        times=row.times,
        actor=row.actor.name,
        reason=row.actor.reason,
    )


class RotateKeysBody(msgspec.Struct, forbid_unknown_fields=True):
    """`leaked`: somebody else may have the keys. All are dropped, and the new one signs at once."""

    leaked: bool = False
    reason: Reason = ""


class KeyView(msgspec.Struct, kw_only=True):
    """A published key. `next`: it signs from `signs_from` on; `leaving`: it signs no more, and is published until
    `leaves_at`."""

    kid: str
    state: str
    made_at: str
    signs_from: str
    leaves_at: str | None


class KeyList(msgspec.Struct):
    keys: list[KeyView]


def key_view(key: PassKey, state: KeyState) -> KeyView:
    return KeyView(
        kid=key.key_id,
        state=state.value,
        made_at=stamp(key.made_ms),
        signs_from=stamp(max(key.signs_from_ms, key.made_ms)),
        leaves_at=None if key.leaves_ms is None else stamp(key.leaves_ms),
    )


class PublishedKey(msgspec.Struct):
    """RFC 7517 and RFC 8037."""

    kty: str
    crv: str
    use: str
    alg: str
    kid: str
    x: str


class PublishedKeyList(msgspec.Struct):
    """Public keys that passes are checked with."""

    keys: list[PublishedKey]
