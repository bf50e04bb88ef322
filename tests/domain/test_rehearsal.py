"""The crowd of a rehearsal, the terms of its shadow sale, and what makes a go a no-go."""

from typing import Any

import msgspec
import pytest

from domain.sales import a_sale as sale
from doorbuster.domain.rehearsal import (
    CROWD_MAX,
    Cast,
    Counted,
    Seen,
    Verdict,
    Wish,
    cast,
    foreign,
    judge,
    shadow_terms,
    wish_problem,
)
from doorbuster.domain.sale import PaymentMode, SaleMode, problems_of

SEEN = Seen(
    requests=1_000, arrived=300, tired=0, lost=0, answers={"reserved": 100, "all-held": 800}, p50_ms=10.0, p99_ms=90.0,
    max_ms=120.0, peak_per_s=400.0, orders=100, paid=100, bots_paid=60, cpu_share=0.2,
)  # fmt: skip
COUNTED = Counted(units=100, paid_units=100, most_per_buyer=1, missing=0, audit="in_step")
WHO = Cast(expected=200, wanted=300, buyers=300)
SALE = sale(quantity_available=100)


def sheet(seen: dict[str, Any] | None = None, counted: dict[str, Any] | None = None, **others: Any) -> Any:
    given: dict[str, Any] = {"who": WHO, "busiest": 0.5, "gates": 2, "differs": [], **others}
    return judge(
        SALE,
        seen=msgspec.structs.replace(SEEN, **(seen or {})),
        counted=msgspec.structs.replace(COUNTED, **(counted or {})),
        **given,
    )


def test_all_well_is_a_go() -> None:
    found = sheet()
    assert (found.verdict, found.reasons) == (Verdict.GO, [])
    assert all(check.held for check in found.checks)
    assert (found.figures["headroom"], found.figures["bots"]) == (3.0, 120)


@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        ({"counted": {"units": 101}}, "101 of 100 units were sold"),
        ({"counted": {"most_per_buyer": 2}}, "one buyer got 2, not 1"),
        ({"counted": {"units": 0, "paid_units": 0}}, "nothing was sold"),
        ({"counted": {"units": 0, "paid_units": 0}, "seen": {"answers": {"not-found": 300}}}, "nothing was sold"),
        ({"counted": {"units": 97, "paid_units": 97}, "seen": {"tired": 2}}, "3 units were left, and 2 buyers"),
        ({"counted": {"units": 99, "paid_units": 99}, "seen": {"turned_away": 1}}, "1 units were left, and 1 buyers"),
        ({"counted": {"missing": 3}}, "3 orders that buyers were told of"),
        ({"counted": {"audit": "diverged"}}, "the audit says diverged"),
        ({"seen": {"arrived": 299}}, "only 299 of 300 buyers came"),
        ({"seen": {"lost": 11}}, "11 of 1000 requests"),
        ({"seen": {"answers": {"unavailable": 11, "reserved": 100}}}, "11 of 1000 requests"),
        ({"seen": {"answers": {"500": 6, "internal": 6}}}, "12 of 1000 requests"),
        ({"seen": {"answers": {"not-found": 11}}}, "11 of 1000 requests"),
        ({"seen": {"answers": {"unauthenticated": 5, "401": 3, "404": 3}}}, "11 of 1000 requests"),
        ({"seen": {"requests": 0}}, "of 0 requests"),
        ({"seen": {"p99_ms": 2_001.0}}, "p99 was 2,001 ms"),
        ({"seen": {"tired": 4}}, "4 of 300 buyers were never told"),
        ({"busiest": 0.0}, "no gate said how busy it was"),
        ({"busiest": 1.0, "who": Cast(expected=300, wanted=300, buyers=300)}, "room for 1.0 times the expected crowd"),
    ],
)
def test_each_failing_makes_it_a_no_go_and_says_why(trouble: dict[str, Any], word: str) -> None:
    found = sheet(**trouble)
    assert found.verdict is Verdict.NO_GO
    assert len([reason for reason in found.reasons if word in reason]) == 1, found.reasons


@pytest.mark.parametrize("share", [{"lost": 10}, {"p99_ms": 2_000.0}, {"tired": 3}])
def test_the_bound_itself_is_good_enough(share: dict[str, Any]) -> None:
    assert sheet(share).verdict is Verdict.GO


def test_an_answer_that_is_a_decision_is_no_error() -> None:
    answers = {"rate-limited": 900, "sold-out": 90, "already-purchased": 10}
    assert sheet({"answers": answers}).verdict is Verdict.GO


def test_capacity_of_a_gate_is_by_its_busiest_second_if_that_says_anything() -> None:
    """Two gates answered 400 in a second, at half a core each."""
    assert sheet().figures["gate_capacity"] == 400
    assert sheet(busiest=0.19).figures["gate_capacity"] is None
    assert sheet(gates=0).figures["gate_capacity"] is None


def test_crowd_that_is_too_big_to_be_made_is_said_and_its_rest_is_by_the_head_room() -> None:
    """Half the expected crowd came: the gates have to be less than half busy, with something to spare."""
    who = Cast(expected=200_000, wanted=300_000, buyers=100_000)
    seen = {"arrived": 100_000}
    good, full = sheet(seen, who=who, busiest=0.38), sheet(seen, who=who, busiest=0.39)
    assert good.verdict is Verdict.GO
    assert [line for line in good.differs if "100000 buyers came, not 300000" in line]
    assert (full.verdict, "room for 1.3 times the expected crowd" in full.reasons[0]) == (Verdict.NO_GO, True)
    assert sheet().differs == []


def test_units_may_be_left_when_nobody_wanted_them() -> None:
    """Fewer buyers than units, or people who would not wait for what others held."""
    assert sheet(counted={"units": 60, "paid_units": 60}).verdict is Verdict.GO


def test_room_is_counted_in_crowds_that_are_expected() -> None:
    """With one and a half crowds the gates were half busy: three crowds fit."""
    assert "room for 3.0 times the expected crowd" in sheet().checks[-1].words


@pytest.mark.parametrize(
    ("wish", "expected", "wanted", "buyers"),
    [
        (Wish(), 1_000, 1_500, 1_500),
        (Wish(multiple=0.5), 1_001, 501, 501),
        (Wish(buyers=70, multiple=9.0), 1_000, 70, 70),
        (Wish(multiple=1.0), 0, 500, 500),
        (Wish(multiple=10.0), 50_000, 500_000, CROWD_MAX),
    ],
)
def test_size_of_the_crowd(wish: Wish, expected: int, wanted: int, buyers: int) -> None:
    assert cast(SALE, wish, expected) == Cast(expected=expected, wanted=wanted, buyers=buyers)


@pytest.mark.parametrize(("units", "buyers"), [(1, 200), (100, 500), (1_000_000, 2_000)])
def test_crowd_where_nobody_said_how_many_come(units: int, buyers: int) -> None:
    assert cast(sale(quantity_available=units), Wish(multiple=1.0), 0).buyers == buyers


@pytest.mark.parametrize(
    "wish",
    [Wish(multiple=0.0), Wish(multiple=10.1), Wish(multiple=float("nan")), Wish(buyers=-1), Wish(buyers=CROWD_MAX + 1),
     Wish(seconds=4), Wish(seconds=121)],
)  # fmt: skip
def test_wish_out_of_bounds_is_refused(wish: Wish) -> None:
    assert wish_problem(wish)


@pytest.mark.parametrize("mode", list(SaleMode))
@pytest.mark.parametrize("payment_mode", list(PaymentMode))
def test_shadow_can_be_sold_and_costs_nothing(mode: SaleMode, payment_mode: PaymentMode) -> None:
    real = sale(
        mode=mode,
        payment_mode=payment_mode,
        title="T" * 200,
        claim_window_seconds=60 if mode is not SaleMode.RACE else None,
        beacon_round=7 if mode is SaleMode.DRAW else None,
        entry_opens_ms=1 if mode is SaleMode.DRAW else None,
    )
    terms, differs = shadow_terms(real, now_ms=real.start_ms, seconds=60)
    assert problems_of(terms, now_ms=real.start_ms) == []
    assert (terms.price_cents, terms.payment_mode) == (0, PaymentMode.CHECKOUT)
    assert (terms.quantity_available, terms.per_user_limit, terms.mode) == (real.quantity_available, 1, mode)
    assert terms.title.startswith("Rehearsal: ")
    assert any("gateway" in line for line in differs)
    assert any(payment_mode.value in line for line in differs) == (payment_mode is not PaymentMode.CHECKOUT)


def test_crowd_of_many_processes_is_given_time_to_begin() -> None:
    few, many = (
        shadow_terms(SALE, now_ms=SALE.start_ms, seconds=60, buyers=buyers)[0].start_ms for buyers in (4_999, 100_000)
    )
    assert (few - SALE.start_ms, many - few) == (6_000, 10_000)


def test_crowd_and_buyers_are_kept_apart() -> None:
    real, shadow = SALE, msgspec.structs.replace(SALE, rehearsal_of=SALE.sale_id)
    assert not foreign(real, "ann")
    assert foreign(real, "rehearsal:1-7")
    assert foreign(shadow, "ann")
    assert not foreign(shadow, "rehearsal:1-7")
