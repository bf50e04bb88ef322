"""Who has a step, for how long, and what is recorded of it."""

import asyncio

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, SECOND, LedgerBench
from conformance.suite import Suite
from conformance.timeline_plans import DONE, do_next, rows, tomorrow
from doorbuster.domain.timeline import HOLDS_UP_TRIES, LEASE_MS, ORDER_PATIENCE_MS, STEPS, StepName, StepState
from doorbuster.engine.timeline_ports import Outcome

claims = Suite[LedgerBench]()


async def hour_before(bench: LedgerBench) -> str:
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    return sale.sale_id


async def state_of(bench: LedgerBench, sale_id: str, step: StepName) -> StepState:
    return next(row.state for row in await bench.timeline.steps(sale_id) if row.step is step)


@claims
async def nothing_is_due_before_its_time(bench: LedgerBench) -> None:
    await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR - 1)
    assert not await bench.timeline.claim(bench.ids.new_id(), limit=5)

    await bench.ledger.advance_ms(1)

    assert [row.step for row in await bench.timeline.claim(bench.ids.new_id(), limit=5)] == [StepName.WARM_UP]


@claims
async def next_step_waits_for_the_one_before(bench: LedgerBench) -> None:
    await hour_before(bench)
    [first] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
    assert not await bench.timeline.claim(bench.ids.new_id(), limit=5)

    assert await bench.timeline.finish(first, DONE)

    assert [row.step for row in await bench.timeline.claim(bench.ids.new_id(), limit=5)] == [StepName.NOTIFY_1H]


@claims
async def slow_step_does_not_hold_up_the_day(bench: LedgerBench) -> None:
    await hour_before(bench)
    [slow] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
    await bench.ledger.advance_ms(ORDER_PATIENCE_MS - SECOND)
    assert await bench.timeline.renew(slow)
    assert not await bench.timeline.claim(bench.ids.new_id(), limit=5)

    await bench.ledger.advance_ms(SECOND)

    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
    assert row.step is StepName.NOTIFY_1H
    assert await bench.timeline.finish(slow, DONE)


@claims
async def failed_step_does_not_hold_up_the_day(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    failed = await do_next(bench, Outcome(state=StepState.FAILED, words="no", wait_ms=5_000))
    assert failed.step is StepName.WARM_UP

    assert (await do_next(bench)).step is StepName.NOTIFY_1H
    await bench.ledger.advance_ms(5_000)

    again = await do_next(bench)
    assert (again.step, again.attempts) == (StepName.WARM_UP, 2)
    assert await state_of(bench, sale_id, StepName.WARM_UP) is StepState.DONE


@claims
async def step_given_up_is_not_taken_again(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    await do_next(bench, Outcome(state=StepState.FAILED, words="no"))
    await bench.ledger.advance_ms(10 * MINUTE)

    assert (await do_next(bench)).step is StepName.NOTIFY_1H
    assert await state_of(bench, sale_id, StepName.WARM_UP) is StepState.FAILED


@claims
async def waiting_is_no_attempt(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    await do_next(bench, Outcome(state=StepState.DUE, words="soon", wait_ms=1_000, counts=False))
    row = next(row for row in await bench.timeline.steps(sale_id) if row.step is StepName.WARM_UP)
    assert (row.state, row.attempts, row.words, row.finished_ms) == (StepState.DUE, 0, "soon", None)

    await bench.ledger.advance_ms(1_000)

    assert (await do_next(bench)).attempts == 1


@claims
async def lease_of_a_worker_that_died_ends(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    [dead] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
    await bench.ledger.advance_ms(LEASE_MS)

    [taken] = await bench.timeline.claim(bench.ids.new_id(), limit=5)

    assert (taken.step, taken.attempts) == (StepName.WARM_UP, 2)
    assert not await bench.timeline.renew(dead)
    assert not await bench.timeline.finish(dead, Outcome(state=StepState.FAILED, words="late"))
    assert await bench.timeline.finish(taken, DONE)
    assert await state_of(bench, sale_id, StepName.WARM_UP) is StepState.DONE


@claims
async def result_is_recorded_once(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
    await bench.ledger.advance_ms(1_500)

    assert await bench.timeline.finish(row, DONE)
    assert not await bench.timeline.finish(row, Outcome(state=StepState.FAILED, words="again"))

    found = next(row for row in await bench.timeline.steps(sale_id) if row.step is StepName.WARM_UP)
    assert (found.state, found.next_ms, dict(found.detail)) == (StepState.DONE, None, {"units": 2})
    assert found.finished_ms == (found.started_ms or 0) + 1_500


@claims
async def two_workers_share_the_steps(bench: LedgerBench) -> None:
    """Of many sales each step has one worker."""
    sales = [await tomorrow(bench) for _ in range(12)]
    await bench.ledger.advance_ms(23 * HOUR)

    taken = await asyncio.gather(*(bench.timeline.claim(bench.ids.new_id(), limit=3) for _ in range(8)))

    steps = [(row.sale_id, row.step) for part in taken for row in part]
    assert len(steps) == len(set(steps))
    while part := await bench.timeline.claim(bench.ids.new_id(), limit=3):
        steps += [(row.sale_id, row.step) for row in part]
    assert sorted(steps) == sorted((sale.sale_id, StepName.WARM_UP) for sale in sales)


@claims
async def operator_runs_a_step_before_its_time_and_again(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    for _ in range(2):
        assert await bench.timeline.run(sale.sale_id, StepName.REHEARSAL, ACTOR) == "ok"
        [row] = await bench.timeline.claim(bench.ids.new_id(), limit=5)
        assert (row.step, row.forced, row.attempts) == (StepName.REHEARSAL, True, 1)
        assert await bench.timeline.run(sale.sale_id, StepName.REHEARSAL, ACTOR) == "running"
        assert await bench.timeline.finish(row, DONE)

    found = (await rows(bench, sale))[StepName.REHEARSAL]
    assert (found.state, found.forced, found.next_ms, found.attempts) == (StepState.DONE, False, found.due_ms, 1)
    assert (found.words, dict(found.detail)) == ("run before its time, and again at its time", {"units": 2})
    await bench.ledger.advance_ms(found.due_ms - await bench.sales.time_ms())
    assert [(await do_next(bench)).step for _ in range(5)] == list(STEPS)[:5]


@claims
async def operator_leaves_a_step_out(bench: LedgerBench) -> None:
    sale_id = await hour_before(bench)
    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=5)

    assert await bench.timeline.skip(sale_id, StepName.WARM_UP, ACTOR) == "ok"

    assert not await bench.timeline.finish(row, DONE)
    assert await bench.timeline.skip(sale_id, StepName.WARM_UP, ACTOR) == "skipped"
    found = next(row for row in await bench.timeline.steps(sale_id) if row.step is StepName.WARM_UP)
    assert (found.state, found.words) == (StepState.SKIPPED, "skipped by tester: a test")
    assert (await do_next(bench)).step is StepName.NOTIFY_1H
    assert await bench.timeline.skip(sale_id, StepName.NOTIFY_1H, ACTOR) == "done"


@claims
async def step_that_never_reports_does_not_stop_the_day(bench: LedgerBench) -> None:
    """Each worker that takes it dies with it."""
    await hour_before(bench)
    for _ in range(HOLDS_UP_TRIES):
        [lost] = await bench.timeline.claim(bench.ids.new_id(), limit=1)
        assert lost.step is StepName.WARM_UP
        await bench.ledger.advance_ms(LEASE_MS)
    [lost] = await bench.timeline.claim(bench.ids.new_id(), limit=1)
    assert (lost.step, lost.attempts) == (StepName.WARM_UP, HOLDS_UP_TRIES + 1)

    assert [(await do_next(bench)).step for _ in range(3)] == list(STEPS)[1:4]

    await bench.ledger.advance_ms(30 * MINUTE)
    assert [(await do_next(bench)).step for _ in range(2)] == [StepName.REHEARSAL, StepName.WARM_UP]
