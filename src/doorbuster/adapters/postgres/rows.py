"""Rows of the views as the engine's structs.

Owns: the order of the views' columns, which `sale_view` and `order_view` in the migrations keep.
"""

import uuid
from typing import Any

import asyncpg
import msgspec

from doorbuster.domain.order import Order, PaymentView
from doorbuster.domain.sale import PaymentMode, Sale, SaleMode, SaleTerms
from doorbuster.domain.transitions import OrderStatus, PaymentState, SaleStatus


def sale_of(row: asyncpg.Record) -> Sale:
    """A row that has the columns of `sale_view`."""
    return Sale(
        sale_id=str(row["sale_id"]),
        product_id=row["product_id"],
        title=row["title"],
        quantity_available=row["quantity_available"],
        price_cents=row["price_cents"],
        currency=row["currency"],
        start_ms=row["start_ms"],
        end_ms=row["end_ms"],
        mode=SaleMode(row["mode"]),
        payment_mode=PaymentMode(row["payment_mode"]),
        per_user_limit=row["per_user_limit"],
        checkout_ttl_seconds=row["checkout_ttl_seconds"],
        payment_attempts=row["payment_attempts"],
        status=SaleStatus(row["status"]),
        quantity_sold=row["quantity_sold"],
        quantity_paid=row["quantity_paid"],
        epoch=row["epoch"],
        tick_seen=row["tick_seen"],
        image_run_id=row["image_run_id"],
        rebuild_reason=row["rebuild_reason"],
        log_size=row["log_size"],
        log_head=row["log_head"],
        created_ms=row["created_ms"],
        updated_ms=row["updated_ms"],
        standby_limit=row["standby_limit"],
        claim_window_seconds=row["claim_window_seconds"],
        entry_opens_ms=row["entry_opens_ms"],
        beacon_round=row["beacon_round"],
        max_lapsed_holds=row["max_lapsed_holds"],
        number_high=row["number_high"],
        granted_mark=row["granted_mark"],
        ended_number=row["ended_number"],
        draw_size=row["draw_size"],
        drawn_ms=row["drawn_ms"],
        rehearsal_of="" if row["rehearsal_of"] is None else str(row["rehearsal_of"]),
    )


def order_of(row: asyncpg.Record) -> Order:
    """A row that has the columns of `order_view`."""
    return Order(
        order_id=str(row["order_id"]),
        sale_id=str(row["sale_id"]),
        user_id=row["user_id"],
        quantity=row["quantity"],
        amount_cents=row["amount_cents"],
        currency=row["currency"],
        status=OrderStatus(row["status"]),
        reserved_ms=row["reserved_ms"],
        expires_ms=row["expires_ms"],
        closed_ms=row["closed_ms"],
        idempotency_key=row["idempotency_key"],
        body_digest=row["body_digest"],
        payment=_payment_of(row),
        line_number=row["line_number"],
        claimed_ms=row["claimed_ms"],
    )


def _payment_of(row: asyncpg.Record) -> PaymentView | None:
    state: str | None = row["payment_state"]
    if state is None:
        return None
    return PaymentView(
        state=PaymentState(state),
        gateway=row["payment_gateway"],
        attempt=row["payment_attempt"],
        amount_cents=row["payment_amount_cents"],
        currency=row["payment_currency"],
        decline_reason=row["decline_reason"],
    )


def json_of(terms: SaleTerms) -> str:
    """The terms as `terms_of` in the migrations names them; of a sale, its terms only."""
    values: dict[str, Any] = {name: getattr(terms, name) for name in SaleTerms.__struct_fields__}
    return msgspec.json.encode(values).decode()


def is_foreign(character: str) -> bool:
    return character == "\0" or "\ud800" <= character <= "\udfff"


def is_text(text: str) -> bool:
    """Whether PostgreSQL can hold it: no zero character, nothing that is not Unicode."""
    return (text.isascii() and "\0" not in text) or not any(map(is_foreign, text))


def is_id(text: str) -> bool:
    """Whether PostgreSQL could take this for an id. What cannot be one names nothing that is there."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
