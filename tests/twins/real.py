"""The desk of the real engine on real servers: two gates that share nothing but Valkey and PostgreSQL."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from conformance.ledgers import postgres_ledger
from doorbuster.adapters.postgres.pool import Pool
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport, Verdict
from doorbuster.domain.order import Order
from doorbuster.domain.sale import availability
from doorbuster.engine.ports import Actor
from doorbuster.engine.selling import Reserved
from doorbuster.reference.clock import ManualClock
from scenarios.notation import read
from scenarios.stage import Stage, ValkeyServer
from scenarios.verbs import VERBS
from twins.desk import Books, Sold
from twins.races import Terms

OPERATOR = Actor(name="operator", reason="a race")


class RealDesk:
    """Made by `real_desk`. Each gate has its own connections to both stores."""

    def __init__(self, stages: list[Stage], terms: Terms, sql: Pool) -> None:
        self.stages = stages
        self.sql = sql
        self.terms = terms
        self.sale_id = stages[0].sale_id

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        selling = self.stages[gate].gates[0].selling
        answer = await selling.reserve(self.sale_id, buyer, quantity=units, key=key, digest="body")
        return answer.order.order_id if isinstance(answer, Reserved) else None

    async def pay(self, order: str, *, gate: int = 0) -> bool:
        found = await self.stages[gate].ledger.orders.get(order)
        assert found is not None
        begun = (
            await self.stages[gate]
            .gates[0]
            .paying.pay(order, found.user_id, payment_method="pm_ok", key=f"gate {gate}")
        )
        return getattr(begun, "settled", False)

    async def cancel(self, order: str, *, gate: int = 0) -> bool:
        """The engine tells everybody who asks that the order is cancelled; whose doing it was is written with it."""
        by = Actor(name=self.stages[gate].ids.new_id())
        answer = await self.stages[gate].gates[0].ordering.cancel(order, None, by)
        if not isinstance(answer, Order):
            return False
        return by.name == await self.sql.fetchval("select closed_by from sale_orders where order_id = $1", order)

    async def time_passes(self) -> None:
        await self.stages[0].ledger.advance_ms(60_000)

    async def expire(self, *, gate: int = 0) -> int:
        return await self.stages[gate].workers[0].expirer.run_once()

    async def give_back(self, *, gate: int = 0) -> None:
        await self.stages[gate].workers[0].releaser.run_once()

    async def reload(self) -> None:
        await self.stages[0].gates[0].operating.rebuild(self.sale_id, OPERATOR)

    async def books(self) -> Books:
        await self.rest()
        stage = self.stages[0]
        sale = await stage.ledger.sales.get(self.sale_id)
        image = await stage.stock.summary(self.sale_id)
        page = await stage.ledger.orders.page(self.sale_id, status=None, cursor=None, limit=limits.PAGE_SIZE_MAX)
        assert sale is not None
        assert image is not None
        assert image.stock == availability(sale).free
        states = {"RESERVED": "reserved", "PAID": "paid", "CANCELLED": "closed", "EXPIRED": "closed"}
        orders = [
            Sold(order.order_id, order.user_id, order.quantity, states[order.status.value])
            for order in page.orders
            if order.idempotency_key is not None
        ]
        return Books(sale.quantity_available, sale.per_user_limit, image.stock, orders)

    async def rest(self) -> None:
        """The workers have their turns, orphans come of age, and the audit agrees."""
        for step in read("work\nadvance 11s\nwork"):
            await VERBS[step.verb](self.stages[0], step)
        for stage in self.stages:
            await stage.quiet()
        report = await self.stages[0].gates[0].auditing.audit(self.sale_id, OPERATOR)
        assert isinstance(report, AuditReport)
        assert report.verdict is Verdict.IN_STEP, report


@asynccontextmanager
async def real_desk(terms: Terms, database_url: str, valkey_url: str) -> AsyncGenerator[RealDesk, None]:
    """A desk with a sale that is open."""
    clock, stages = ManualClock(), list[Stage]()
    async with AsyncExitStack() as stack:
        for seed in (1, 2):
            ledger = await stack.enter_async_context(postgres_ledger(database_url, clock))
            valkey = await ValkeyStockStore.connect(valkey_url)
            stack.push_async_callback(valkey.close)
            line = ValkeyLineStore(valkey)
            stack.push_async_callback(line.close)
            stage = Stage(ledger, valkey, ValkeyServer(valkey_url), line=line, seed=seed * 1_000)
            stack.push_async_callback(stage.close)
            stages.append(stage)
        [step] = read(f"sale units={terms.quantity} per_buyer={terms.limit} hold_ttl=60s")
        await VERBS["sale"](stages[0], step)
        stages[1].sale_id = stages[0].sale_id
        stages[1].gateway = stages[0].gateway
        for stage in stages:
            await stage.open()
        for stage in stages:
            stage.note_standing()
            await stage.quiet()
        sql = await stack.enter_async_context(asyncpg.create_pool(database_url, min_size=1, max_size=4))
        yield RealDesk(stages, terms, sql)
