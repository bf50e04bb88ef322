"""The same ledger twice: in memory, and on a real PostgreSQL.

Both live in one invented time. In the test's own database `clock_timestamp()` is shadowed by a function that reads a
row, so the real ledger's clock stands still until the test moves it, and both sides write the same times to the
millisecond. Nothing else of the real ledger is touched.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg

from doorbuster.adapters.postgres.actions import PostgresActions
from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.charges import PostgresChargeStore
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.payments import PostgresPaymentStore
from doorbuster.adapters.postgres.pool import Connection, Database, connect
from doorbuster.adapters.postgres.rehearsals import PostgresRehearsals
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.postgres.timeline import PostgresTimelineStore
from doorbuster.adapters.postgres.waitlist import PostgresWaitlist
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.actions import ActionStore
from doorbuster.engine.line_ports import DrawLedger, LineLedger
from doorbuster.engine.money_ports import ChargeStore
from doorbuster.engine.notifying import NoticeStore
from doorbuster.engine.payment_ports import Begun, PayAsk, PaymentStore
from doorbuster.engine.ports import AuditStore, OrderStore, SaleStore
from doorbuster.engine.rehearsal_ports import RehearsalStore
from doorbuster.engine.reporting import FigureStore
from doorbuster.engine.timeline_ports import TimelineStore
from doorbuster.engine.waitlist import WaitlistStore
from doorbuster.reference.actions import ReferenceActions
from doorbuster.reference.audits import ReferenceAuditStore
from doorbuster.reference.charges import ReferenceChargeStore
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.draws import ReferenceDrawLedger
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.line_ledger import ReferenceLineLedger
from doorbuster.reference.orders import ReferenceOrderStore
from doorbuster.reference.payments import ReferencePaymentStore
from doorbuster.reference.rehearsals import ReferenceRehearsals
from doorbuster.reference.sales import ReferenceSaleStore
from doorbuster.reference.timeline import ReferenceTimelineStore
from doorbuster.reference.waitlist import ReferenceWaitlist

GATEWAY = "simulated"

_FREEZE = """
create table if not exists frozen_clock (at_ms bigint not null);
truncate frozen_clock;
insert into frozen_clock values ({now_ms});
create or replace function public.clock_timestamp() returns timestamptz language sql volatile
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
    """The stores of one ledger, and its time."""

    @property
    def sales(self) -> SaleStore: ...
    @property
    def orders(self) -> OrderStore: ...
    @property
    def audits(self) -> AuditStore: ...
    @property
    def payments(self) -> PaymentStore: ...
    @property
    def charges(self) -> ChargeStore: ...
    @property
    def lines(self) -> LineLedger: ...
    @property
    def draws(self) -> DrawLedger: ...
    @property
    def timeline(self) -> TimelineStore: ...
    @property
    def waitlist(self) -> WaitlistStore: ...
    @property
    def notices(self) -> NoticeStore: ...
    @property
    def rehearsals(self) -> RehearsalStore: ...
    @property
    def actions(self) -> ActionStore: ...
    @property
    def figures(self) -> FigureStore: ...
    @property
    def clock(self) -> ManualClock: ...

    async def advance_ms(self, by_ms: int) -> None:
        """Let time pass in the ledger and for everybody who has its clock."""
        ...

    async def return_units(self, order_id: str) -> bool:
        """The units of a paid order go back on sale, as a refund would have it; False if there is nothing to give
        back."""
        ...


class MemoryLedger:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.rows = ReferenceLedger(clock)
        self.sales = ReferenceSaleStore(self.rows)
        self.orders = ReferenceOrderStore(self.rows)
        self.audits = ReferenceAuditStore(self.rows)
        self.payments = ReferencePaymentStore(self.rows)
        self.charges = ReferenceChargeStore(self.rows, self.payments)
        self.lines = ReferenceLineLedger(self.rows)
        self.draws = ReferenceDrawLedger(self.rows)
        self.timeline = self.figures = ReferenceTimelineStore(self.rows)
        self.waitlist = self.notices = ReferenceWaitlist(self.rows)
        self.rehearsals = ReferenceRehearsals(self.rows)
        self.actions = ReferenceActions(self.rows)

    async def advance_ms(self, by_ms: int) -> None:
        self.clock.advance_ms(by_ms)

    async def return_units(self, order_id: str) -> bool:
        return self.rows.mark_returned(order_id)


class PostgresLedger:
    """Made by `postgres_ledger`. `sql` is a connection beside the stores, in the same time."""

    def __init__(self, clock: ManualClock, database: Database, sql: Connection) -> None:
        self.clock = clock
        self.sales = PostgresSaleStore(database)
        self.orders = PostgresOrderStore(database)
        self.audits = PostgresAuditStore(database)
        self.payments = PostgresPaymentStore(database)
        self.charges = PostgresChargeStore(database)
        self.lines = PostgresLineLedger(database)
        self.draws = PostgresDrawLedger(database)
        self.timeline = self.figures = PostgresTimelineStore(database)
        self.waitlist = self.notices = PostgresWaitlist(database)
        self.rehearsals = PostgresRehearsals(database)
        self.actions = PostgresActions(database)
        self.sql = sql

    async def advance_ms(self, by_ms: int) -> None:
        self.clock.advance_ms(by_ms)
        await self.sql.execute("update frozen_clock set at_ms = $1", self.clock.now_ms())

    async def return_units(self, order_id: str) -> bool:
        return await self.sql.fetchval("select return_order($1)", order_id)


@asynccontextmanager
async def postgres_ledger(url: str, clock: ManualClock) -> AsyncGenerator[PostgresLedger, None]:
    """A ledger on a database with the schema, in the time of `clock`; several on one have to share the clock."""
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


async def begin_payment(ledger: Ledger, order_id: str, payment_id: str) -> None:
    """An attempt is sent to the gateway, and its answer is not known yet."""
    order = await ledger.orders.get(order_id)
    assert order is not None
    ask = PayAsk(
        payment_id=payment_id,
        order_id=order_id,
        user_id=order.user_id,
        gateway=GATEWAY,
        payment_method="pm_ok",
        key=f"key of {payment_id}",
        digest="body",
    )
    begun = await ledger.payments.begin(ask)
    assert isinstance(begun, Begun), begun
    await ledger.payments.send(payment_id)


async def settle_payment(ledger: Ledger, payment_id: str) -> None:
    """The gateway has the money of an attempt that was sent."""
    await ledger.payments.confirm(payment_id, "reference")
    paid = await ledger.payments.captured(payment_id)
    assert paid.order.status is OrderStatus.PAID
