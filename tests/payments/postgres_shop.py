"""The shop's stores on a real PostgreSQL. Time passes by moving what is stored into the past."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.balance import PostgresBalanceStore
from doorbuster.adapters.postgres.charges import PostgresChargeStore
from doorbuster.adapters.postgres.news import PostgresNewsStore
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.payments import PostgresPaymentStore
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore


class PostgresStores:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.sales = PostgresSaleStore(database)
        self.orders = PostgresOrderStore(database)
        self.audits = PostgresAuditStore(database)
        self.payments = PostgresPaymentStore(database)
        self.charges = PostgresChargeStore(database)
        self.balance = PostgresBalanceStore(database)
        self.news = PostgresNewsStore(database, "simulated")

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    async def run_out(self, order_id: str) -> None:
        await self.database.write(
            "update sale_orders set expires_at = clock_ms() - interval '1 second' where order_id = $1", order_id
        )

    async def grow_old(self, payment_id: str, by_ms: int) -> None:
        await self.database.write(
            "update payments set created_at = created_at - $2 * interval '1 millisecond',"
            " updated_at = updated_at - $2 * interval '1 millisecond' where payment_id = $1",
            payment_id,
            by_ms,
        )


@asynccontextmanager
async def postgres_stores(url: str) -> AsyncGenerator[PostgresStores, None]:
    database = await connect(url)
    try:
        yield PostgresStores(database)
    finally:
        await database.close()
