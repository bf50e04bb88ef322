"""Each step of a day, whichever it is: failing, doubled, half done by somebody who died, and late. On both ledgers."""

import asyncio

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from day.test_running import Day, raising, tomorrow
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import BEFORE_START, LEASE_MS, STEPS, StepName, StepState
from doorbuster.engine.day_ports import Asked, Detail, StepFailed

each_step = pytest.mark.parametrize("step", list(StepName))


async def until_due(bench: LedgerBench, sale: Sale, day: Day, step: StepName) -> None:
    """Everything before it is done, and its time has come."""
    row = await day.row(sale, step)
    await bench.ledger.advance_ms(row.due_ms - bench.now_ms() - 1)
    await bench.sales.follow_clock()
    await day.run()
    await bench.ledger.advance_ms(1)
    await bench.sales.follow_clock()


@each_step
async def test_it_fails_and_is_tried_again(bench: LedgerBench, step: StepName) -> None:
    day = Day(bench, {step: raising(StepFailed("not yet", {"found": 1}))})
    sale = await tomorrow(bench)
    await until_due(bench, sale, day, step)
    await day.run()

    failed = await day.row(sale, step)
    assert (failed.state, failed.words, failed.attempts, failed.detail) == (
        StepState.FAILED, "not yet", 1, {"found": 1}
    )  # fmt: skip
    assert failed.next_ms == bench.now_ms() + STEPS[step].pause_ms
    await bench.ledger.advance_ms(STEPS[step].pause_ms)
    await day.run()
    done = await day.row(sale, step)
    assert (done.state, done.attempts, done.next_ms) == (StepState.DONE, 2, None)
    assert day.done.count(step) == 2


@each_step
async def test_two_workers_and_an_impatient_operator_have_it_done_once_each_time(
    bench: LedgerBench, step: StepName
) -> None:
    first, second = Day(bench, seed=1), Day(bench, seed=2)
    sale = await tomorrow(bench)
    await until_due(bench, sale, first, step)
    await asyncio.gather(first.run(), second.run(), first.run(), second.run())
    assert (first.done + second.done).count(step) == 1

    await asyncio.gather(*(bench.timeline.run(sale.sale_id, step, ACTOR) for _ in range(3)))
    await asyncio.gather(first.run(), second.run())
    assert (first.done + second.done).count(step) == 2
    assert (await first.row(sale, step)).state is StepState.DONE


@each_step
async def test_it_is_taken_over_from_who_died_half_way(bench: LedgerBench, step: StepName) -> None:
    begun = asyncio.Event()

    async def half(asked: Asked) -> Detail:
        del asked
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    dead, other = Day(bench, {step: half}), Day(bench, seed=2)
    sale = await tomorrow(bench)
    await until_due(bench, sale, dead, step)
    taking = asyncio.create_task(dead.run())
    await begun.wait()
    await bench.ledger.advance_ms(LEASE_MS)  # nothing is heard of it any more
    await other.run()

    row = await other.row(sale, step)
    assert (row.state, row.attempts) == (StepState.DONE, 2)
    taking.cancel()
    await dead.runner.stop()
    assert await other.row(sale, step) == row, "who comes back late changes nothing"


@each_step
async def test_late_it_is_done_at_once_or_left_out(bench: LedgerBench, step: StepName) -> None:
    """By a worker that comes a day after everything."""
    day = Day(bench)
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(49 * HOUR + MINUTE)
    await bench.sales.follow_clock()
    await day.run()

    row = await day.row(sale, step)
    after = step not in BEFORE_START
    assert day.done.count(step) == int(after and step is not StepName.START)
    assert row.state is (StepState.DONE if day.done.count(step) else StepState.SKIPPED)
