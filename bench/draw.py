"""P5: a draw of a million entries, from T-0 to the order stored and the line written into Valkey."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.report import Report, Target, spread
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.migrate import apply
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.processors import Processors
from doorbuster.adapters.system import SystemIds
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.domain.sale import Sale, SaleMode, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.line_ports import EntryWord
from doorbuster.engine.ports import Actor
from doorbuster.engine.rebuilding import Rebuilder

ENTRIES: Final = 1_000_000
UNITS: Final = 1_000
ROUNDS: Final = 3
ACTOR: Final = Actor(name="bench")
_ENTERING_AT_ONCE: Final = 4
HOUR_MS: Final = 3_600_000


class Watched:
    """A ledger of draws that notes when each of its methods was called, and when it answered."""

    def __init__(self, ledger: PostgresDrawLedger) -> None:
        self._ledger = ledger
        self.marks: list[tuple[str, float]] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **more: Any) -> Any:
            self.marks.append((f"before {name}", time.perf_counter()))
            answer = await getattr(self._ledger, name)(*args, **more)
            self.marks.append((name, time.perf_counter()))
            return answer

        return call


class Steps(msgspec.Struct):
    """Seconds from the mark before."""

    names: list[str] = []
    seconds: list[float] = []

    @classmethod
    def of(cls, marks: list[tuple[str, float]]) -> "Steps":
        steps = cls()
        for (_, before), (name, at) in pairwise(marks):
            steps.names.append(name)
            steps.seconds.append(at - before)
        return steps


class World:
    """Real servers and the stores on them."""

    def __init__(self, database: Database, stock: ValkeyStockStore, offload: Processors) -> None:
        self.sales = PostgresSaleStore(database)
        self.draws = PostgresDrawLedger(database)
        self.stock = stock
        self.line = ValkeyLineStore(stock)
        self.rebuilder = Rebuilder(self.sales, stock, self.line, PostgresLineLedger(database))
        self.offload = offload
        self.ids = SystemIds()

    async def entered(self) -> Sale:
        """A draw that a million buyers have entered, an hour before its start."""
        now = await self.sales.time_ms()
        terms = SaleTerms(
            product_id="bench",
            title="Bench",
            quantity_available=UNITS,
            price_cents=4900,
            currency="USD",
            start_ms=now + HOUR_MS,
            end_ms=now + 2 * HOUR_MS,
            mode=SaleMode.DRAW,
        )
        sale = await self.sales.create(self.ids.new_id(), terms, ACTOR)
        await self.rebuilder.rebuild(sale, "first image")
        slots = asyncio.Semaphore(_ENTERING_AT_ONCE)
        await asyncio.gather(*(self._enter(sale, first, slots) for first in range(0, ENTRIES, limits.DRAW_ENTRY_BATCH)))
        return sale

    async def _enter(self, sale: Sale, first: int, slots: asyncio.Semaphore) -> None:
        buyers = [f"buyer-{number:07}" for number in range(first, first + limits.DRAW_ENTRY_BATCH)]
        async with slots:
            answers = await self.draws.enter(sale.sale_id, buyers)
        if {answer.word for answer in answers} != {EntryWord.ENTERED}:
            raise SystemExit(f"bench: not everybody could enter: {answers[0]}")

    async def round(self) -> Steps:
        """One draw, from its start; everything is checked afterwards."""
        sale = await self.entered()
        await self.offload(len, b"")  # started with the worker, not with the draw
        watched = Watched(self.draws)
        started = await self.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
        if not isinstance(started, Sale):
            raise SystemExit(f"bench: {started}")
        watched.marks.append(("start", time.perf_counter()))
        if not await Drawing(watched, None, self.offload).run_once(started):  # pyright: ignore[reportArgumentType]
            raise SystemExit("bench: the draw was not held")
        drawn = await self.sales.get(sale.sale_id)
        if drawn is None or await self.rebuilder.rebuild(drawn, "the draw was held") is None:
            raise SystemExit("bench: the image was not written")
        watched.marks.append(("image", time.perf_counter()))
        summary = await self.stock.summary(sale.sale_id)
        if summary is None or summary.waiting != ENTRIES:
            raise SystemExit(f"bench: {ENTRIES} should wait, the image says {summary}")
        await self.stock.drop_image(sale.sale_id)
        return Steps.of(watched.marks)


def draw(_seconds: float) -> Report:
    """Three draws on one pair of servers."""
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o711)
        for folder in ("p", "v"):
            (home / folder).mkdir(mode=0o711)
        postgres = EmbeddedPostgres(home / "p" / "data", log=home / "postgres.log")
        valkey = EmbeddedValkey(home / "v" / "data", log=home / "valkey.log")
        rounds = asyncio.run(_rounds(postgres, valkey))
    totals = [sum(steps.seconds) for steps in rounds]
    lines = [
        "  ".join([f"{total:.2f} s", *(f"{name} {s:.2f}" for name, s in zip(steps.names, steps.seconds, strict=True))])
        for total, steps in zip(totals, rounds, strict=True)
    ]
    target = Target(
        id="P5",
        text=f"draw of {ENTRIES:,} entries from its start until the order is stored and the line written",
        measured=median(totals),
        bound=5,
        sense="at most",
        unit=" s",
        note=f"{len(rounds)} rounds: {spread(totals)}",
    )
    return Report(title="Draw", lines=lines, targets=[target])


async def _rounds(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> list[Steps]:
    await postgres.start()
    await valkey.start()
    await apply(postgres.url)
    database = await connect(postgres.url)
    stock = await ValkeyStockStore.connect(valkey.url)
    offload = Processors()
    try:
        await stock.load_library()
        world = World(database, stock, offload)
        return [await world.round() for _ in range(ROUNDS)]
    finally:
        await offload.close()
        await stock.close()
        await database.close()
        await valkey.stop()
        await postgres.stop()
