"""The notation itself: a line that means nothing, or a story that went otherwise, is never passed over."""

from collections import Counter

import pytest

from conformance.ledgers import MemoryLedger
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.stock import ReferenceStockStore
from scenarios.notation import NotationError, read, span_ms
from scenarios.playing import play
from scenarios.stage import Stage, stage_in_memory


@pytest.fixture
def memory() -> Stage:
    return stage_in_memory(MemoryLedger(ManualClock()), ReferenceStockStore())


def test_line_is_read_in_its_parts() -> None:
    [step] = read("\n# a remark\nreserve B1..B3 A key=k quantity=2 -> reserved all-held*3 free=1 sold=0 # another\n")

    assert (step.line, step.verb, step.names) == (3, "reserve", ("B1", "B2", "B3", "A"))
    assert step.options == {"key": "k", "quantity": "2"}
    assert step.said == Counter({"reserved": 1, "all-held": 3})
    assert step.after == {"free": "1", "sold": "0"}


def test_one_buyer_many_times_is_named_so_often() -> None:
    assert read("reserve B1*3 B2")[0].names == ("B1", "B1", "B1", "B2")


def test_nothing_need_be_said() -> None:
    bare, numbers = read("work\nwork -> free=1")

    assert (bare.said, bare.after) == (None, {})
    assert (numbers.said, numbers.after) == (None, {"free": "1"})


@pytest.mark.parametrize(("text", "ms"), [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)])
def test_span_has_a_unit(text: str, ms: int) -> None:
    assert span_ms(text) == ms


@pytest.mark.parametrize("text", ["10", "s", "-1s", "1.5s", "10 s", "1d"])
def test_span_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        span_ms(text)


@pytest.mark.parametrize("line", ["reserve B1 ->", "reserve B1 key=a key=b", "reserve B1 -> reserved free=1 free=2"])
def test_line_without_sense_is_named(line: str) -> None:
    with pytest.raises(NotationError, match="line 2"):
        read(f"sale units=1\n{line}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("resrve B1", "there is no verb 'resrve'"),
        ("reserve B1 quantiy=2", "reserve knows no"),
        ("reserve B1 -> reserved fre=1", "there is no number"),
    ],
)
async def test_misspelling_is_found(memory: Stage, line: str, problem: str) -> None:
    with pytest.raises(NotationError, match=problem):
        await play(f"sale units=2\n{line}", memory)


@pytest.mark.parametrize(
    "line",
    [
        "reserve B1 -> all-held",
        "reserve B1 -> reserved*2",
        "reserve B1..B3 -> reserved*3",
        "reserve B1 -> reserved free=2",
        "reserve B1 -> reserved order=paid",
        "work -> counter=1",
    ],
)
async def test_story_that_went_otherwise_fails(memory: Stage, line: str) -> None:
    with pytest.raises(AssertionError, match="line 2"):
        await play(f"sale units=2\n{line}", memory)


async def test_broken_law_ends_a_story(memory: Stage) -> None:
    """Whatever a story expects, the books have to agree after each of its steps."""
    await play("sale units=2\nreserve B1", memory)
    ledger = memory.ledger
    assert isinstance(ledger, MemoryLedger)
    ledger.rows.allowances[memory.sale_id]["B1"] = 0

    with pytest.raises(AssertionError, match="line 1"):
        await play("advance 1s", memory)
