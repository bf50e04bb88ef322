"""A ledger under test: the three stores on one database, and short ways to set a scene."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from doorbuster.adapters.postgres import Database, PostgresAuditStore, PostgresOrderStore, PostgresSaleStore, connect
from doorbuster.adapters.postgres.pool import Connection
from doorbuster.domain.audit import AuditReport, compare
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.engine.ports import Actor, CommitBatch, CommitWord
from helpers.waiting import until

ACTOR = Actor(name="tester", reason="a test")
COMMIT = "select word, (shown).order_id from commit_holds($1, $2, $3, $4, $5, $6, $7, $8)"


def an_id() -> str:
    return str(uuid.uuid4())


def a_hold(user: str = "ann", *, quantity: int = 1, key: str = "key", digest: str = "body", hold_id: str = "") -> Hold:
    return Hold(hold_id=hold_id or an_id(), user_id=user, quantity=quantity, key=key, digest=digest, since_ms=1)


def holds_of(count: int, *, name: str = "buyer") -> list[Hold]:
    return [a_hold(f"{name}-{n}", key=f"key-{n}") for n in range(count)]


class Ledger:
    """Stores over `url`; `sql` is a connection beside them, for looking and for damage."""

    def __init__(self, url: str, database: Database, sql: Connection) -> None:
        self.url = url
        self.database = database
        self.sql = sql
        self.sales = PostgresSaleStore(database)
        self.orders = PostgresOrderStore(database)
        self.audits = PostgresAuditStore(database)

    async def terms(self, **changes: Any) -> SaleTerms:
        """A sale that is open now, two units, one for each buyer."""
        now = await self.sales.time_ms()
        terms = SaleTerms(
            product_id="p-1",
            title="Lamp",
            quantity_available=2,
            price_cents=1_500,
            currency="USD",
            start_ms=now - 60_000,
            end_ms=now + 3_600_000,
        )
        return msgspec.structs.replace(terms, **changes)

    async def sale(self, **changes: Any) -> Sale:
        """Such a sale with its first image published: epoch 1."""
        sale = await self.sales.create(an_id(), await self.terms(**changes), ACTOR)
        epoch = await self.sales.raise_epoch(sale.sale_id, 0, "first image")
        assert epoch == 1
        await self.sales.image_published(sale.sale_id, 1, "server-1")
        return await self.now(sale)

    async def now(self, sale: Sale) -> Sale:
        current = await self.sales.get(sale.sale_id)
        assert current is not None
        return current

    async def commit(self, sale: Sale, *holds: Hold, epoch: int = 1, tick: int = 1) -> list[CommitWord]:
        batch = CommitBatch(sale_id=sale.sale_id, epoch=epoch, tick=tick, holds=holds)
        return [answer.word for answer in await self.orders.commit(batch)]

    async def reserve(self, sale: Sale, user: str = "ann", **about: Any) -> Order:
        """One order, committed."""
        [answer] = await self.orders.commit(
            CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=[a_hold(user, **about)])
        )
        assert answer.word is CommitWord.COMMITTED
        assert answer.order is not None
        return answer.order

    async def make_due(self, *orders: Order) -> None:
        await self.sql.execute(
            "update sale_orders set expires_at = clock_timestamp() - interval '1 second' where order_id = any($1)",
            [order.order_id for order in orders],
        )

    async def open_payment(self, order: Order, state: str = "SENT", *, on: Connection | None = None) -> None:
        await (on or self.sql).execute(
            """
            insert into payments (payment_id, order_id, sale_id, attempt, gateway, payment_method, state, amount_cents,
                currency, idempotency_key, gateway_key, created_at, updated_at)
            values ($1::uuid, $2, $3, 1, 'simulated', 'pm_ok', $4, 1500, 'USD', 'pay', $1::uuid::text, now(), now())
            """,
            uuid.uuid4(),
            order.order_id,
            order.sale_id,
            state,
        )

    async def pay(self, order_id: str) -> bool:
        """RESERVED to PAID as the end of a payment does it; whether it was RESERVED."""
        return await self.sql.fetchval(
            """
            with sale as materialized (
                select sale_id from flash_sales
                where sale_id = (select sale_id from sale_orders where order_id = $1)
                for no key update
            )
            select count(*) = 1 from sale, pay_orders(sale.sale_id, array[$1::uuid])
            """,
            order_id,
        )

    async def audit(self, sale: Sale) -> AuditReport:
        """PostgreSQL against itself."""
        facts = await self.audits.facts(sale.sale_id)
        assert facts is not None
        return compare(facts, None, at_ms=0)

    async def everything(self) -> dict[str, list[dict[str, Any]]]:
        """All rows that a refusal must leave as they are."""
        tables = ("flash_sales", "sale_orders", "user_sale_eligibility", "sale_log", "sale_releases", "blocklist_pages")
        tables = (*tables, "sale_line_left")
        return {
            table: [dict(row) for row in await self.sql.fetch(f"select * from {table} order by 1, 2")]
            for table in tables
        }

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """One more connection, as another process would have it."""
        connection: Connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            connection.terminate()

    async def somebody_waits(self) -> None:
        """Return when a statement of another connection waits for a lock."""
        await until(
            lambda: self.sql.fetchval(
                "select exists (select from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock')"
            )
        )

    async def without(self, function: str, *safeguards: tuple[str, str]) -> None:
        """Replace parts of a function of this test's own database: the twin that shows what the safeguard is for."""
        text: str = await self.sql.fetchval("select pg_get_functiondef($1::regproc)", function)
        for before, after in safeguards:
            assert before in text, f"{function} has no {before!r}: the twin proves nothing"
            text = text.replace(before, after)
        await self.sql.execute(text)


def arguments(sale: Sale, holds: Sequence[Hold], *, epoch: int = 1) -> list[object]:
    """What `COMMIT` takes, for calling it on a connection whose transaction the test ends itself."""
    return [
        sale.sale_id,
        epoch,
        1,
        [hold.hold_id for hold in holds],
        [hold.user_id for hold in holds],
        [hold.quantity for hold in holds],
        [hold.key for hold in holds],
        [hold.digest for hold in holds],
    ]


@asynccontextmanager
async def ledger_at(url: str) -> AsyncGenerator[Ledger]:
    """The stores on a migrated database."""
    database = await connect(url)
    sql: Connection = await asyncpg.connect(url)
    try:
        yield Ledger(url, database, sql)
    finally:
        sql.terminate()
        await database.close()
