"""The demo's proof of a line catches what it claims to catch."""

from collections.abc import Callable

import pytest

from doorbuster.cli.demo_line import LineCounted, figures_of, prove_line, summary_of
from doorbuster.rehearsal.crowd import Result
from doorbuster.rehearsal.line_seen import LineSeen


class Facts:
    """A line of two units, one of which came back and went to the third, that went well; each test spoils one thing."""

    def __init__(self) -> None:
        self.counted = LineCounted(
            start_ms=1_000,
            numbers=[1, 2, 3],
            stored={"o1": 1, "o2": 2, "o3": 3},
            granted_ms=[1_050, 1_060, 9_100],
            returned_ms=[9_000],
            last_paid_ms=9_500,
        )
        self.seen = LineSeen(
            joined=5, granted=3, told_over=2, first_over_ms=9_600, last_wait_ms=9_400, last_heard_ms=9_700,
            numbers={"o1": 1, "o2": 2, "o3": 3},
        )  # fmt: skip
        self.result = Result(
            requests=9, arrived=5, gone=5, orders=3, paid=2, unknown=0, tired=0, answers={}, p50_ms=1, p99_ms=1,
            max_ms=1, acknowledged={}, paid_orders=[], seen=self.seen,
        )  # fmt: skip

    def broken(self, *, sold_all: bool = True) -> list[str]:
        figures = figures_of(self.counted, self.seen, units=2, sold_all=sold_all)
        checks = prove_line(self.counted, self.result, self.seen, figures, sold_all=sold_all)
        return [check.claim for check in checks if not check.held]


def overtaken(facts: Facts) -> None:
    facts.counted.numbers = [1, 3, 2]


def granted_twice(facts: Facts) -> None:
    facts.counted.numbers = [1, 2, 2]


def granted_outside_the_line(facts: Facts) -> None:
    facts.counted.numbers = [1, None, 3]


def two_entries(facts: Facts) -> None:
    facts.seen.two_entries = 1


def entry_lost(facts: Facts) -> None:
    facts.seen.lost_entries = 1


def another_number(facts: Facts) -> None:
    facts.counted.stored["o3"] = 4


def still_waiting(facts: Facts) -> None:
    facts.seen.waiting = 1


def tired(facts: Facts) -> None:
    facts.result.tired = 1


def told_too_early(facts: Facts) -> None:
    facts.seen.first_over_ms = 9_000


def told_to_wait_for_nothing(facts: Facts) -> None:
    facts.seen.last_wait_ms = 11_600


def listeners_told_late(facts: Facts) -> None:
    facts.seen.last_heard_ms = 12_000


def place_rose(facts: Facts) -> None:
    facts.seen.position_rises = 1


def eta_rose(facts: Facts) -> None:
    facts.seen.silent_eta_rises = 1


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (overtaken, "strictly in line order"),
        (granted_twice, "strictly in line order"),
        (granted_outside_the_line, "strictly in line order"),
        (two_entries, "one entry per buyer"),
        (entry_lost, "one entry per buyer"),
        (another_number, "one entry per buyer"),
        (still_waiting, "everybody was told"),
        (tired, "everybody was told"),
        (told_too_early, "the truth, when it was true"),
        (told_to_wait_for_nothing, "the truth, when it was true"),
        (listeners_told_late, "the truth, when it was true"),
        (place_rose, "no place got worse"),
        (eta_rose, "no place got worse"),
    ],
)
def test_proof_of_a_line_names_what_is_broken(spoil: Callable[[Facts], None], claim: str) -> None:
    facts = Facts()
    assert facts.broken() == []

    spoil(facts)

    assert facts.broken() == [claim]


def test_nobody_may_be_told_that_it_is_over_while_units_are_left() -> None:
    facts = Facts()

    assert facts.broken(sold_all=False) == ["the truth, when it was true"]
    facts.seen.first_over_ms = None
    assert facts.broken(sold_all=False) == []


def test_figures_and_the_words_for_them() -> None:
    facts = Facts()

    figures = figures_of(facts.counted, facts.seen, units=2, sold_all=True)

    assert (figures.first_grant_ms, figures.last_unit_ms) == (50, 60)
    assert (figures.offered_again, figures.again_p50_ms, figures.again_max_ms) == (1, 100, 100)
    assert figures.told_over_ms == 200
    assert summary_of(figures, facts.seen)[0] == (
        "The first unit was offered 50 ms after the start, every unit was after 60 ms."
    )
