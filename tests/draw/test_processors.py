"""Work on other processors: the same answers, and processes that die are replaced."""

import asyncio
from collections.abc import AsyncIterator

import psutil
import pytest

from doorbuster.adapters.processors import Processors
from doorbuster.domain.draw import draw, keyed_part, ranks_of
from doorbuster.engine.ports import StoreUnavailable
from helpers.waiting import until

LIST = b"".join(number.to_bytes(16, "big") for number in range(70_000))
SEED, ROOT = bytes(32), bytes(32)


_before: set[psutil.Process] = set()
"""Of a pool that was killed by a test before, one that was just being started may live on."""


@pytest.fixture
async def processors() -> AsyncIterator[Processors]:
    _before.clear()
    _before.update(workers())
    made = Processors()
    yield made
    await made.close()


def workers() -> list[psutil.Process]:
    """Those that were started since the test began."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline()) and child not in _before]


async def test_draw_elsewhere_is_the_same(processors: Processors) -> None:
    half = len(LIST) // 2 // 16 * 16

    parts = await asyncio.gather(
        processors(keyed_part, LIST + LIST[:0], 0, SEED, ROOT), processors(keyed_part, LIST[:half], 0, SEED, ROOT)
    )

    assert await processors(ranks_of, parts[:1]) == draw(LIST, SEED, ROOT, b"")
    assert workers()


async def test_small_work_starts_no_process(processors: Processors) -> None:
    assert await processors(keyed_part, LIST[:160], 0, SEED, ROOT) == keyed_part(LIST[:160], 0, SEED, ROOT)

    assert workers() == []


async def test_killed_process_is_replaced(processors: Processors) -> None:
    expected = await processors(keyed_part, LIST, 0, SEED, ROOT)
    for worker in workers():
        worker.kill()

    async def again() -> bool:
        try:
            return await processors(keyed_part, LIST, 0, SEED, ROOT) == expected
        except StoreUnavailable:
            return False

    assert await until(again)


async def test_closing_ends_the_processes(processors: Processors) -> None:
    await processors(keyed_part, LIST, 0, SEED, ROOT)
    assert workers()

    await processors.close()

    assert workers() == []
