"""What gates and workers have in common: the stores, the clock, and how a process waits for them.

Owns: which adapters the real world is made of. Read next: `gate.py`, `worker.py`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import TypeVar

import structlog

from doorbuster import telemetry, tracing
from doorbuster.adapters.beacon import build_beacon
from doorbuster.adapters.notify import push_terms
from doorbuster.adapters.payments import build_gateway
from doorbuster.adapters.postgres.actions import PostgresActions
from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.balance import PostgresBalanceStore
from doorbuster.adapters.postgres.charges import PostgresChargeStore
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.fleet import PostgresFleet
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.monitor import PostgresMonitor
from doorbuster.adapters.postgres.news import PostgresNewsStore
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.payments import PostgresPaymentStore
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.rehearsals import PostgresRehearsals
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.postgres.shop_events import PostgresShopEvents
from doorbuster.adapters.postgres.timeline import PostgresTimelineStore
from doorbuster.adapters.postgres.waitlist import PostgresWaitlist
from doorbuster.adapters.processors import Processors
from doorbuster.adapters.shop_webhooks import HttpSender
from doorbuster.adapters.system import SystemClock, SystemIds
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.config import Settings
from doorbuster.domain.alerts import ALERT_RULES
from doorbuster.domain.notices import NoticeKind
from doorbuster.domain.timeline import StepName
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.committing import Committer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.notifying import Notifying
from doorbuster.engine.planning import Planning, Progress
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.reconciling import Reconciler
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import Releaser
from doorbuster.engine.reporting import Reporting
from doorbuster.engine.waitlist import Waitlist

log = structlog.get_logger(__name__)
T = TypeVar("T")

_START_PATIENCE_S = 60.0
"""How long a process waits for its stores at the start before it gives up and lets its supervisor decide."""


class World:
    """The stores, the clock and the use cases of one process."""

    def __init__(self, settings: Settings, database: Database, stock: ValkeyStockStore, clock: SystemClock) -> None:
        self.settings = settings
        self.database = database
        self.stock = stock
        self.clock = clock
        self.ids = SystemIds()
        self.telemetry = telemetry.Telemetry()
        self.sales = PostgresSaleStore(database)
        self.orders = PostgresOrderStore(database)
        self.audits = PostgresAuditStore(database)
        self.payments = PostgresPaymentStore(database)
        self.line = ValkeyLineStore(stock)
        self.ledger = PostgresLineLedger(database)
        self.draws = PostgresDrawLedger(database)
        self.shop_events = PostgresShopEvents(database)
        self.notices = PostgresWaitlist(database)
        self.monitor = PostgresMonitor(database)
        self.actions = PostgresActions(database)
        self.fleet = PostgresFleet(database)
        self.rehearsals = PostgresRehearsals(database)
        self.timeline = PostgresTimelineStore(database)
        self.sender = HttpSender(allow_private=settings.webhooks_allow_private)
        self.gateway = build_gateway(settings)
        self.board = SaleBoard(self.sales, clock)
        self.waitlist = Waitlist(self.notices, self.board, clock, push_terms(settings))
        self.distrust = Distrust(self.sales)
        self.committer = Committer(self.orders, stock, clock, self.ids)
        self.releaser = Releaser(self.sales, self.orders, stock)
        self.rebuilder = Rebuilder(self.sales, stock, self.line, self.ledger)
        self.processors = Processors()
        self.drawing = Drawing(self.draws, build_beacon(settings), self.processors)
        self.charges = PostgresChargeStore(database)
        self.balance = PostgresBalanceStore(database)
        self.refunding = Refunding(
            payments=self.payments, orders=self.orders, gateway=self.gateway, releaser=self.releaser, clock=clock
        )
        self.news = PostgresNewsStore(database, self.gateway.name)
        self.reconciler = Reconciler(sales=self.sales, balance=self.balance, gateway=self.gateway, clock=clock)
        self.notifying = Notifying(self.notices, clock)
        self.planning = Planning(self.sales, self.timeline, ALERT_RULES, self._progress())
        self.reporting = Reporting(
            sales=self.sales,
            audits=self.audits,
            figures=self.timeline,
            timeline=self.timeline,
            monitor=self.monitor,
            stock=stock,
            clock=clock,
        )
        self.auditing = Auditing(sales=self.sales, orders=self.orders, audits=self.audits, stock=stock, clock=clock)

    def _progress(self) -> Mapping[StepName, Progress]:
        return {
            StepName.NOTIFY_1H: lambda sale_id: self.notifying.progress(sale_id, NoticeKind.HOUR),
            StepName.NOTIFY_5M: lambda sale_id: self.notifying.progress(sale_id, NoticeKind.MINUTES),
            StepName.SETTLE: self.notifying.results,
        }


@contextlib.asynccontextmanager
async def open_world(settings: Settings) -> AsyncGenerator[World]:
    """Connect to both stores and learn the time, however long they take within reason."""
    database = await patiently("PostgreSQL", lambda: connect(settings.database_url))
    stock = await ValkeyStockStore.connect(settings.valkey_url)
    await patiently("Valkey", stock.load_library)
    clock = SystemClock()
    world = World(settings, database, stock, clock)
    try:
        await patiently("the database's clock", lambda: clock.sync(world.sales.time_ms))
        yield world
    finally:
        await world.gateway.close()
        await world.sender.close()
        await world.processors.close()
        await world.line.close()
        await stock.close()
        await database.close()


@contextlib.contextmanager
def traced(settings: Settings, process: str) -> Generator[None]:
    """Traces what is done inside, if the settings say where they go."""
    exporter = tracing.exporter_of(settings)
    if exporter is None:
        yield
        return
    traces = tracing.Tracing(
        exporter,
        sample=settings.traces_sample,
        process=process,
        random=SystemIds().jitter,
        monotonic=SystemClock().monotonic,
    )
    tracing.use(traces)
    try:
        yield
    finally:
        tracing.use(None)
        traces.close()


async def patiently(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    loop = asyncio.get_running_loop()
    end = loop.time() + _START_PATIENCE_S
    told = False
    while True:
        try:
            return await attempt()
        except (StoreUnavailable, OutcomeUnknown) as problem:
            if loop.time() > end:
                raise SystemExit(f"doorbuster: {what} cannot be reached: {problem}") from problem
            if not told:
                log.warning("waiting for a store", store=what, problem=str(problem))
                told = True
            await asyncio.sleep(0.2)


class Beats:
    """Small things a process does again and again beside its work. One that fails is tried again."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._beat(seconds, name, work), name=name))

    @staticmethod
    async def _beat(seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
        failing = False
        while True:
            try:
                await work()
            except (StoreUnavailable, OutcomeUnknown) as problem:
                if not failing:
                    log.warning("a store does not answer", beat=name, problem=str(problem))
                failing = True
            else:
                if failing:
                    log.info("the store answers again", beat=name)
                failing = False
            await asyncio.sleep(seconds)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
