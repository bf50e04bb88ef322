"""Who hears of a step that does not get done, and until when."""

import msgspec
import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from day.test_monitoring import Room
from day.test_running import Day, raising, tomorrow
from doorbuster.domain.sale import terms_of
from doorbuster.domain.timeline import StepName, StepState
from doorbuster.engine.day_ports import NotYet, StepFailed
from doorbuster.engine.step_alarms import page_of
from doorbuster.engine.timeline_ports import Outcome
from doorbuster.reference.monitor import ReferenceMonitor


async def keys(room: Room) -> list[str]:
    """Of the matters of steps that are open."""
    return [call.key for call in await room.on_call.matters() if call.key.startswith("step ")]


@pytest.mark.parametrize(
    ("step", "problems", "rung"),
    [
        (StepName.CDN_PREWARM, [StepFailed("404")] * 4, ""),
        (StepName.CDN_PREWARM, [StepFailed("404")] * 5, "404. It is given up"),
        (StepName.CDN_PREWARM, [StepFailed("404", told=True)] * 5, ""),
        (StepName.WARM_UP, [StepFailed("no image")] * 5, "no image. It is tried again"),
        (StepName.WARM_UP, [NotYet("no image")] * 20, "no image. It is tried again"),
        (StepName.WARM_UP, [NotYet("no image")] * 2, ""),
    ],
)
async def test_somebody_is_called_about_a_step_that_does_not_get_done(
    bench: LedgerBench, step: StepName, problems: list[Exception], rung: str
) -> None:
    day = Day(bench, {step: raising(*problems, *([StepFailed("404", told=True)] if not rung else []))})
    await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    for _ in range(10):
        await day.run()
        await bench.ledger.advance_ms(MINUTE)

    assert [call.text.partition(";")[0] for call in day.bell.rung] == ([rung] if rung else [])


@pytest.mark.parametrize("end", ["done", "left out", "put off"])
async def test_page_of_a_step_ends_with_its_step(bench: LedgerBench, end: str) -> None:
    """Not with its sale: what was not done then is not done yet."""
    room = Room(bench, ReferenceMonitor(bench.ledger.clock))
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    row, *_ = await bench.timeline.claim(bench.ids.new_id(), limit=1)
    failed = Outcome(state=StepState.FAILED, words="no image", wait_ms=MINUTE if end == "done" else None)
    await bench.timeline.finish(row, failed)
    call = page_of(sale, msgspec.structs.replace(row, attempts=9), failed)
    assert call is not None
    await room.on_call.call(call)
    monitoring = room.monitoring()
    await monitoring.run_once()
    assert await keys(room) == [call.key]

    if end == "done":
        await bench.ledger.advance_ms(MINUTE)
        [row] = await bench.timeline.claim(bench.ids.new_id(), limit=1)
        await monitoring.run_once()
        assert await keys(room) == [call.key], "it is being tried"
        await bench.timeline.finish(row, Outcome(state=StepState.DONE))
    elif end == "left out":
        await bench.timeline.skip(sale.sale_id, row.step, ACTOR)
    else:
        terms = msgspec.structs.replace(terms_of(sale), start_ms=sale.start_ms + HOUR, end_ms=sale.end_ms + HOUR)
        await bench.sales.change(sale.sale_id, terms, sale, ACTOR)
    await monitoring.run_once()

    assert await keys(room) == []
