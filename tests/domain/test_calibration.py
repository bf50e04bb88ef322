"""Forecasts held against what happened."""

import random

import pytest

from doorbuster.domain.calibration import Calibration, Event, Happening, SaleHistory, calibrate
from doorbuster.domain.chance import Chance


def a_history(*, seed: int, pays: float, units: int = 200, buyers: int = 1_000) -> SaleHistory:
    """A line of `buyers` at the start; every granted buyer pays or gives back within a minute, evenly spread."""
    rng = random.Random(seed)
    events = [Event(0, Happening.JOINED, buyers)]
    due = [0] * units
    waiting = buyers
    while due and waiting:
        at_ms = due.pop(0)
        waiting -= 1
        events.append(Event(at_ms, Happening.GRANTED))
        end_ms = at_ms + 1_000 + int(59_000 * rng.random())
        if rng.random() < pays:
            events.append(Event(end_ms, Happening.PAID))
        else:
            events.append(Event(end_ms, Happening.RETURNED))
            due.append(end_ms)
            due.sort()
    return SaleHistory(units=units, start_ms=0, end_ms=240_000, events=events)


def test_a_sale_that_never_moved_has_no_score() -> None:
    found = calibrate(SaleHistory(units=5, start_ms=10, end_ms=10, events=[]))

    assert found == Calibration(rows=[], told=0, unknown=0, brier=None, brier_base_rate=None)


def test_what_was_not_told_is_counted_and_not_judged() -> None:
    history = SaleHistory(
        units=10,
        start_ms=0,
        end_ms=1_000,
        events=[Event(0, Happening.JOINED, 12), Event(0, Happening.GRANTED, 10)],
    )

    found = calibrate(history, instants=1)

    assert (found.told, found.unknown) == (0, 2)


def test_nobody_is_judged_beyond_the_end_of_the_line() -> None:
    events = [Event(0, Happening.JOINED, 4), Event(500, Happening.GRANTED, 3), Event(500, Happening.LEFT)]

    found = calibrate(SaleHistory(units=9, start_ms=0, end_ms=1_000, events=events), instants=2)

    assert [(row.band, row.count) for row in found.rows] == [(Chance.ALMOST_CERTAIN, 4)]
    assert found.rows[0].observed == pytest.approx(0.75), "a grant less than entries: one left"


def test_a_line_of_unknown_length_is_judged_as_far_as_there_are_units() -> None:
    found = calibrate(SaleHistory(units=3, start_ms=0, end_ms=9, events=[Event(5, Happening.GRANTED, 3)]), instants=1)

    assert [(row.band, row.count, row.observed) for row in found.rows] == [(Chance.ALMOST_CERTAIN, 3, 1.0)]
    assert found.brier == 0.0


@pytest.mark.parametrize("pays", [0.4, 0.7, 0.9])
def test_the_forecasts_of_sales_as_the_model_has_them_come_true(pays: float) -> None:
    judged = [calibrate(a_history(seed=seed, pays=pays)) for seed in range(20)]

    for found in judged:
        assert found.brier is not None
        assert found.brier_base_rate is not None
        assert found.brier < found.brier_base_rate
    sure = [row for found in judged for row in found.rows if row.band is Chance.ALMOST_CERTAIN]
    assert sum(row.observed * row.count for row in sure) / sum(row.count for row in sure) > 0.95
    hopeless = [row for found in judged for row in found.rows if row.band is Chance.VERY_UNLIKELY]
    assert sum(row.observed * row.count for row in hopeless) / sum(row.count for row in hopeless) < 0.05
