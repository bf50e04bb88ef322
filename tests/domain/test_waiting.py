"""The waiting time that is told: a range, what it rests on, and why it has become longer (scenario 30)."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.domain.waiting import LONGER, Eta, PaceEstimate

NOW = 1_800_000_000_000


class APulse(msgspec.Struct, frozen=True, kw_only=True):
    as_of_ms: int = NOW
    returned_last_minute: int = 0
    returned_minute_before: int = 0
    next_expiry_ms: int | None = None


def an_estimate(*, held: int = 1_000, **pulse: int) -> PaceEstimate:
    pace = PaceEstimate()
    pace.feed(APulse(**pulse), free=0, held=held)
    return pace


def longer(before: Eta, after: Eta) -> bool:
    def of(value: float | None) -> float:
        return math.inf if value is None else value

    return of(after.low) > of(before.low) or of(after.high) > of(before.high)


def test_nothing_is_told_before_anything_is_known() -> None:
    found = PaceEstimate().eta(5, 0, NOW)

    assert found == Eta(None, None, "nothing is known about the pace of this line yet")


def test_nothing_is_told_from_news_that_is_too_old() -> None:
    found = an_estimate(returned_last_minute=9).eta(5, 0, NOW + 31_000)

    assert found == Eta(None, None, "the last news of this line is 31 s old")


def test_nothing_is_told_while_nothing_comes_back_but_when_the_next_hold_runs_out() -> None:
    assert an_estimate().eta(1, 0, NOW) == Eta(None, None, "no unit came back in the last two minutes")
    assert an_estimate(next_expiry_ms=NOW + 39_500).eta(1, 0, NOW).reason == (
        "no unit came back in the last two minutes; the next hold runs out in 40 s unless it is paid"
    )


def test_nothing_is_told_to_who_stands_behind_more_buyers_than_units_can_come_back() -> None:
    found = an_estimate(held=3, returned_last_minute=9).eta(5, 0, NOW)

    assert found == Eta(None, None, "3 units can still come back, and more buyers stand ahead")


def test_nothing_is_told_of_a_wait_longer_than_anybody_waits() -> None:
    found = an_estimate(held=100_000, returned_last_minute=1).eta(50_000, 0, NOW)

    assert (found.low, found.high) == (None, None)


def test_a_free_unit_is_there_at_once() -> None:
    assert PaceEstimate().eta(5, 5, NOW) == Eta(0.0, 3.0, "a unit is free for this place")


def test_a_range_names_what_it_rests_on() -> None:
    assert an_estimate(returned_last_minute=3).eta(2, 0, NOW).reason == "3 units came back in the last minute"
    assert an_estimate(returned_minute_before=1).eta(1, 0, NOW).reason == (
        "no unit came back in the last minute, 1 in the minute before"
    )


def test_a_slower_line_says_so_to_who_stands_where_it_was_told_less() -> None:
    pace = an_estimate(returned_last_minute=9)
    before = pace.eta(4, 0, NOW)
    pace.feed(APulse(as_of_ms=NOW + 60_000, returned_last_minute=3, returned_minute_before=9), free=0, held=1_000)

    after = pace.eta(4, 0, NOW + 60_000)

    assert longer(before, after)
    assert after.reason == "longer than before: 3 units came back in the last minute, after 9 in the minute before"


def test_a_range_that_becomes_unknown_says_so() -> None:
    pace = an_estimate(returned_last_minute=9)
    pace.eta(4, 0, NOW)
    pace.feed(APulse(as_of_ms=NOW + 1_000, returned_last_minute=9), free=0, held=2)

    after = pace.eta(4, 0, NOW + 1_000)

    assert after == Eta(None, None, "longer than before: 2 units can still come back, and more buyers stand ahead")


def test_free_units_that_went_to_others_are_the_reason_that_is_given() -> None:
    pace = an_estimate(returned_last_minute=9)
    assert pace.eta(2, 2, NOW).high == 3.0

    after = pace.eta(2, 0, NOW + 500)

    assert after.reason.startswith("longer than before: the units that were free went to buyers ahead; ")


def test_a_line_that_keeps_its_pace_never_has_to_explain_itself() -> None:
    pace = PaceEstimate()

    for second in range(600):
        now = NOW + second * 1_000
        pace.feed(APulse(as_of_ms=now, returned_last_minute=12, returned_minute_before=12), free=0, held=5_000)
        for position in (1, 40, 1_000 - second // 5):
            assert not pace.eta(position, 0, now).reason.startswith(LONGER)


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(0, 500), st.integers(0, 500))
def test_nobody_is_told_less_than_those_ahead(one: int, other: int, last: int, before: int) -> None:
    ahead, behind = sorted((one, other))

    told = [
        an_estimate(held=200_000, returned_last_minute=last, returned_minute_before=before).eta(place, 0, NOW)
        for place in (ahead, behind)
    ]

    assert not longer(told[1], told[0])


@given(st.integers(0, 2**32))
def test_no_range_rises_without_a_reason_whatever_the_line_does(seed: int) -> None:
    rng = random.Random(seed)
    pace, now = PaceEstimate(), NOW
    places = {number: number for number in rng.sample(range(1, 2_000), 12)}
    last: dict[int, tuple[int, Eta, bool]] = {}
    for _ in range(60):
        now += rng.choice([5, 200, 1_000, 9_000])
        free = rng.choice([0, 0, 0, rng.randrange(30)])
        if rng.random() < 0.7:
            pulse = APulse(
                as_of_ms=now - rng.choice([0, 900, 40_000]),
                returned_last_minute=rng.choice([0, rng.randrange(5), rng.randrange(300)]),
                returned_minute_before=rng.choice([0, rng.randrange(5), rng.randrange(300)]),
                next_expiry_ms=rng.choice([None, now + 5_000]),
            )
            pace.feed(pulse, free=free, held=rng.choice([0, 10, 5_000]))
        for number, place in places.items():
            at = max(1, place - rng.choice([0, 0, 1, 40]))
            found = pace.eta(at, free, now)
            if number in last:
                then, before, soon = last[number]
                remembered = now - then <= (10_000 if soon else 300_000)
                if remembered and longer(before, found):
                    assert found.reason.startswith(LONGER), (before, found)
            last[number] = (now, found, at <= free)
            places[number] = at


def test_the_range_is_right_more_often_than_not_and_errs_on_the_long_side() -> None:
    rng = random.Random(3)
    shorter = within = longer_than_told = 0
    for _ in range(2_000):
        pace_s, needed = rng.uniform(0.05, 2.0), rng.randrange(1, 60)
        last, before = _arrivals(rng, pace_s, 60), _arrivals(rng, pace_s, 60)
        found = an_estimate(returned_last_minute=last, returned_minute_before=before).eta(needed, 0, NOW)
        if found.low is None or found.high is None:
            continue
        took = sum(rng.expovariate(pace_s) for _ in range(needed))
        shorter += took < found.low
        within += found.low <= took <= found.high
        longer_than_told += took > found.high

    assert within > 0.8 * (shorter + within + longer_than_told)
    assert longer_than_told < shorter + 0.05 * within


def _arrivals(rng: random.Random, per_second: float, seconds: float) -> int:
    count, at = 0, rng.expovariate(per_second)
    while at < seconds:
        count, at = count + 1, at + rng.expovariate(per_second)
    return count


@pytest.mark.parametrize("position", [1, 16, 17, 20, 21, 4_096, 4_097, 99_999_999])
def test_a_stretch_has_one_answer_and_is_reckoned_to_its_end(position: int) -> None:
    found = an_estimate(held=200_000_000, returned_last_minute=200_000_000).eta(position, 0, NOW)

    assert found.high is not None
    assert found.high >= position / 2_000
