"""What the oracle knows, and how the next command is drawn from it.

Most draws are about holds and orders that exist, so that a command does something; some are about what is gone, is
somebody else's or never was, so that refusals are seen too.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from conformance.ledgers import MemoryLedger
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.sale import PaymentMode, Sale, SaleTerms
from doorbuster.domain.transitions import SALE_OVER, SALE_SELLS, OrderStatus, SaleStatus
from doorbuster.engine.image import ImageState, ImageTerms
from doorbuster.engine.ports import (
    Ask,
    Release,
)
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.stock import ReferenceStockStore

USERS = ("ann", "bob", "eve", "kim", "max")
SALES_AT_ONCE = 2
T = TypeVar("T")


class View:
    """The oracle's state before a step, and the seeded chance that draws from it."""

    def __init__(self, rng: random.Random, ids: SeededIds, ledger: MemoryLedger, stock: ReferenceStockStore) -> None:
        self.rng = rng
        self.ids = ids
        self.ledger = ledger
        self.rows = ledger.rows
        self.image = stock.image
        self.now_ms = ledger.clock.now_ms()

    def rarely(self, chance: float = 0.1) -> bool:
        return self.rng.random() < chance

    def one(self, things: Sequence[T]) -> T:
        return self.rng.choice(things)

    # ------------------------------------------------------------------------------------------------ sales

    def recent(self) -> list[Sale]:
        """The sales that commands are about: the newest."""
        return [self.rows.sales[sale_id] for sale_id in sorted(self.rows.sales)[-SALES_AT_ONCE:]]

    def sale_id(self) -> str:
        return self.ids.new_id() if self.rarely(0.06) else self.sale().sale_id

    def sale(self) -> Sale:
        selling = [sale for sale in self.recent() if sale.status not in SALE_OVER]
        return self.one(selling if selling and not self.rarely() else self.recent())

    def sale_that(self, *statuses: SaleStatus) -> Sale:
        """One in such a status, of all there are, if there is one and chance will have it."""
        fitting = [sale for sale in self.rows.sales.values() if sale.status in statuses]
        return self.one(fitting) if fitting and not self.rarely(0.3) else self.sale()

    def needs_a_sale(self) -> bool:
        return sum(sale.status in SALE_SELLS for sale in self.recent()) < SALES_AT_ONCE

    def terms(self) -> SaleTerms:
        start = self.now_ms + self.one((-5_000, -5_000, 0, 3_000, 20_000))
        return SaleTerms(
            product_id=self.one(("p-1", "p-2")),
            title=self.one(("Lamp", "Vase")),
            quantity_available=self.rng.randint(1, 7),
            price_cents=self.one((0, 1, 1_500, 1_500)),
            currency="USD",
            start_ms=start,
            end_ms=start + self.one((10_000, 60_000, 3_600_000, 3_600_000)),
            per_user_limit=self.one((1, 2, 3)),
            payment_mode=self.one((*[PaymentMode.CHECKOUT] * 4, PaymentMode.EXTERNAL)),
            checkout_ttl_seconds=self.one((5, 60, 600)),
            payment_attempts=self.one((1, 3)),
        )

    def changed_terms(self, sale: Sale) -> SaleTerms:
        terms = SaleTerms(**{name: getattr(sale, name) for name in SaleTerms.__struct_fields__})
        changes: dict[str, object] = self.one(
            (
                {"quantity_available": max(0, sale.quantity_available + self.rng.randint(-3, 3))},
                {"per_user_limit": self.rng.randint(1, 3)},
                {"title": self.one(("Lamp", "Vase", "Lamps"))},
                {"end_ms": max(terms.start_ms + 1, self.now_ms + self.rng.randint(-5_000, 100_000))},
            )
        )
        return msgspec.structs.replace(terms, **changes)

    # ------------------------------------------------------------------------------------------------ images

    def image_epoch(self, sale_id: str) -> int:
        """The epoch of the published image, mostly."""
        head = self.image(sale_id).head
        epoch = head.epoch if head else self.ledger_epoch(sale_id)
        return epoch + self.one((-1, 1)) if self.rarely() else epoch

    def ledger_epoch(self, sale_id: str) -> int:
        sale = self.rows.sales.get(sale_id)
        epoch = sale.epoch if sale else 1
        return epoch + self.one((-1, 1)) if self.rarely() else epoch

    def build_epoch(self, sale_id: str) -> int:
        """The epoch that is being built, mostly."""
        build = self.image(sale_id).build
        return build[0] if build and not self.rarely(0.2) else max(1, self.image_epoch(sale_id))

    def image_terms(self) -> ImageTerms:
        return ImageTerms(
            state=self.one((*ImageState, ImageState.PAUSED)),
            opens_ms=self.now_ms + self.one((-5_000, -5_000, -5_000, 4_000)),
            ends_ms=self.now_ms + self.one((60_000, 60_000, 60_000, -1_000)),
            limit=self.rng.randint(1, 3),
        )

    # ------------------------------------------------------------------------------------------------ holds

    def ask(self, sale_id: str) -> Ask:
        """Mostly a new wish; sometimes the repeat of one that has been answered."""
        user, key = self.one(USERS), self.ids.new_id()
        known = list(self.image(sale_id).keys)
        if known and self.rarely(0.15):
            user, key = self.one(known)
        return Ask(self.ids.new_id(), user, self.one((1, 1, 1, 2, 3)), key, self.one(("body", "body", "other body")))

    def taken(self, sale_id: str) -> list[Hold]:
        """Holds of the image that are no orders yet."""
        return [hold for hold_id, hold in self.image(sale_id).holds.items() if hold_id not in self.rows.orders]

    def loose_hold(self, sale_id: str) -> Hold:
        """One that the image does not know."""
        ask = self.ask(sale_id)
        blocked = sorted(self.rows.blocked[sale_id])
        return Hold(
            hold_id=ask.hold_id,
            user_id=self.one(blocked) if blocked and self.rarely(0.2) else ask.user_id,
            quantity=ask.quantity if not self.rarely() else 0,
            key=ask.key,
            digest=ask.digest,
            since_ms=self.now_ms,
        )

    def hold(self, sale_id: str) -> Hold:
        """One that waits for its commit, one that became an order, or one that never was."""
        taken, orders = self.taken(sale_id), self.orders(sale_id)
        if taken and not self.rarely(0.3):
            return self.one(taken)
        if orders and self.rarely(0.5):
            order = self.one(orders)
            known = msgspec.structs.replace(
                self.loose_hold(sale_id),
                user_id=order.user_id,
                quantity=order.quantity,
                key=order.idempotency_key or "k1",
            )
            same_id = self.rarely(0.5)
            return msgspec.structs.replace(known, hold_id=order.order_id) if same_id else known
        return self.loose_hold(sale_id)

    def release(self, sale_id: str) -> Release:
        holds = list(self.image(sale_id).holds.values())
        hold = self.one(holds) if holds and not self.rarely(0.2) else self.loose_hold(sale_id)
        user = self.one(USERS) if self.rarely() else hold.user_id
        return Release(hold_id=hold.hold_id, user_id=user, forget_key=self.rarely(0.5))

    # ------------------------------------------------------------------------------------------------ orders

    def orders(self, sale_id: str, *statuses: OrderStatus) -> list[Order]:
        return self.rows.orders_of(sale_id, *statuses)

    def order(self, *statuses: OrderStatus) -> Order | None:
        """An order of a recent sale, in one of these statuses if there is one."""
        every = [order for sale in self.recent() for order in self.orders(sale.sale_id)]
        fitting = [order for order in every if order.status in statuses]
        return self.one(fitting or every) if every else None
