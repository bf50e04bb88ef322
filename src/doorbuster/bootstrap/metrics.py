"""What a process tells Prometheus, and the port on which it does.

Owns: the gauges of sales, which are read from the stores whenever somebody asks: so every machine tells the same, what
cannot be read is left out, and nothing is left of a sale that is over. Read next: `telemetry.py`.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from doorbuster import telemetry
from doorbuster.bootstrap.world import Beats, World
from doorbuster.domain.alerts import RULES
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.engine.monitoring import SAMPLE_MS
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.telemetry import Seen

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_WITHIN_S: Final = 2.0
"""For the stores. Prometheus waits for ten seconds in all, and has to hear of everything else while they are away."""
_SAMPLE_OLD_MS: Final = 3 * SAMPLE_MS
"""A sample that is older says nothing about now: no worker takes any."""
_AGAIN_S: Final = 5.0
_NOT_FIGURES: Final = frozenset({"at_ms", "status", "log_size", "rehearsing"})


class Metrics:
    """Of one process; of all processes of the machine where they share a folder."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: list[Seen] = []
        self._looking: asyncio.Task[None] | None = None

    async def exposition(self) -> bytes:
        if self._looking is None or self._looking.done():
            self._seen = []
            self._looking = asyncio.get_running_loop().create_task(self._look(self._seen), name="look at sales")
        # Not given up: whoever asks next waits for the same look, so a store that hangs is asked once.
        await asyncio.wait([self._looking], timeout=_WITHIN_S)
        return telemetry.exposition(list(self._seen))

    async def _look(self, seen: list[Seen]) -> None:
        """Adds as it goes: what was read before a store failed is told."""
        try:
            live = await self._world.sales.live()
            sales = [sale for sale in live if not sale.rehearsal_of]
            seen.append(Seen(telemetry.REHEARSAL_RUNNING, (), len(live) > len(sales)))
            for sale in sales:
                seen += _units(sale)
            for sale in sales:
                await self._look_at(sale, seen)
            for sale in sales:
                if sale.mode is not SaleMode.RACE:
                    image = await self._world.stock.summary(sale.sale_id)
                    seen.append(Seen(telemetry.LINE_LENGTH, (sale.sale_id,), 0 if image is None else image.waiting))
        except (StoreUnavailable, OutcomeUnknown) as problem:
            log.warning("what sales look like is left out of the metrics", problem=str(problem))

    async def _look_at(self, sale: Sale, seen: list[Seen]) -> None:
        """The latest sample, and the rules: those that do not alarm are 0."""
        sale_id, now = sale.sale_id, self._world.clock.now_ms()
        alerts = await self._world.monitor.open_alerts(sale_id)
        for rule in RULES:
            firing = rule.name in alerts and alerts[rule.name].firing
            seen.append(Seen(telemetry.ALERT, (sale_id, rule.name, rule.severity), firing))
        for sample in await self._world.monitor.samples(sale_id, before_ms=now + 1, limit=1):
            if sample.at_ms > now - _SAMPLE_OLD_MS:
                figures = msgspec.structs.asdict(sample)
                seen += [
                    Seen(telemetry.SAMPLE, (sale_id, figure), value)
                    for figure, value in figures.items()
                    if value is not None and figure not in _NOT_FIGURES
                ]


def _units(sale: Sale) -> Sequence[Seen]:
    units = {
        "free": sale.quantity_available - sale.quantity_sold,
        "held": sale.quantity_sold - sale.quantity_paid,
        "sold": sale.quantity_paid,
    }
    return [Seen(telemetry.SALE_UNITS, (sale.sale_id, state), count) for state, count in units.items()]


class MetricsPort:
    """A port that serves /metrics and nothing else, to whoever reaches it. One that is taken is tried for again and
    again: what a process does is worth more than its numbers."""

    def __init__(self, metrics: Metrics, host: str, port: int, *, fd: int | None = None) -> None:
        self._metrics = metrics
        self._host = host
        self._port = port
        self._fd = fd
        self._runner: web.AppRunner | None = None
        self._told = False

    def start(self, beats: Beats) -> None:
        """Nothing happens if no port is wanted."""
        if self._fd is not None or self._port:
            beats.every(_AGAIN_S, "metrics port", self._open)

    async def _open(self) -> None:
        if self._runner is not None:
            return
        from aiohttp import web  # noqa: PLC0415 - a gate that serves no such port need not load it

        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            if self._fd is not None:
                await web.SockSite(runner, socket.socket(fileno=self._fd)).start()
            else:
                await web.TCPSite(runner, self._host, self._port).start()
        except OSError as problem:
            await runner.cleanup()
            if not self._told:
                log.warning("the port for metrics cannot be had", port=self._port, problem=problem.strerror)
            self._told = True
            return
        self._runner = runner

    async def _answer(self, request: "web.Request") -> "web.Response":
        from aiohttp import web  # noqa: PLC0415

        del request
        return web.Response(body=await self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
