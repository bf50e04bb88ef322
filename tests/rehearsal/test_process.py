"""A crowd in several processes: one crowd to whoever meets it, and to whoever asked for it."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from doorbuster.domain.rehearsal import Cast
from doorbuster.engine.rehearsal_ports import CrowdFailed, CrowdOrder
from doorbuster.rehearsal.process import CrowdProcess
from helpers.waiting import until

NO = b'{"code":"sold-out"}'
SOLD_OUT = b"HTTP/1.1 409 X\r\ncontent-length: %d\r\n\r\n%s" % (len(NO), NO)


@asynccontextmanager
async def a_shop(keys: Counter[str], *, silent: bool = False) -> AsyncGenerator[str, None]:
    """Where everything is sold out, and who asked is noted by the key; one that is silent leaves them waiting."""
    open_ended = asyncio.Event()
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            await reader.readexactly(int(fields.get("content-length", "0")))
            keys[fields["idempotency-key"]] += 1
            if silent:
                await open_ended.wait()
            writer.write(SOLD_OUT)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def an_order(url: str, buyers: int) -> CrowdOrder:
    return CrowdOrder(
        rehearsal_id="r", url=url, sale_id="s", mode="race", who=Cast(expected=0, wanted=buyers, buyers=buyers),
        secret=b"s" * 32, seconds=5, opens_ms=100, seed=7,
    )  # fmt: skip


def children() -> set[int]:
    found = set[int]()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


async def test_parts_are_one_crowd() -> None:
    keys: Counter[str] = Counter()
    told: list[Any] = []
    async with a_shop(keys) as url:
        found = await CrowdProcess(most=10).run(an_order(url, 25), told.append)

    seen = found.seen
    assert (seen.arrived, seen.turned_away, seen.tired, seen.lost, seen.orders) == (25, 25, 0, 0, 0)
    assert len(keys) == 25, "nobody is in two parts"
    assert {key.rsplit("-", 1)[0] for key in keys} == {"rehearsal:7", "rehearsal:8", "rehearsal:9"}
    assert seen.requests == sum(keys.values()) == seen.answers["sold-out"]
    assert 0 < seen.p50_ms <= seen.p99_ms <= seen.max_ms
    assert 0 < seen.peak_per_s <= seen.requests
    assert seen.cpu_share > 0
    assert told[-1]["arrived"] == 25
    assert told[-1]["requests"] == seen.requests


@pytest.mark.parametrize("how", ["killed", "cancelled"])
async def test_nobody_is_left_of_it(how: str) -> None:
    """One part that dies is no crowd."""
    before = children()
    keys: Counter[str] = Counter()
    async with a_shop(keys, silent=True) as url:
        work = asyncio.create_task(CrowdProcess(most=10).run(an_order(url, 25), lambda _: None))
        await until(lambda: len({key.rsplit("-", 1)[0] for key in keys}) == 3, within=60)
        parts = children() - before
        assert len(parts) == 3
        if how == "killed":
            os.kill(min(parts), signal.SIGKILL)
            with pytest.raises(CrowdFailed, match="code -9"):
                await work
        else:
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        assert children() == before
