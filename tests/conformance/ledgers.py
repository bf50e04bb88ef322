"""The same ledger twice: in memory, and on a real PostgreSQL.

Both live in one invented time. In the test's own database `clock_timestamp()` is shadowed by a function that reads a
row, so the real ledger's clock stands still until the test moves it, and both sides write the same times to the
millisecond. Nothing else of the real ledger is touched.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg

from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.payments import PostgresPaymentStore
from doorbuster.adapters.postgres.pool import Connection, Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.domain.order import Order, PaymentView
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.payment_ports import PayAsk
from doorbuster.engine.ports import AuditStore, OrderStore, SaleStore
from doorbuster.reference.audits import ReferenceAuditStore
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.orders import ReferenceOrderStore
from doorbuster.reference.sales import ReferenceSaleStore

GATEWAY = "simulated"

_FREEZE = """
create table frozen_clock (at_ms bigint not null);
insert into frozen_clock values ({now_ms});
create function public.clock_timestamp() returns timestamptz language sql volatile
    as 'select public.at_ms(at_ms) from public.frozen_clock';
-- Its body was bound to the real clock when it was made.
create or replace function public.clock_ms() returns timestamptz language sql volatile
    as 'select public.clock_timestamp()';
do $$ begin
    -- Only a name that is looked up here before the catalog can stand in front of the catalog's own.
    execute format('alter database %I set search_path = public, pg_catalog', current_database());
end $$;
"""


class Ledger(Protocol):
    """The three stores of one ledger, its time, and what happens to orders that no port of theirs does."""

    @property
    def sales(self) -> SaleStore: ...
    @property
    def orders(self) -> OrderStore: ...
    @property
    def audits(self) -> AuditStore: ...
    @property
    def clock(self) -> ManualClock: ...

    async def advance_ms(self, by_ms: int) -> None:
        """Let time pass in the ledger and for everybody who has its clock."""
        ...

    async def begin_payment(self, order_id: str) -> None:
        """An attempt is sent to the gateway, and its answer is not known yet."""
        ...

    async def fail_payment(self, order_id: str) -> None:
        """The open attempt is declined."""
        ...

    async def pay(self, order_id: str) -> None:
        """The order is paid for, by its open attempt or by a new one."""
        ...

    async def return_units(self, order_id: str) -> None:
        """The units of a paid order go back on sale with its refund."""
        ...


class MemoryLedger:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.rows = ReferenceLedger(clock)
        self.sales = ReferenceSaleStore(self.rows)
        self.orders = ReferenceOrderStore(self.rows)
        self.audits = ReferenceAuditStore(self.rows)

    async def advance_ms(self, by_ms: int) -> None:
        self.clock.advance_ms(by_ms)

    async def begin_payment(self, order_id: str) -> None:
        attempt = self._attempt(order_id)
        self._show(order_id, PaymentState.SENT, attempt=attempt + 1)

    async def fail_payment(self, order_id: str) -> None:
        self._show(order_id, PaymentState.DECLINED, attempt=self._attempt(order_id), reason="no funds")

    async def pay(self, order_id: str) -> None:
        order = self.rows.orders[order_id]
        if not self.rows.payment_open(order):
            await self.begin_payment(order_id)
        paid = self.rows.mark_paid(order_id)
        assert paid is not None
        assert paid.status is OrderStatus.PAID
        self._show(order_id, PaymentState.CAPTURED, attempt=self._attempt(order_id))

    async def return_units(self, order_id: str) -> None:
        assert self.rows.mark_returned(order_id)

    def _attempt(self, order_id: str) -> int:
        payment = self.rows.orders[order_id].payment
        return payment.attempt if payment else 0

    def _show(self, order_id: str, state: PaymentState, *, attempt: int, reason: str | None = None) -> None:
        order = self.rows.orders[order_id]
        view = PaymentView(
            state=state,
            gateway=GATEWAY,
            attempt=attempt,
            amount_cents=order.amount_cents,
            currency=order.currency,
            decline_reason=reason,
        )
        self.rows.show_payment(order_id, view)


class PostgresLedger:
    """Made by `postgres_ledger`. `sql` is a connection beside the stores, in the same time."""

    def __init__(self, clock: ManualClock, database: Database, sql: Connection) -> None:
        self.clock = clock
        self.sales = PostgresSaleStore(database)
        self.orders = PostgresOrderStore(database)
        self.audits = PostgresAuditStore(database)
        self._payments = PostgresPaymentStore(database)
        self.sql = sql

    async def advance_ms(self, by_ms: int) -> None:
        self.clock.advance_ms(by_ms)
        await self.sql.execute("update frozen_clock set at_ms = $1", self.clock.now_ms())

    async def begin_payment(self, order_id: str) -> None:
        order = await self._order(order_id)
        ask = PayAsk(
            payment_id=str(uuid.uuid4()),
            order_id=order_id,
            user_id=order.user_id,
            gateway=GATEWAY,
            payment_method="pm_ok",
            key=str(uuid.uuid4()),
            digest="body",
        )
        begun = await self._payments.begin(ask)
        assert not isinstance(begun, Refusal), begun
        await self._payments.send(begun.attempt.payment_id)

    async def fail_payment(self, order_id: str) -> None:
        attempts = await self._payments.attempts(order_id)
        await self._payments.decline(attempts[-1].payment_id, "no funds")

    async def pay(self, order_id: str) -> None:
        attempts = await self._payments.attempts(order_id)
        if not attempts or attempts[-1].state is not PaymentState.SENT:
            await self.begin_payment(order_id)
            attempts = await self._payments.attempts(order_id)
        await self._payments.confirm(attempts[-1].payment_id, "reference")
        paid = await self._payments.captured(attempts[-1].payment_id)
        assert paid.order.status is OrderStatus.PAID

    async def return_units(self, order_id: str) -> None:
        assert await self.sql.fetchval("select return_order($1)", uuid.UUID(order_id))

    async def _order(self, order_id: str) -> Order:
        order = await self.orders.get(order_id)
        assert order is not None
        return order


@asynccontextmanager
async def postgres_ledger(url: str, clock: ManualClock) -> AsyncGenerator[PostgresLedger, None]:
    """A ledger on an empty database with the schema, in the time of `clock`."""
    freezer: Connection = await asyncpg.connect(url)
    await freezer.execute(_FREEZE.format(now_ms=clock.now_ms()))
    await freezer.close()
    sql: Connection = await asyncpg.connect(url)  # only a new session has the new search path
    database = await connect(url)
    try:
        yield PostgresLedger(clock, database, sql)
    finally:
        await database.close()
        await sql.close()
