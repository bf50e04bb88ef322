"""A worker: which agents it runs.

Owns: how a worker starts and stops. Read next: `agents/selling.py` for what it does.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

import structlog
import uvloop

from doorbuster import telemetry
from doorbuster.agents.line import AdmitterAgent, DrawerAgent, LineKeeperAgent, Lines
from doorbuster.agents.loop import Agent, AgentLoops
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
from doorbuster.bootstrap.day import Day
from doorbuster.bootstrap.metrics import Metrics, MetricsPort
from doorbuster.bootstrap.world import Beats, World, open_world, traced
from doorbuster.config import Settings
from doorbuster.domain import limits
from doorbuster.domain.breaker import BreakerState
from doorbuster.engine.charging import Charging
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.granting import Admitter, LineKeeper
from doorbuster.engine.rebuilding import Keeper
from doorbuster.engine.releasing import OrphanSweep

log = structlog.get_logger(__name__)

Wake = Callable[[str], None]


def run_worker(settings: Settings) -> None:
    """Run all agents until SIGTERM or SIGINT; each finishes the pass it is in."""
    process = f"worker {os.getpid()}"
    telemetry.configure_logging(settings, process=process)
    with traced(settings, process):
        uvloop.run(_worker(settings))


async def _worker(settings: Settings) -> None:
    async with open_world(settings) as world:
        loops: AgentLoops

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
        day = Day(world, wake)
        agents = [*_selling(world, wake), *_line(world, wake), *_money(world, wake, charging), relay, *day.agents]
        loops = AgentLoops(agents, world.clock, world.ids)
        beats = Beats()
        beats.every(limits.CLOCK_SYNC_INTERVAL_MS / 1000, "clock", lambda: world.clock.sync(world.sales.time_ms))
        beats.every(1.0, "metrics", lambda: _publish_worker(world, loops))
        beats.every(5.0, "money", lambda: _publish_money(world, charging))
        port = MetricsPort(Metrics(world), settings.host, settings.metrics_port)
        port.start(beats)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        loops.start()
        log.info("worker is at work", agents=len(loops.reports))
        await stop.wait()
        await loops.stop()
        await charging.stop()
        await relay.stop()
        await day.stop()
        await beats.stop()
        await port.stop()


def _selling(world: World, wake: Wake) -> Sequence[Agent]:
    return (
        ClockAgent(world.sales, world.orders, world.refunding),
        KeeperAgent(world.sales, Keeper(world.sales, world.stock, world.rebuilder, world.clock)),
        ExpirerAgent(Expirer(world.orders, world.ledger), wake),
        ReleaserAgent(world.releaser),
        SweeperAgent(world.sales, OrphanSweep(world.orders, world.stock), wake),
        AuditorAgent(world.sales, world.auditing),
    )


def _line(world: World, wake: Wake) -> Sequence[Agent]:
    lines = Lines(world.sales, world.clock)
    admitter = Admitter(line=world.line, orders=world.orders, distrust=world.distrust, clock=world.clock, ids=world.ids)
    return (
        AdmitterAgent(lines, admitter),
        LineKeeperAgent(lines, world.stock, LineKeeper(world.ledger, world.line)),
        DrawerAgent(lines=lines, sales=world.sales, drawing=world.drawing, rebuilder=world.rebuilder, wake=wake),
    )


def _money(world: World, wake: Wake, charging: Charging) -> Sequence[Agent]:
    return (
        Resolver(payments=world.payments, gateway=world.gateway, clock=world.clock, wake=wake),
        ChargerAgent(charging),
        ReconcilerAgent(world.reconciler, world.balance, world.gateway.name),
    )


async def _publish_money(world: World, charging: Charging) -> None:
    telemetry.CHARGES_UNDER_WAY.set(charging.under_way)
    telemetry.CHARGES_WITHOUT_METHOD.set(charging.without_method)
    telemetry.BREAKER_OPEN.set(charging.breaker.state is not BreakerState.CLOSED)
    telemetry.QUARANTINED.set(await world.balance.quarantined())


async def _publish_worker(world: World, loops: AgentLoops) -> None:
    telemetry.CLOCK_TRUSTED.set(world.clock.trusted)
    telemetry.DATABASE_CALLS.set(world.database.calls)
    world.telemetry.carry_agents(
        {name: (report.passes, report.failures, report.done) for name, report in loops.reports.items()}
    )
