"""P8: Valkey's memory for a buyer who waits in a line; and Valkey's time for joining and for asking for a place."""

import asyncio
import random
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from bench.report import Report, Target
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.adapters.valkey.address import read_address
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node, read_info
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.engine.image import ImageHead, ImageState, LineHead
from doorbuster.engine.line_ports import LineAsk

SALE: Final = "0190a5b1-7c3e-7000-8000-000000000001"
WAITING: Final = (70_000, 100_000, 131_000)
"""The tables of a sorted set grow by doubling: just after a step, in between, and just before the next one."""
BATCHES: Final = (1, 32, 512)
"""Asks in one call: one alone, those of a turn of a busy gate, the most."""
LOOKS: Final = 5_120
NOW: Final = 1_500


class _Line(msgspec.Struct, frozen=True):
    """One server with one line."""

    store: ValkeyStockStore
    line: ValkeyLineStore
    node: Node

    async def memory(self) -> int:
        return int(read_info(await self.node.mux.call(("INFO", "memory")))["used_memory"])

    async def function_us(self) -> float:
        """Time in functions since the last time this was asked."""
        info = read_info(await self.node.mux.call(("INFO", "commandstats")))
        await self.node.mux.call(("CONFIG", "RESETSTAT"))
        counts = dict(part.split("=") for part in info.get("cmdstat_fcall", "usec=0").split(","))
        return float(counts["usec"])

    async def ask(self, asks: Sequence[LineAsk], batch: int) -> float:
        """Microseconds of Valkey's thread for each."""
        await self.function_us()
        for at in range(0, len(asks), batch):
            await self.line.ask(SALE, asks[at : at + batch], now_ms=NOW, epoch_min=1, paid=0)
        return await self.function_us() / len(asks)


def line_memory(seconds: float) -> Report:
    """Both lengths of ids, the longer one counts; `seconds` is not used."""
    del seconds
    return asyncio.run(_measure())


async def _measure() -> Report:
    lines: list[str] = []
    worst: list[float] = []
    for name, user_id in (("36 characters", _long_id), ("10 characters", _short_id)):
        async with _line() as line:
            each = await _bytes_each(line, user_id)
            worst.append(max(each))
            told = ", ".join(f"{value:.0f} with {count:,}" for count, value in zip(WAITING, each, strict=True))
            lines.append(f"ids of {name}: {told} waiting (bytes of Valkey's memory for each)")
            lines += await _times(line, user_id)
    target = Target(
        id="P8",
        text="Valkey's memory for each buyer who waits, ids of 36 characters",
        measured=worst[0],
        bound=200,
        sense="at most",
        unit=" bytes",
        note=f"the worst of three lengths of the line; ids of 10 characters: {worst[1]:.0f}",
    )
    return Report(title="Waiting in line", lines=lines, targets=[target])


async def _bytes_each(line: _Line, user_id: Callable[[int], str]) -> list[float]:
    """For each waiting buyer, at some lengths of the line."""
    empty, found, first = await line.memory(), list[float](), 0
    for count in WAITING:
        await line.ask([LineAsk(user_id(number), join=True) for number in range(first, count)], 512)
        found.append((await line.memory() - empty) / count)
        first = count
    return found


async def _times(line: _Line, user_id: Callable[[int], str]) -> list[str]:
    """Joins at the end of that line, and looks all over it."""
    chance, first, told = random.Random(1), WAITING[-1], list[str]()
    for batch in BATCHES:
        joins = [LineAsk(user_id(number), join=True) for number in range(first, first + LOOKS)]
        looks = [LineAsk(user_id(chance.randrange(WAITING[-1])), ticket=0) for _ in range(LOOKS)]
        first += LOOKS
        join_us, look_us = await line.ask(joins, batch), await line.ask(looks, batch)
        told.append(f"  {batch:3} in a call: valkey {join_us:5.2f} µs for each join, {look_us:5.2f} µs for each look")
    return told


def _long_id(number: int) -> str:
    return str(UUID(int=random.Random(number).getrandbits(128)))


def _short_id(number: int) -> str:
    return f"u{number:09}"


@asynccontextmanager
async def _line() -> AsyncGenerator[_Line]:
    """As `doorbuster up` has it, with an image of a sale without free units in it."""
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-") as home:
        data = Path(home) / "valkey"
        data.mkdir(mode=0o711)
        server = EmbeddedValkey(data, log=Path(home) / "log")
        await server.start()
        store = await ValkeyStockStore.connect(server.url)
        node = Node(read_address(server.url), Limits())
        node.start()
        await node.tried()
        line = _Line(store, ValkeyLineStore(store), node)
        try:
            await _publish(store)
            yield line
        finally:
            await line.line.close()
            await node.close()
            await store.close()
            await server.stop()


async def _publish(store: ValkeyStockStore) -> None:
    head = ImageHead(
        state=ImageState.SELLING,
        opens_ms=1_000,
        ends_ms=2_000,
        limit=1,
        available=1,
        stock=0,
        held=1,
        tick=1,
        line=LineHead(number_next=1, number_high=10_000_000, moves_ms=0),
    )
    await store.begin_image(SALE, 1)
    if await store.publish_image(SALE, 1, head) is None:
        raise SystemExit("bench: valkey takes no image")
