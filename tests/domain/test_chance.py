"""The chance of a unit: never better further back, right where it can be counted, unknown where nothing is known."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.domain.chance import ENDED_MIN, Chance, chance, probability

COUNTS = st.integers(0, 3_000)
WORDS = [
    Chance.ALMOST_CERTAIN,
    Chance.LIKELY,
    Chance.EVEN,
    Chance.UNLIKELY,
    Chance.VERY_UNLIKELY,
]


def counted(position: int, free: int, held: int, alpha: float, beta: float) -> float:
    """P(X < free + held), by adding up the whole distribution."""
    people = held + position - 1

    def of(payers: int) -> float:
        logs = (
            math.lgamma(people + 1) - math.lgamma(payers + 1) - math.lgamma(people - payers + 1)
            + math.lgamma(payers + alpha) + math.lgamma(people - payers + beta) - math.lgamma(people + alpha + beta)
            + math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
        )  # fmt: skip
        return math.exp(logs)

    return sum(of(payers) for payers in range(min(people, free + held - 1) + 1))


def test_a_position_behind_units_that_can_never_come_back_is_very_unlikely_without_any_history() -> None:
    assert chance(1, free=0, held=0, paid=0, returned=0) is Chance.VERY_UNLIKELY
    assert chance(9, free=0, held=0, paid=1_000, returned=0) is Chance.VERY_UNLIKELY


def test_too_few_ended_orders_say_nothing_where_the_answer_depends_on_them() -> None:
    assert chance(10, free=0, held=20, paid=ENDED_MIN - 1, returned=0) is Chance.UNKNOWN
    assert probability(10, free=0, held=20, paid=0, returned=ENDED_MIN - 1) is None
    assert chance(10, free=0, held=20, paid=ENDED_MIN, returned=0) is not Chance.UNKNOWN


def test_far_behind_a_few_holds_is_very_unlikely_whatever_share_pays() -> None:
    assert chance(10_000, free=0, held=10, paid=0, returned=0) is Chance.VERY_UNLIKELY


def test_right_behind_thousands_of_holds_is_almost_certain_whatever_share_pays() -> None:
    assert chance(1, free=0, held=5_000, paid=0, returned=0) is Chance.ALMOST_CERTAIN


def test_nobody_is_called_certain_when_every_order_so_far_was_paid_and_few_are_held() -> None:
    assert chance(1, free=0, held=2, paid=500, returned=0) is Chance.VERY_UNLIKELY


@given(free=COUNTS, held=COUNTS, paid=COUNTS, returned=COUNTS, within=st.integers(0, 3_000))
def test_a_free_unit_for_the_position_is_almost_certain(
    free: int, held: int, paid: int, returned: int, within: int
) -> None:
    position = min(free, 1 + within)
    if position:
        assert chance(position, free=free, held=held, paid=paid, returned=returned) is Chance.ALMOST_CERTAIN


@given(
    free=COUNTS, held=COUNTS, paid=COUNTS, returned=COUNTS, places=st.tuples(st.integers(0, 5_000), st.integers(1, 200))
)
def test_the_chance_is_never_better_further_back(
    free: int, held: int, paid: int, returned: int, places: tuple[int, int]
) -> None:
    told = [
        probability(position, free=free, held=held, paid=paid, returned=returned)
        for position in (free + 1 + places[0], free + 1 + sum(places))
    ]

    if told[0] is not None and told[1] is not None:
        assert told[1] <= told[0] + 1e-7


@given(free=st.integers(0, 50), held=st.integers(0, 200), paid=st.integers(0, 60), returned=st.integers(0, 60))
def test_the_chance_is_never_better_from_one_position_to_the_next_all_along_the_line(
    free: int, held: int, paid: int, returned: int
) -> None:
    told = [chance(position, free=free, held=held, paid=paid, returned=returned) for position in range(1, 150)]

    known = [WORDS.index(word) for word in told if word is not Chance.UNKNOWN]

    assert known == sorted(known)


@given(held=st.integers(1, 400), paid=COUNTS, returned=COUNTS, position=st.integers(1, 32))
def test_a_short_tail_is_exact(held: int, paid: int, returned: int, position: int) -> None:
    paid += ENDED_MIN

    found = probability(position, free=0, held=held, paid=paid, returned=returned)

    assert found == pytest.approx(counted(position, 0, held, paid + 1.4, returned + 0.6), abs=1e-6)


@given(held=st.integers(1, 400), paid=st.integers(20, 500), returned=st.integers(20, 500), ahead=st.integers(33, 400))
def test_a_long_tail_is_close_to_exact(held: int, paid: int, returned: int, ahead: int) -> None:
    found = probability(ahead + 1, free=3, held=held, paid=paid, returned=returned)

    assert found == pytest.approx(counted(ahead + 1, 3, held, paid + 1.4, returned + 0.6), abs=0.05)


def test_what_is_told_comes_true_in_sales_played_through() -> None:
    rng = random.Random(5)
    found = probability(12, free=0, held=40, paid=7_000, returned=3_000)
    assert found is not None

    won = 0
    for _ in range(4_000):
        payers = sum(rng.random() < 0.7 for _ in range(40 + 11))
        won += payers < 40

    assert won / 4_000 == pytest.approx(found, abs=0.03)
