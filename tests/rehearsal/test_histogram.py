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


def test_what_two_counted_is_what_one_would_have_counted() -> None:
    parts, whole = [Histogram(), Histogram()], Histogram()
    for number in range(1, 200):
        parts[number % 2].record(number / 100)
        whole.record(number / 100)

    together = Histogram()
    for part in parts:
        together.add(part.counts(), part.max_s)

    assert (together.counts(), together.count, together.max_s) == (whole.counts(), 199, 1.99)
    assert [together.percentile(percent) for percent in (50, 99)] == [whole.percentile(percent) for percent in (50, 99)]
