"""Percentiles are right within two percent, whatever the values."""

import math

from hypothesis import given
from hypothesis import strategies as st

from doorbuster.rehearsal.histogram import Histogram


def test_empty_histogram_has_no_percentiles() -> None:
    assert Histogram().percentile(99) == 0.0


def test_value_below_the_floor_and_above_the_roof_are_counted() -> None:
    histogram = Histogram()

    for seconds in (-1.0, 0.0, 1e9):
        histogram.record(seconds)

    assert histogram.count == 3
    assert histogram.percentile(50) <= 2e-6
    assert histogram.max_s == 1e9


@given(
    st.lists(st.floats(min_value=1e-5, max_value=100.0), min_size=1, max_size=200), st.sampled_from([50, 90, 99, 100])
)
def test_percentile_is_never_below_the_exact_one_and_at_most_two_percent_above(
    values: list[float], percent: int
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)

    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]

    assert exact * 0.9999 <= histogram.percentile(percent) <= exact * 1.0405
