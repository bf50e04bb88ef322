"""Steps of a day as they go wrong: failing, late, doubled, half done, taken over. On both ledgers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from day.test_monitoring import Bell
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import LEASE_MS, STEPS, StepName, StepRow, StepState
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotYet, Step, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.planning import Planning
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.engine.running import DayRunner
from doorbuster.engine.timeline_ports import Outcome
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.fleet import ReferencePages

Rule = Callable[[Asked], Awaitable[Detail]]


class Day:
    """A runner whose steps do what a test says, and a note of all that were done."""

    def __init__(self, bench: LedgerBench, rules: Mapping[StepName, Rule] | None = None, *, seed: int = 1) -> None:
        self.bench = bench
        self.done: list[StepName] = []
        self.bell = Bell()
        self.pages = ReferencePages(bench.ledger.clock)
        self.rules = dict(rules or {})
        self.runner = DayRunner(
            store=bench.timeline,
            sales=bench.sales,
            steps={step: self._step(step) for step in STEPS},
            clock=bench.ledger.clock,
            ids=SeededIds(seed),
            on_call=OnCall(self.pages, self.bell),
        )

    def _step(self, step: StepName) -> Step:
        async def do(asked: Asked) -> Detail:
            self.done.append(step)
            rule = self.rules.get(step)
            return {} if rule is None else await rule(asked)

        return do

    async def run(self) -> None:
        """Until nothing is due."""
        while (await self.runner.run_once())["begun"]:
            await self.runner.drain()

    async def row(self, sale: Sale, step: StepName) -> StepRow:
        return next(row for row in await self.bench.timeline.steps(sale.sale_id) if row.step is step)


async def tomorrow(bench: LedgerBench) -> Sale:
    return await bench.sale(start_ms=bench.now_ms() + 24 * HOUR, end_ms=bench.now_ms() + 25 * HOUR)


def raising(*problems: Exception) -> Rule:
    """These, one after the other; then it works."""
    waiting = list(problems)

    async def rule(asked: Asked) -> Detail:
        del asked
        if waiting:
            raise waiting.pop(0)
        return {"worked": True}

    return rule


async def test_whole_day_in_order(bench: LedgerBench) -> None:
    """Minute by minute; each step once, at its time."""
    day = Day(bench)
    sale = await tomorrow(bench)
    at: dict[StepName, int] = {}
    for _ in range(26 * 60):
        await bench.sales.follow_clock()
        before = len(day.done)
        await day.run()
        for step in day.done[before:]:
            at[step] = bench.now_ms() - sale.start_ms
        await bench.ledger.advance_ms(MINUTE)

    assert day.done == list(STEPS)
    assert [at[step] // MINUTE for step in STEPS] == [-60, -60, -60, -60, -30, -5, -5, -2, 0, 60, 60, 70, 70]
    states = {row.state for row in await bench.timeline.steps(sale.sale_id)}
    assert states == {StepState.DONE}


async def test_sale_created_late_runs_what_it_missed_at_once(bench: LedgerBench) -> None:
    day = Day(bench)
    await bench.sale(start_ms=bench.now_ms() + 3 * MINUTE, end_ms=bench.now_ms() + HOUR)

    await day.run()

    assert day.done == list(STEPS)[:7]


async def test_worker_that_was_down_all_day_catches_up(bench: LedgerBench) -> None:
    day = Day(bench)
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(30 * HOUR)
    await bench.sales.follow_clock()

    await day.run()

    assert day.done == [StepName.END, StepName.SETTLE, StepName.FINAL_AUDIT, StepName.REPORT]
    assert (await day.row(sale, StepName.WARM_UP)).state is StepState.SKIPPED


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (StepFailed("no answer", {"tried": 3}), "no answer"),
        (StoreUnavailable("gone"), "a store does not answer: gone"),
        (ZeroDivisionError("division"), "ZeroDivisionError: division"),
    ],
)
async def test_step_that_fails_is_tried_again(bench: LedgerBench, problem: Exception, words: str) -> None:
    day = Day(bench, {StepName.WARM_UP: raising(problem, problem)})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)

    await day.run()
    row = await day.row(sale, StepName.WARM_UP)
    assert (row.state, row.words, row.attempts) == (StepState.FAILED, words, 1)
    assert row.next_ms == bench.now_ms() + 1_000
    assert day.done == list(STEPS)[:4]  # it holds up nobody

    for pause in (1_000, 2_000):
        await bench.ledger.advance_ms(pause)
        await day.run()
    row = await day.row(sale, StepName.WARM_UP)
    assert (row.state, row.words, row.attempts, dict(row.detail)) == (StepState.DONE, "", 3, {"worked": True})


async def test_step_that_never_works_is_given_up_and_an_operator_runs_it(bench: LedgerBench) -> None:
    day = Day(bench, {StepName.CDN_PREWARM: raising(*[StepFailed("404")] * 5)})
    planning = Planning(bench.sales, bench.timeline, frozenset(), {})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    for _ in range(20):
        await day.run()
        await bench.ledger.advance_ms(MINUTE)

    row = await day.row(sale, StepName.CDN_PREWARM)
    assert (row.state, row.attempts, row.next_ms) == (StepState.FAILED, 5, None)
    await planning.run(sale.sale_id, StepName.CDN_PREWARM, ACTOR)
    await day.run()
    assert (await day.row(sale, StepName.CDN_PREWARM)).state is StepState.DONE


async def test_what_belongs_before_the_start_is_not_tried_after_it(bench: LedgerBench) -> None:
    day = Day(bench, {StepName.NOTIFY_5M: raising(*[StepFailed("no server")] * 9)})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(24 * HOUR - MINUTE)
    await day.run()
    await bench.ledger.advance_ms(2 * MINUTE)
    await bench.sales.follow_clock()
    await day.run()

    row = await day.row(sale, StepName.NOTIFY_5M)

    assert (row.state, row.attempts, row.next_ms) == (StepState.FAILED, 2, None)
    assert [call.title for call in day.bell.rung] == [f"notify-5m of {sale.title} is not done"]


async def test_step_with_nothing_to_do_says_why(bench: LedgerBench) -> None:
    day = Day(bench, {StepName.NOTIFY_1H: raising(StepSkipped("nobody is on the waitlist"))})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    await day.run()

    row = await day.row(sale, StepName.NOTIFY_1H)

    assert (row.state, row.words) == (StepState.SKIPPED, "nobody is on the waitlist")


async def test_step_that_waits_is_asked_again_and_counts_as_one_attempt(bench: LedgerBench) -> None:
    day = Day(bench, {StepName.SETTLE: raising(*[NotYet("3 units are held", {"held": 3})] * 4)})
    sale = await bench.sale()
    await bench.moved(sale, SaleStatus.ACTIVE, SaleStatus.ENDED)
    await day.run()
    row = await day.row(sale, StepName.SETTLE)
    assert (row.state, row.words, row.attempts) == (StepState.DUE, "3 units are held", 0)

    for _ in range(4):
        await bench.ledger.advance_ms(5_000)
        await day.run()

    assert (await day.row(sale, StepName.SETTLE)).attempts == 1


async def test_two_workers_do_each_step_once(bench: LedgerBench) -> None:
    first, second = Day(bench, seed=1), Day(bench, seed=2)
    for _ in range(4):
        await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)

    await asyncio.gather(first.run(), second.run(), first.run(), second.run())
    await first.run()

    assert sorted(first.done + second.done) == sorted(list(STEPS)[:4] * 4)


async def test_step_of_a_worker_that_was_stopped_is_taken_over_at_once(bench: LedgerBench) -> None:
    begun = asyncio.Event()

    async def hang(asked: Asked) -> Detail:
        del asked
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    stopped = Day(bench, {StepName.WARM_UP: hang})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    await stopped.runner.run_once()
    await begun.wait()
    await stopped.runner.stop()

    other = Day(bench, seed=2)
    await other.run()

    row = await other.row(sale, StepName.WARM_UP)
    assert (row.state, row.attempts) == (StepState.DONE, 1)


async def test_step_of_a_worker_that_died_is_taken_over_when_its_lease_is_over(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=1)  # and nothing more is heard of it
    other = Day(bench, seed=2)
    await other.run()
    assert other.done == []

    await bench.ledger.advance_ms(LEASE_MS)
    await other.run()

    assert other.done[0] is row.step
    found = await other.row(sale, row.step)
    assert (found.state, found.attempts) == (StepState.DONE, 2)


async def test_operator_sees_progress_and_leaves_a_step_out(bench: LedgerBench) -> None:
    async def sent(sale_id: str) -> Detail:
        assert sale_id
        return {"mails_sent": 7}

    planning = Planning(bench.sales, bench.timeline, frozenset({"error-rate"}), {StepName.NOTIFY_1H: sent})
    day = Day(bench, {StepName.NOTIFY_1H: raising()})
    sale = await tomorrow(bench)
    await planning.skip(sale.sale_id, StepName.SCALE_UP, ACTOR)
    await bench.ledger.advance_ms(23 * HOUR)
    await day.run()

    rows = await planning.steps(sale.sale_id)

    assert not isinstance(rows, Refusal)
    found = {row.step: row for row in rows}
    assert dict(found[StepName.NOTIFY_1H].detail) == {"worked": True, "mails_sent": 7}
    assert found[StepName.SCALE_UP].words == "skipped by tester: a test"
    assert StepName.SCALE_UP not in day.done


async def test_step_is_cancelled_when_its_sale_is_put_off(bench: LedgerBench) -> None:
    """The worker learns of it when it next says that it lives."""
    ended = asyncio.Event()

    async def hang(asked: Asked) -> Detail:
        del asked
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    day = Day(bench, {StepName.WARM_UP: hang})
    day.runner._renew_s = 0.01  # pyright: ignore[reportPrivateUsage]
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    await day.runner.run_once()
    await bench.timeline.skip(sale.sale_id, StepName.WARM_UP, ACTOR)

    async with asyncio.timeout(10):
        await ended.wait()
        await day.runner.drain()

    assert (await day.row(sale, StepName.WARM_UP)).state is StepState.SKIPPED


async def test_result_that_cannot_be_stored_is_a_failure(bench: LedgerBench) -> None:
    """PostgreSQL takes no lone surrogate; the step is not begun anew for ever because of one."""

    async def odd(asked: Asked) -> Detail:
        del asked
        return {"etag": "\udce9", "cannot": object()}

    day = Day(bench, {StepName.CDN_PREWARM: odd})
    sale = await tomorrow(bench)
    store = bench.timeline
    finish = store.finish

    async def encoding(row: StepRow, outcome: Outcome) -> bool:
        msgspec.json.encode(outcome.detail)
        return await finish(row, outcome)

    store.finish = encoding
    await bench.ledger.advance_ms(23 * HOUR)
    await day.run()

    row = await day.row(sale, StepName.CDN_PREWARM)
    assert (row.state, row.attempts, row.next_ms) == (StepState.FAILED, 1, bench.now_ms() + 5_000)
    assert row.words.startswith("its result cannot be stored: ")


async def test_step_that_no_worker_survives_is_given_up(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    tries = STEPS[StepName.CDN_PREWARM].tries
    await bench.timeline.run(sale.sale_id, StepName.CDN_PREWARM, ACTOR)
    for _ in range(tries):
        assert await bench.timeline.claim(bench.ids.new_id(), limit=1)
        await bench.ledger.advance_ms(LEASE_MS)
    await bench.ledger.advance_ms(23 * HOUR)
    day = Day(bench)
    await day.run()

    row = await day.row(sale, StepName.CDN_PREWARM)
    assert (row.state, row.next_ms) == (StepState.FAILED, None)
    assert StepName.CDN_PREWARM not in day.done


async def test_step_before_the_start_that_waits_too_long_is_seen_to_fail(bench: LedgerBench) -> None:
    day = Day(bench, {StepName.WARM_UP: raising(*[NotYet("no image")] * 2)})
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR)
    await day.run()
    assert (await day.row(sale, StepName.WARM_UP)).state is StepState.DUE

    await bench.ledger.advance_ms(5 * MINUTE + 1)
    await day.run()

    row = await day.row(sale, StepName.WARM_UP)
    assert (row.state, row.words, row.next_ms) == (StepState.FAILED, "no image", bench.now_ms() + 1_000)
