"""A gate: the use cases it answers with, and what it does beside answering.

Owns: how a gate starts, drains and stops. Read next: `api/app.py` for what it answers.
"""

import contextlib
import os
import socket

import uvloop

from doorbuster import telemetry
from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.postgres.external import PostgresPassKeyStore, PostgresReportStore
from doorbuster.adapters.system import CpuShare, wall_ms
from doorbuster.api.app import create_app
from doorbuster.api.auth import Buyers
from doorbuster.api.live_views import LiveViews
from doorbuster.api.server import Live, serve
from doorbuster.api.services import Services
from doorbuster.bootstrap.metrics import Metrics, MetricsPort
from doorbuster.bootstrap.world import Beats, World, open_world, patiently, traced
from doorbuster.config import Settings
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code
from doorbuster.engine.describing import Describer
from doorbuster.engine.entering import Entering
from doorbuster.engine.external import External
from doorbuster.engine.monitoring import Traffic
from doorbuster.engine.news import Newsroom
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.passes import Passes
from doorbuster.engine.paying import Paying
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.rehearsing import Rehearsing
from doorbuster.engine.scaling import GateBeat
from doorbuster.engine.selling import Selling
from doorbuster.engine.shop_endpoints import Webhooks
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.watching import LineWatch
from doorbuster.live.events import EVENTS_PATH, EventStreams
from doorbuster.live.hub import Hub
from doorbuster.live.socket import socket_class

_WATCH_S = 1.0
"""Age of the pulse and the length of a line."""
_KEYS_S = 30.0
_BEAT_S = 2.0
_TRAFFIC_S = 5.0
"""How often a gate says that it is there."""
_BOARD_AGE_READY_S = 5.0
"""A gate whose rows are older answers from memory only: it asks to be left alone until the ledger is back."""


def run_gate(settings: Settings, *, fd: int | None = None, metrics_fd: int | None = None) -> None:
    """Serve HTTP until SIGTERM or SIGINT, then finish what is under way. `fd` and `metrics_fd` are listening sockets to
    inherit."""
    process = f"gate {os.getpid()}"
    telemetry.configure_logging(settings, process=process)
    with traced(settings, process):
        uvloop.run(_gate(settings, fd, metrics_fd))


async def _gate(settings: Settings, fd: int | None, metrics_fd: int | None) -> None:
    async with open_world(settings) as world:
        watch = LineWatch(world.board, world.ledger, world.stock, world.clock)
        tickets = Tickets(world.ledger)
        passes = _passes(world)
        await patiently("the keys of passes", passes.refresh)
        describer = Describer(watch, tickets, world.clock, world.ids, passes)
        metrics = Metrics(world)
        world.telemetry.expect(("ok", *Code))
        services = _services(world, watch, tickets, describer, passes, metrics=metrics)
        load = CpuShare()
        beats = Beats()
        beats.every(limits.SNAPSHOT_INTERVAL_MS / 1000, "board", world.board.refresh)
        beats.every(limits.CLOCK_SYNC_INTERVAL_MS / 1000, "clock", lambda: world.clock.sync(world.sales.time_ms))
        beats.every(_WATCH_S, "lines", watch.refresh)
        gate_id = world.ids.new_id()
        pulse = CpuShare()
        beats.every(_BEAT_S, "fleet", lambda: _beat(world, gate_id, pulse))
        beats.every(_TRAFFIC_S, "traffic", lambda: _tell_traffic(world))
        beats.every(_WATCH_S, "waitlists", world.waitlist.refresh)
        beats.every(_KEYS_S, "ticket keys", tickets.refresh)
        beats.every(_KEYS_S, "pass keys", passes.refresh)
        api = create_app(services, settings, world.clock, world.ids)
        beats.every(1.0, "rehearsals", lambda: _admit_rehearsals(world, api.buyers))
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
        beats.every(1.0, "metrics", lambda: _publish_gate(world, hub, services.newsroom))
        beats.every(1.0, "reports", lambda: _publish_reports(world, services.external))
        beats.every(1.0, "load", lambda: _note_load(describer, load))
        origins = frozenset(settings.allowed_origins.lower().split())
        live = Live(socket_class(hub, origins), {EVENTS_PATH: EventStreams(hub)})
        port = MetricsPort(metrics, settings.host, settings.metrics_port, fd=metrics_fd)
        port.start(beats)
        world.committer.start()
        hub.start()
        try:
            await serve(api, settings, fd=fd, live=live)
        finally:
            await hub.stop()
            await services.paying.stop()
            await services.newsroom.stop()
            await world.refunding.stop()
            await world.committer.stop()
            await beats.stop()
            await port.stop()
            await _leave(world, gate_id)


def _passes(world: World) -> Passes:
    settings = world.settings
    return Passes(
        PostgresPassKeyStore(world.database),
        world.board,
        world.clock,
        issuer=settings.pass_issuer,
        audience=settings.pass_audience,
    )


def _services(
    world: World, watch: LineWatch, tickets: Tickets, describer: Describer, passes: Passes, *, metrics: Metrics
) -> Services:
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
        reporting=world.reporting,
        planning=world.planning,
        waitlist=world.waitlist,
        rehearsing=Rehearsing(world.rehearsals, world.sales, world.timeline, world.ids),
        fleet=world.fleet,
        monitor=world.monitor,
        actions=world.actions,
        webhooks=_webhooks(world),
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
        newsroom=_newsroom(world),
        passes=passes,
        external=External(PostgresReportStore(world.database), ordering, world.ids),
        paying=Paying(payments=world.payments, gateway=world.gateway, clock=world.clock, ids=world.ids),
        book=world.gateway.whole_book if isinstance(world.gateway, SimulatedGateway) else None,
        ready=lambda: _gate_problems(world),
        metrics=metrics.exposition,
        counters=world.telemetry,
    )


def _newsroom(world: World) -> Newsroom:
    return Newsroom(
        store=world.news,
        payments=world.payments,
        gateway=world.gateway,
        clock=world.clock,
        examine=world.reconciler.examine,
    )


def _webhooks(world: World) -> Webhooks:
    return Webhooks(
        store=world.shop_events,
        sender=world.sender,
        clock=world.clock,
        ids=world.ids,
        allow_private=world.settings.webhooks_allow_private,
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


async def _admit_rehearsals(world: World, buyers: Buyers) -> None:
    buyers.admit_rehearsals(await world.rehearsals.secrets())


async def _beat(world: World, gate_id: str, pulse: CpuShare) -> None:
    beat = GateBeat(
        gate_id=gate_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        ready=not await _gate_problems(world),
        clock_offset_ms=world.clock.now_ms() - wall_ms(),
        busy=pulse.take(),
        pool_share=world.database.worst_share(),
    )
    await world.fleet.beat(beat)


async def _tell_traffic(world: World) -> None:
    codes, took = world.telemetry.take_traffic()
    try:
        await world.monitor.add_traffic(Traffic(codes=codes, took=took))
    except StoreUnavailable:
        world.telemetry.give_back_traffic(codes, took)
        raise


async def _leave(world: World, gate_id: str) -> None:
    """Whoever counts gates need not wait until this one is stale."""
    with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
        await world.fleet.leave(gate_id)


async def _note_load(describer: Describer, load: CpuShare) -> None:
    """Above half a core the far end of a line is asked to ask more rarely."""
    describer.busy = max(0.0, 2 * load.take() - 1)


async def _publish_reports(world: World, external: External) -> None:
    world.telemetry.carry(telemetry.REPORTS_REFUSED, "reports refused", external.refused)


async def _publish_gate(world: World, hub: Hub, newsroom: Newsroom) -> None:
    tell, statistics = world.telemetry, world.committer.statistics()
    tell.publish()
    tell.carry(telemetry.COMMITTED, "holds", statistics.holds)
    tell.carry(telemetry.COMMITS, "batches", statistics.batches)
    tell.carry(telemetry.COMMITS_UNKNOWN, "unknown", statistics.unknown)
    tell.carry(telemetry.SHED, "shed", statistics.shed)
    tell.carry(telemetry.GIVEN_UP, "given up", statistics.given_up)
    tell.carry(telemetry.DISTRUSTED, "distrusted", world.distrust.noted)
    telemetry.QUEUED.set(statistics.queued + statistics.in_flight)
    telemetry.DATABASE_CALLS.set(world.database.calls)
    telemetry.BOARD_AGE.set(world.board.age_s)
    telemetry.CLOCK_TRUSTED.set(world.clock.trusted)
    telemetry.LISTENERS.set(hub.listening)
    tell.carry(telemetry.LIVE_MESSAGES, "live messages", hub.told)
    for word, total in (("heard", newsroom.heard), ("known", newsroom.known), ("refused", newsroom.refused)):
        tell.carry(telemetry.NEWS.labels(word), f"news {word}", total)
