"""The only wiring of the real world: which adapters a gate and a worker are made of.

Owns: how a process starts, waits for its stores, and stops. Everything it wires is tested without it.
Read next: `api/app.py` for what a gate answers, `agents/selling.py` for what a worker does.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop

from doorbuster import telemetry
from doorbuster.adapters.beacon import build_beacon
from doorbuster.adapters.payments import build_gateway
from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.balance import PostgresBalanceStore
from doorbuster.adapters.postgres.charges import PostgresChargeStore
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.payments import PostgresPaymentStore
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.postgres.shop_events import PostgresShopEvents
from doorbuster.adapters.processors import Processors
from doorbuster.adapters.shop_webhooks import HttpSender
from doorbuster.adapters.system import CpuShare, SystemClock, SystemIds
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.agents.line import AdmitterAgent, DrawerAgent, LineKeeperAgent, Lines
from doorbuster.agents.loop import AgentLoops
from doorbuster.agents.money import ChargerAgent, ReconcilerAgent
from doorbuster.agents.relay import Relay
from doorbuster.agents.resolver import Resolver
from doorbuster.agents.selling import (
    AuditorAgent,
    ClockAgent,
    ExpirerAgent,
    KeeperAgent,
    ReleaserAgent,
    SweeperAgent,
)
from doorbuster.api.app import create_app
from doorbuster.api.live_views import LiveViews
from doorbuster.api.server import Live, serve
from doorbuster.api.services import Services
from doorbuster.config import Settings
from doorbuster.domain import limits
from doorbuster.domain.breaker import BreakerState
from doorbuster.domain.sale import SaleMode
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.charging import Charging
from doorbuster.engine.committing import Committer
from doorbuster.engine.describing import Describer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.entering import Entering
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.granting import Admitter, LineKeeper
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.paying import Paying
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.rebuilding import Keeper, Rebuilder
from doorbuster.engine.reconciling import Reconciler
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import OrphanSweep, Releaser
from doorbuster.engine.reporting import Reporting
from doorbuster.engine.selling import Selling
from doorbuster.engine.shop_endpoints import Webhooks
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.watching import LineWatch
from doorbuster.live.events import EVENTS_PATH, EventStreams
from doorbuster.live.hub import Hub
from doorbuster.live.socket import socket_class

log = structlog.get_logger(__name__)
T = TypeVar("T")

_START_PATIENCE_S = 60.0
"""How long a process waits for its stores at the start before it gives up and lets its supervisor decide."""
_WATCH_S = 1.0
"""Age of the pulse and the length of a line."""
_KEYS_S = 30.0
_BOARD_AGE_READY_S = 5.0
"""A gate whose rows are older answers from memory only: it asks to be left alone until the ledger is back."""


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
        self.sender = HttpSender(allow_private=settings.webhooks_allow_private)
        self.gateway = build_gateway(settings)
        self.board = SaleBoard(self.sales, clock)
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
        self.reconciler = Reconciler(sales=self.sales, balance=self.balance, gateway=self.gateway, clock=clock)
        self.auditing = Auditing(sales=self.sales, orders=self.orders, audits=self.audits, stock=stock, clock=clock)


@contextlib.asynccontextmanager
async def _open(settings: Settings) -> AsyncGenerator[World]:
    """Connect to both stores and learn the time, however long they take within reason."""
    database = await _patiently("PostgreSQL", lambda: connect(settings.database_url))
    stock = await ValkeyStockStore.connect(settings.valkey_url)
    await _patiently("Valkey", stock.load_library)
    clock = SystemClock()
    world = World(settings, database, stock, clock)
    try:
        await _patiently("the database's clock", lambda: clock.sync(world.sales.time_ms))
        yield world
    finally:
        await world.gateway.close()
        await world.sender.close()
        await world.processors.close()
        await world.line.close()
        await stock.close()
        await database.close()


async def _patiently(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
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


def run_gate(settings: Settings, *, fd: int | None = None) -> None:
    """Serve HTTP until SIGTERM or SIGINT, then finish what is under way. `fd` is a listening socket to inherit."""
    telemetry.configure_logging(settings, process=f"gate {os.getpid()}")
    uvloop.run(_gate(settings, fd))


async def _gate(settings: Settings, fd: int | None) -> None:
    async with _open(settings) as world:
        watch = LineWatch(world.board, world.ledger, world.stock, world.clock)
        tickets = Tickets(world.ledger)
        describer = Describer(watch, tickets, world.clock, world.ids)
        services = _services(world, watch, tickets, describer)
        load = CpuShare()
        beats = Beats()
        beats.every(limits.SNAPSHOT_INTERVAL_MS / 1000, "board", world.board.refresh)
        beats.every(limits.CLOCK_SYNC_INTERVAL_MS / 1000, "clock", lambda: world.clock.sync(world.sales.time_ms))
        beats.every(_WATCH_S, "lines", watch.refresh)
        beats.every(_KEYS_S, "ticket keys", tickets.refresh)
        api = create_app(services, settings, world.clock, world.ids)
        hub = Hub(
            board=world.board,
            queueing=services.queueing,
            line=world.line,
            describer=describer,
            watch=watch,
            identify=api.buyers.identify_token,
            views=LiveViews(watch),
            clock=world.clock,
            ids=world.ids,
            sockets_max=settings.live_sockets_max,
        )
        beats.every(1.0, "metrics", lambda: _publish_gate(world, hub))
        beats.every(1.0, "load", lambda: _note_load(describer, load))
        origins = frozenset(settings.allowed_origins.lower().split())
        live = Live(socket_class(hub, origins), {EVENTS_PATH: EventStreams(hub)})
        world.committer.start()
        hub.start()
        try:
            await serve(api, settings, fd=fd, live=live)
        finally:
            await hub.stop()
            await services.paying.stop()
            await world.refunding.stop()
            await world.committer.stop()
            await beats.stop()


def _services(world: World, watch: LineWatch, tickets: Tickets, describer: Describer) -> Services:
    """The use cases a gate answers with."""
    ordering = Ordering(world.orders, world.releaser)
    return Services(
        selling=Selling(
            board=world.board,
            committer=world.committer,
            stock=world.stock,
            orders=world.orders,
            distrust=world.distrust,
            clock=world.clock,
            ids=world.ids,
        ),
        board=world.board,
        ordering=ordering,
        queueing=Queueing(
            board=world.board,
            line=world.line,
            ledger=world.ledger,
            orders=world.orders,
            ordering=ordering,
            entering=Entering(world.draws, describer, world.clock, world.ids),
            describer=describer,
            tickets=tickets,
            distrust=world.distrust,
            clock=world.clock,
            ids=world.ids,
        ),
        drawing=world.drawing,
        watch=watch,
        reporting=Reporting(world.sales, world.audits, world.clock),
        webhooks=Webhooks(
            store=world.shop_events,
            sender=world.sender,
            clock=world.clock,
            ids=world.ids,
            allow_private=world.settings.webhooks_allow_private,
        ),
        operating=Operating(
            sales=world.sales,
            orders=world.orders,
            stock=world.stock,
            board=world.board,
            rebuilder=world.rebuilder,
            releaser=world.releaser,
            refunding=world.refunding,
            clock=world.clock,
            ids=world.ids,
        ),
        auditing=world.auditing,
        refunding=world.refunding,
        reconciler=world.reconciler,
        charges=world.charges,
        paying=Paying(payments=world.payments, gateway=world.gateway, clock=world.clock, ids=world.ids),
        book=world.gateway.book if isinstance(world.gateway, SimulatedGateway) else None,
        ready=lambda: _gate_problems(world),
        metrics=telemetry.exposition,
        counters=world.telemetry,
    )


async def _gate_problems(world: World) -> list[str]:
    """Why this gate should get no new traffic. A stock counter that does not answer is not among them: orders,
    payments and status go on without it, and no other gate could do better."""
    problems: list[str] = []
    if not world.clock.trusted:
        problems.append("the offset to the database's clock is not known")
    if world.board.age_s > _BOARD_AGE_READY_S:
        problems.append("the ledger does not answer")
    return problems


async def _note_load(describer: Describer, load: CpuShare) -> None:
    """Above half a core the far end of a line is asked to ask more rarely."""
    describer.busy = max(0.0, 2 * load.take() - 1)


async def _publish_gate(world: World, hub: Hub) -> None:
    tell, statistics = world.telemetry, world.committer.statistics()
    tell.publish()
    tell.carry(telemetry.COMMITTED, "holds", statistics.holds)
    tell.carry(telemetry.COMMITS, "batches", statistics.batches)
    tell.carry(telemetry.COMMITS_UNKNOWN, "unknown", statistics.unknown)
    tell.carry(telemetry.SHED, "shed", statistics.shed)
    tell.carry(telemetry.GIVEN_UP, "given up", statistics.given_up)
    tell.carry(telemetry.DISTRUSTED, "distrusted", world.distrust.noted)
    telemetry.QUEUED.set(statistics.queued + statistics.in_flight)
    telemetry.BOARD_AGE.set(world.board.age_s)
    telemetry.CLOCK_TRUSTED.set(world.clock.trusted)
    telemetry.LISTENERS.set(hub.listening)
    tell.carry(telemetry.LIVE_MESSAGES, "live messages", hub.told)


def run_worker(settings: Settings) -> None:
    """Run all agents until SIGTERM or SIGINT; each finishes the pass it is in."""
    telemetry.configure_logging(settings, process=f"worker {os.getpid()}")
    uvloop.run(_worker(settings))


async def _worker(settings: Settings) -> None:
    async with _open(settings) as world:
        loops: AgentLoops
        lines = Lines(world.sales, world.clock)
        admitter = Admitter(
            line=world.line,
            orders=world.orders,
            distrust=world.distrust,
            clock=world.clock,
            ids=world.ids,
        )

        def wake(name: str) -> None:
            loops.wake(name)

        charging = Charging(
            charges=world.charges,
            payments=world.payments,
            gateway=world.gateway,
            clock=world.clock,
            ids=world.ids,
            ended=lambda: wake(ReleaserAgent.name),
        )
        relay = Relay(outbox=world.shop_events, sender=world.sender, clock=world.clock, ids=world.ids, wake=wake)
        loops = AgentLoops(
            [
                ClockAgent(world.sales, world.orders, world.refunding),
                KeeperAgent(world.sales, Keeper(world.sales, world.stock, world.rebuilder, world.clock)),
                ExpirerAgent(Expirer(world.orders, world.ledger), wake),
                ReleaserAgent(world.releaser),
                SweeperAgent(world.sales, OrphanSweep(world.orders, world.stock), wake),
                AuditorAgent(world.sales, world.auditing),
                AdmitterAgent(lines, admitter),
                LineKeeperAgent(lines, world.stock, LineKeeper(world.ledger, world.line)),
                DrawerAgent(
                    lines=lines, sales=world.sales, drawing=world.drawing, rebuilder=world.rebuilder, wake=wake
                ),
                Resolver(payments=world.payments, gateway=world.gateway, clock=world.clock, wake=wake),
                ChargerAgent(charging),
                ReconcilerAgent(world.reconciler, world.balance, world.gateway.name),
                relay,
            ],
            world.clock,
            world.ids,
        )
        beats = Beats()
        beats.every(limits.CLOCK_SYNC_INTERVAL_MS / 1000, "clock", lambda: world.clock.sync(world.sales.time_ms))
        beats.every(1.0, "metrics", lambda: _publish_worker(world, loops))
        beats.every(5.0, "money", lambda: _publish_money(world, charging))
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        loops.start()
        log.info("worker is at work", agents=len(loops.reports))
        await stop.wait()
        await loops.stop()
        await charging.stop()
        await relay.stop()
        await beats.stop()


async def _publish_money(world: World, charging: Charging) -> None:
    telemetry.CHARGES_UNDER_WAY.set(charging.under_way)
    telemetry.CHARGES_WITHOUT_METHOD.set(charging.without_method)
    telemetry.BREAKER_OPEN.set(charging.breaker.state is not BreakerState.CLOSED)
    telemetry.QUARANTINED.set(await world.balance.quarantined())


async def _publish_worker(world: World, loops: AgentLoops) -> None:
    world.telemetry.carry_agents(
        {name: (report.passes, report.failures, report.done) for name, report in loops.reports.items()}
    )
    for sale in await world.sales.live():
        if sale.mode is not SaleMode.RACE:
            image = await world.stock.summary(sale.sale_id)
            telemetry.LINE_LENGTH.labels(sale.sale_id).set(0 if image is None else image.waiting)
        telemetry.SALE_UNITS.labels(sale.sale_id, "free").set(sale.quantity_available - sale.quantity_sold)
        telemetry.SALE_UNITS.labels(sale.sale_id, "held").set(sale.quantity_sold - sale.quantity_paid)
        telemetry.SALE_UNITS.labels(sale.sale_id, "sold").set(sale.quantity_paid)
