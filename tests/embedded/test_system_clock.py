"""The corrected clock: what it trusts, how it moves, and what cannot move it."""

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.adapters.system import SystemClock, SystemIds
from doorbuster.domain.limits import CLOCK_JUMP_MS_MAX
from doorbuster.engine.ports import StoreUnavailable

T0 = 1_800_000_000_000


class Bench:
    """A monotonic clock under the test's hand, and a database whose clock is `offset_ms` ahead of it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.offset_ms = T0
        self.trips_s = [0.002]
        self.clock = SystemClock(lambda: self.seconds)

    @property
    def true_ms(self) -> float:
        return self.seconds * 1000 + self.offset_ms

    async def sample(self) -> int:
        """One round trip; the database looks at its clock in the middle."""
        trip = self.trips_s.pop(0) if len(self.trips_s) > 1 else self.trips_s[0]
        self.seconds += trip / 2
        told = int(self.true_ms)
        self.seconds += trip / 2
        return told

    async def sync(self) -> None:
        await self.clock.sync(self.sample)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def failing() -> int:
    raise StoreUnavailable("no database")


def test_clock_is_not_trusted_before_it_was_set(bench: Bench) -> None:
    assert not bench.clock.trusted
    assert bench.clock.now_ms() == 0


async def test_failed_measurement_changes_nothing(bench: Bench) -> None:
    await bench.sync()
    before = bench.clock.now_ms()

    with pytest.raises(StoreUnavailable):
        await bench.clock.sync(failing)

    assert bench.clock.trusted
    assert bench.clock.now_ms() == before


async def test_slow_answers_are_no_measurement(bench: Bench) -> None:
    bench.trips_s = [1.0]

    await bench.sync()

    assert not bench.clock.trusted


async def test_jump_is_not_believed_at_once(bench: Bench) -> None:
    await bench.sync()
    bench.offset_ms += 60_000

    await bench.sync()

    assert not bench.clock.trusted
    assert abs(bench.clock.now_ms() - (bench.true_ms - 60_000)) <= 2


@pytest.mark.parametrize("jump_ms", [60_000, -60_000, CLOCK_JUMP_MS_MAX + 50])
async def test_jump_is_believed_when_two_agree(bench: Bench, jump_ms: int) -> None:
    await bench.sync()
    bench.offset_ms += jump_ms

    await bench.sync()
    await bench.sync()

    assert bench.clock.trusted
    assert abs(bench.clock.now_ms() - bench.true_ms) <= 2


async def test_two_different_jumps_are_not_believed(bench: Bench) -> None:
    await bench.sync()
    bench.offset_ms += 60_000
    await bench.sync()
    bench.offset_ms += 60_000

    await bench.sync()

    assert not bench.clock.trusted


async def test_jump_that_was_none_is_forgotten(bench: Bench) -> None:
    await bench.sync()
    bench.offset_ms += 60_000
    await bench.sync()
    bench.offset_ms -= 60_000

    await bench.sync()

    assert bench.clock.trusted
    assert abs(bench.clock.now_ms() - bench.true_ms) <= 2


async def test_best_of_several_samples_is_taken(bench: Bench) -> None:
    bench.trips_s = [0.4, 0.3, 0.001, 0.4, 0.4]

    await bench.sync()

    assert abs(bench.clock.now_ms() - bench.true_ms) <= 2


async def test_time_goes_on_between_measurements(bench: Bench) -> None:
    await bench.sync()

    bench.seconds += 3_600

    assert abs(bench.clock.now_ms() - bench.true_ms) <= 2


async def test_small_difference_is_made_up_for_slowly(bench: Bench) -> None:
    await bench.sync()
    bench.offset_ms += 50
    await bench.sync()
    assert bench.true_ms - bench.clock.now_ms() > 45

    bench.seconds += 11

    assert abs(bench.clock.now_ms() - bench.true_ms) <= 2


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(-CLOCK_JUMP_MS_MAX // 2, CLOCK_JUMP_MS_MAX // 2)), max_size=20))
async def test_time_never_runs_backwards_by_small_differences(steps: list[tuple[float, int]]) -> None:
    bench = Bench()
    await bench.sync()
    last = bench.clock.now_ms()

    for seconds, difference_ms in steps:
        bench.seconds += seconds
        bench.offset_ms = T0 + difference_ms
        await bench.sync()
        now = bench.clock.now_ms()
        assert now >= last
        assert abs(now - bench.true_ms) <= CLOCK_JUMP_MS_MAX + 2
        last = now


async def test_database_is_what_it_follows(database_url: str) -> None:
    from doorbuster.adapters.postgres.pool import connect
    from doorbuster.adapters.postgres.sales import PostgresSaleStore

    database = await connect(database_url)
    ask: Callable[[], Awaitable[int]] = PostgresSaleStore(database).time_ms
    clock = SystemClock()

    await clock.sync(ask)

    assert abs(clock.now_ms() - await ask()) < 100
    await database.close()


def test_ids_rise_and_differ() -> None:
    ids = SystemIds()

    made = [ids.new_id() for _ in range(10_000)]

    assert made == sorted(set(made))
    assert all(0 <= ids.jitter() < 1 for _ in range(1_000))
