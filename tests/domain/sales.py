"""Sales, orders and logs to try rules on."""

from typing import Any

import msgspec

from doorbuster.domain.chain import LogKind, LogRow, first_head, next_head
from doorbuster.domain.order import Order
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import OrderStatus, SaleStatus

SALE = "sale-1"
NOW, HOUR = 1_800_000_000_000, 3_600_000


def some_terms(**changes: Any) -> SaleTerms:
    """Terms that can be sold: the sale opens in an hour and lasts one."""
    terms = SaleTerms(
        product_id="p-1",
        title="Lamp",
        quantity_available=10,
        price_cents=1_500,
        currency="USD",
        start_ms=NOW + HOUR,
        end_ms=NOW + 2 * HOUR,
    )
    return msgspec.structs.replace(terms, **changes)


def a_sale(**changes: Any) -> Sale:
    sale = Sale(
        **msgspec.structs.asdict(some_terms()),
        sale_id=SALE,
        status=SaleStatus.SCHEDULED,
        quantity_sold=0,
        quantity_paid=0,
        epoch=1,
        tick_seen=0,
        image_run_id="server",
        rebuild_reason="",
        log_size=0,
        log_head=first_head(SALE),
        created_ms=NOW,
        updated_ms=NOW,
    )
    return msgspec.structs.replace(sale, **changes)


def an_order(**changes: Any) -> Order:
    order = Order(
        order_id="order-1",
        sale_id=SALE,
        user_id="ann",
        quantity=1,
        amount_cents=1_500,
        currency="USD",
        status=OrderStatus.RESERVED,
        reserved_ms=NOW,
        expires_ms=NOW + 600_000,
        idempotency_key="k",
    )
    return msgspec.structs.replace(order, **changes)


class Log:
    """A chained log, written row by row."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []

    @property
    def head(self) -> bytes:
        return self.rows[-1].hash if self.rows else first_head(SALE)

    def add(self, kind: LogKind, quantity: int, order_id: str = "", *, epoch: int = 1) -> None:
        row = LogRow(
            sale_id=SALE,
            seq=len(self.rows) + 1,
            kind=kind,
            order_id=order_id,
            quantity=quantity,
            epoch=epoch,
            at_ms=NOW + len(self.rows),
            hash=b"",
        )
        self.rows.append(msgspec.structs.replace(row, hash=next_head(self.head, row)))
