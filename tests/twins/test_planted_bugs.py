"""The checkers themselves: every known-bad design fails its story, and the story passes without it."""

import pytest

from conformance.ledgers import MemoryLedger
from doorbuster.engine.ports import InvariantViolation
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.stock import ReferenceStockStore
from scenarios.playing import play
from scenarios.stage import stage_in_memory
from scenarios.test_stories import STORIES
from twins.planted import PLANTED, Planted


async def tell(story: str, planted: Planted) -> None:
    await play(STORIES[story], stage_in_memory(planted.ledger(ManualClock()), planted.stock()))


@pytest.mark.parametrize("name", PLANTED)
async def test_planted_bug_is_caught(name: str) -> None:
    planted = PLANTED[name]

    with pytest.raises((AssertionError, InvariantViolation)) as caught:
        await tell(planted.story, planted)

    print(f"{name}: {caught.value}")


@pytest.mark.parametrize("story", sorted({planted.story for planted in PLANTED.values()}))
async def test_story_ends_well_without_the_bug(story: str) -> None:
    await tell(story, Planted(story, ReferenceStockStore, MemoryLedger))
