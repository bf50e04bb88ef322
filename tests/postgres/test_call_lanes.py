"""Calls that travel together: in which order, how many, and when there are too many. Needs no server."""

import asyncio
from collections.abc import Sequence

import pytest

from doorbuster.adapters.postgres.lanes import Lane
from doorbuster.engine.ports import StoreUnavailable

Item = tuple[str, int]


class Far:
    """Answers with what it got, when it may."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.batches: list[list[Item]] = []

    async def __call__(self, batch: Sequence[Item]) -> Sequence[Item]:
        await self.open.wait()
        self.batches.append(list(batch))
        return batch


async def test_later_call_of_a_subject_travels_after_the_earlier_one() -> None:
    far = Far()
    lane: Lane[Item, Item] = Lane(far, lambda item: item[0])
    items = [("hot", n) for n in range(500)] + [(f"s{n}", n) for n in range(500)]
    far.open.set()

    assert await asyncio.gather(*map(lane.ask, items)) == items

    assert [n for batch in far.batches for subject, n in batch if subject == "hot"] == list(range(500))
    assert all(len({subject for subject, _ in batch}) == len(batch) <= 200 for batch in far.batches)


async def test_who_comes_when_too_many_wait_is_told_so_at_once() -> None:
    far = Far()
    lane: Lane[Item, Item] = Lane(far, lambda item: item[0], waiting_max=3)
    waiting = [asyncio.ensure_future(lane.ask((f"s{n}", n))) for n in range(3)]
    await asyncio.sleep(0)
    waiting += [asyncio.ensure_future(lane.ask((f"t{n}", n))) for n in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable):
        await lane.ask(("one too many", 0))

    far.open.set()
    assert len(await asyncio.gather(*waiting)) == 6
