"""When to ask again: within the bounds, the front within the grace of a lost line, the far end rarely."""

from hypothesis import given
from hypothesis import strategies as st

from doorbuster.domain import limits
from doorbuster.domain.polling import poll_after_ms, poll_at_start_ms

SHARE = st.floats(0, 1)
PACE = st.floats(0, 5_000)
PLACES = st.integers(1, 5_000_000)


@given(PLACES, st.integers(0, 1_000_000), PACE, SHARE, SHARE)
def test_every_answer_is_within_the_bounds(position: int, free: int, moving: float, busy: float, jitter: float) -> None:
    found = poll_after_ms(position, free=free, waiting=position, moving_per_second=moving, busy=busy, jitter=jitter)

    assert limits.POLL_MS_MIN <= found <= limits.POLL_MS_MAX


@given(st.integers(1, 50), st.integers(0, 1_000), PACE, SHARE, SHARE)
def test_the_front_asks_twice_within_the_grace_of_a_lost_line_however_busy(
    behind: int, free: int, moving: float, busy: float, jitter: float
) -> None:
    found = poll_after_ms(
        free + behind, free=free, waiting=5_000_000, moving_per_second=moving, busy=busy, jitter=jitter
    )

    assert found * 2 <= limits.LINE_GRACE_MS


@given(st.tuples(PLACES, PLACES), st.integers(0, 1_000), PACE, SHARE, SHARE)
def test_nobody_asks_oftener_than_those_ahead(
    places: tuple[int, int], free: int, moving: float, busy: float, jitter: float
) -> None:
    ahead, behind = sorted(places)

    first, second = (
        poll_after_ms(place, free=free, waiting=behind, moving_per_second=moving, busy=busy, jitter=jitter)
        for place in (ahead, behind)
    )

    assert first <= second


@given(PLACES, PACE, SHARE, SHARE, SHARE)
def test_a_busier_gate_is_asked_no_oftener(
    position: int, moving: float, one: float, other: float, jitter: float
) -> None:
    calm, busy = sorted((one, other))

    answers = [
        poll_after_ms(position, free=0, waiting=position, moving_per_second=moving, busy=how, jitter=jitter)
        for how in (calm, busy)
    ]

    assert answers[0] <= answers[1]


def test_the_far_end_of_a_line_that_stands_still_asks_rarely_and_not_in_step() -> None:
    answers = [
        poll_after_ms(100_000, free=0, waiting=100_000, moving_per_second=0.0, busy=0.0, jitter=step / 10)
        for step in range(11)
    ]

    assert min(answers) > limits.POLL_MS_MAX / 2
    assert max(answers) - min(answers) > 2_000


def test_a_long_line_asks_no_more_than_the_gates_can_bear() -> None:
    """Twenty thousand who wait, in a line that moves as fast as it can."""
    polls_per_second = sum(
        1_000 / poll_after_ms(position, free=0, waiting=20_000, moving_per_second=10.0, busy=0.0, jitter=0.5)
        for position in range(1, 20_001)
    )

    assert polls_per_second < 1_500


def test_who_gets_the_next_units_asks_before_a_short_hold_runs_out() -> None:
    """Holds that end together come back together: the first two hundred hear of it within seconds."""
    for position in range(1, 201):
        assert poll_after_ms(position, free=0, waiting=20_000, moving_per_second=16.0, busy=0.0, jitter=1.0) <= 2_500


@given(st.integers(1, 5_000), PACE, SHARE, SHARE, st.integers(5_000, 86_400_000))
def test_an_offer_is_heard_of_long_before_it_runs_out(
    behind: int, moving: float, busy: float, jitter: float, offer_ms: int
) -> None:
    """However busy, and however little the line has moved: at the start nothing has come back yet."""
    found = poll_after_ms(
        behind,
        free=0,
        waiting=5_000,
        moving_per_second=moving,
        busy=busy,
        jitter=jitter,
        held=5_000,
        offer_ms=offer_ms,
    )

    assert found * 3 <= offer_ms


@given(st.integers(-60_000, 10**9), st.integers(0, 5_000_000), SHARE)
def test_before_the_start_every_answer_is_within_the_bounds(left_ms: int, waiting: int, jitter: float) -> None:
    assert limits.POLL_MS_MIN <= poll_at_start_ms(left_ms, waiting=waiting, jitter=jitter) <= limits.POLL_MS_MAX


def test_everybody_comes_back_after_the_start_and_a_big_crowd_over_a_longer_time() -> None:
    small, big = (
        [poll_at_start_ms(5_000, waiting=waiting, jitter=step / 100) for step in range(101)] for waiting in (10, 20_000)
    )

    assert (min(small), max(small)) == (5_200, 7_000)
    assert (min(big), max(big)) == (5_200, 15_200)
    assert poll_at_start_ms(3_600_000, waiting=10, jitter=0.0) == limits.POLL_MS_MAX
