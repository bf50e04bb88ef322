"""A sale that an existing shop charges for, on each kind of ledger, and the desk where the shop reports."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from doorbuster.adapters.postgres.external import PostgresPassKeyStore, PostgresReportStore
from doorbuster.domain.audit import Verdict, compare
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.payment import Attempt
from doorbuster.domain.sale import PaymentMode, Sale, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.external import External, ReportRow, ReportStore
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.passes import PassKeyStore
from doorbuster.engine.ports import Actor, CommitBatch
from doorbuster.engine.releasing import Releaser
from doorbuster.reference.external import ReferencePassKeyStore, ReferenceReportStore
from doorbuster.reference.stock import ReferenceStockStore
from payments.postgres_shop import PostgresStores, postgres_stores
from payments.reference_shop import ReferenceStores

OPERATOR = Actor(name="operator", reason="test")


class Ids:
    """Fresh ids that rise, as those of a gate do."""

    def __init__(self) -> None:
        self._last = 0

    def new_id(self) -> str:
        self._last += 1
        return str(uuid.UUID(int=(self._last << 64) + uuid.uuid4().int % (1 << 64)))

    def jitter(self) -> float:
        return 0.5


class Desk:
    """One sale of ten units at 19.99; another can be opened in its place."""

    def __init__(self, stores: ReferenceStores | PostgresStores, reports: ReportStore, keys: PassKeyStore) -> None:
        self.stores = stores
        self.reports = reports
        self.keys = keys
        self.sale_id = ""
        self._buyers = 0
        releaser = Releaser(stores.sales, stores.orders, ReferenceStockStore())
        self.external = External(reports, Ordering(stores.orders, releaser), Ids())

    async def open(self, **terms: Any) -> None:
        now = self.stores.now_ms()
        self.sale_id = str(uuid.uuid4())
        given: dict[str, Any] = {
            "product_id": "p",
            "title": "A thing",
            "quantity_available": 10,
            "price_cents": 1999,
            "currency": "USD",
            "start_ms": now - 60_000,
            "end_ms": now + 3_600_000,
            "payment_mode": PaymentMode.EXTERNAL,
            **terms,
        }
        await self.stores.sales.create(self.sale_id, SaleTerms(**given), OPERATOR)

    async def order(self) -> Order:
        self._buyers += 1
        hold = Hold(
            hold_id=str(uuid.uuid4()),
            user_id=f"buyer-{self._buyers}",
            quantity=1,
            key="key",
            digest="d",
            since_ms=self.stores.now_ms(),
        )
        (made,) = await self.stores.orders.commit(CommitBatch(sale_id=self.sale_id, epoch=0, tick=0, holds=[hold]))
        assert made.order is not None, made
        return made.order

    async def paid(
        self, order: Order | str, reference: str = "invoice 1", *, cents: int | None = None, currency: str | None = None
    ) -> Order | Refusal:
        order_id = order if isinstance(order, str) else order.order_id
        return await self.external.paid(
            order_id, reference=reference, amount_cents=cents, currency=currency, actor=OPERATOR
        )

    async def cancelled(self, order: Order) -> Order | Refusal:
        return await self.external.cancelled(order.order_id, OPERATOR)

    async def expire(self, *orders: Order) -> None:
        """The time of these orders is over, and the expirer has been there."""
        for order in orders:
            await self.stores.run_out(order.order_id)
        await self.stores.orders.expire_due(limit=100)

    async def abort(self) -> None:
        """As the operator's verb begins: nothing is cancelled yet."""
        await self.stores.sales.move(self.sale_id, SaleStatus.CANCELLED, OPERATOR)

    async def read(self, order: Order) -> Order:
        found = await self.stores.orders.get(order.order_id)
        assert found is not None
        return found

    async def attempts(self, order: Order) -> list[Attempt]:
        return list(await self.stores.payments.attempts(order.order_id))

    async def sale(self) -> Sale:
        found = await self.stores.sales.get(self.sale_id)
        assert found is not None
        return found

    async def kept(self) -> list[ReportRow]:
        page = await self.reports.reports(self.sale_id, cursor=None, limit=1000)
        return list(page.reports)

    async def answers(self) -> list[tuple[str, str, int]]:
        """Kept reports: reference, answer and how often."""
        return [(row.reference, row.answer, row.times) for row in await self.kept()]

    async def state(self) -> tuple[Any, ...]:
        """Everything that a refused report must leave as it was."""
        page = await self.stores.orders.page(self.sale_id, status=None, cursor=None, limit=1000)
        attempts = [await self.attempts(order) for order in page.orders]
        return (await self.sale(), list(page.orders), attempts)

    async def assert_laws(self) -> None:
        """The sides agree, and what was paid is what the payments say (I2, I7, I9, I15)."""
        facts = await self.stores.audits.facts(self.sale_id)
        assert facts is not None
        report = compare(facts, None, at_ms=self.stores.now_ms())
        assert report.verdict is Verdict.IN_STEP, report.drifts
        for order in (await self.stores.orders.page(self.sale_id, status=None, cursor=None, limit=1000)).orders:
            attempts = await self.attempts(order)
            assert len(attempts) == (order.status.value == "PAID")
            assert all((a.amount_cents, a.currency) == (order.amount_cents, order.currency) for a in attempts)


@asynccontextmanager
async def desk_on(url: str) -> AsyncGenerator[Desk]:
    """A desk on the PostgreSQL there; nowhere is in memory."""
    if url:
        async with postgres_stores(url) as stores:
            yield Desk(stores, PostgresReportStore(stores.database), PostgresPassKeyStore(stores.database))
        return
    memory = ReferenceStores()
    reports = ReferenceReportStore(memory.ledger, memory.payments)
    yield Desk(memory, reports, ReferencePassKeyStore(memory.clock))
