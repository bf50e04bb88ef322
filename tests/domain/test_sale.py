"""What may be sold, what the clock makes of a sale, and where its units are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales import HOUR, NOW, a_sale, some_terms
from doorbuster.domain import limits
from doorbuster.domain.money import CURRENCIES
from doorbuster.domain.sale import (
    Availability,
    AvailabilityState,
    PaymentMode,
    Sale,
    SaleMode,
    SaleTerms,
    availability,
    change_refused,
    problems_of,
    status_at,
    terms_of,
)
from doorbuster.domain.transitions import SALE_OVER, SaleStatus

DAY = 24 * HOUR
BAD_TERMS: list[tuple[str, object, str]] = [
    ("product_id", "", "product_id must not be empty"),
    ("product_id", " \u00a0", "product_id must not be empty"),
    ("product_id", "p" * 201, "product_id has 201 characters"),
    ("product_id", "p\x00", "product_id must not contain control characters"),
    ("title", "", "title must not be empty"),
    ("title", "t" * 201, "title has 201 characters"),
    ("title", "a\nb", "title must not contain control characters"),
    ("title", "a\x7f", "title must not contain control characters"),
    ("quantity_available", 0, "quantity_available is 0"),
    ("quantity_available", -50, "quantity_available is -50"),
    ("quantity_available", limits.QUANTITY_MAX + 1, "quantity_available is"),
    ("price_cents", -1, "price_cents is -1"),
    ("price_cents", limits.PRICE_CENTS_MAX + 1, "price_cents is"),
    ("per_user_limit", 0, "per_user_limit is 0"),
    ("per_user_limit", limits.PER_USER_LIMIT_MAX + 1, "per_user_limit is"),
    ("checkout_ttl_seconds", 0, "checkout_ttl_seconds is 0"),
    ("checkout_ttl_seconds", limits.CHECKOUT_TTL_SECONDS_MAX + 1, "checkout_ttl_seconds is"),
    ("payment_attempts", 0, "payment_attempts is 0"),
    ("payment_attempts", limits.PAYMENT_ATTEMPTS_MAX + 1, "payment_attempts is"),
    ("currency", "usd", "currency 'usd' is not"),
    ("currency", "XXX", "currency 'XXX' is not"),
    ("currency", "", "currency '' is not"),
    ("end_ms", NOW + HOUR, "end_time must be after start_time"),
    ("end_ms", NOW + HOUR - 1, "end_time must be after start_time"),
    ("end_ms", NOW + HOUR + 31 * DAY + 1, "the window is longer than 31 days"),
]
GOOD_TERMS: list[tuple[str, object]] = [
    ("product_id", "p" * 200),
    ("title", "t"),
    ("title", "日本のランプ"),
    ("quantity_available", 1),
    ("quantity_available", limits.QUANTITY_MAX),
    ("price_cents", 0),
    ("price_cents", limits.PRICE_CENTS_MAX),
    ("per_user_limit", limits.PER_USER_LIMIT_MAX),
    ("checkout_ttl_seconds", limits.CHECKOUT_TTL_SECONDS_MIN),
    ("checkout_ttl_seconds", limits.CHECKOUT_TTL_SECONDS_MAX),
    ("payment_attempts", limits.PAYMENT_ATTEMPTS_MAX),
    ("currency", "JPY"),
    ("end_ms", NOW + HOUR + 1),
    ("end_ms", NOW + HOUR + 31 * DAY),
    ("start_ms", NOW - HOUR),
]


@pytest.mark.parametrize(("name", "value", "problem"), BAD_TERMS)
def test_bad_term_is_named(name: str, value: object, problem: str) -> None:
    found = problems_of(some_terms(**{name: value}), now_ms=NOW)

    assert len(found) == 1
    assert found[0].startswith(problem)


def test_every_problem_is_named_at_once() -> None:
    terms = some_terms(title="", quantity_available=0, currency="?", end_ms=NOW - 1)

    found = problems_of(terms, now_ms=NOW)

    assert len(found) == 5


@pytest.mark.parametrize(("now_ms", "problems"), [(NOW + 2 * HOUR - 1, 0), (NOW + 2 * HOUR, 1)])
def test_sale_that_would_be_over_is_refused(now_ms: int, problems: int) -> None:
    assert len(problems_of(some_terms(), now_ms=now_ms)) == problems


@pytest.mark.parametrize(("name", "value"), GOOD_TERMS)
def test_term_at_its_bound_is_allowed(name: str, value: object) -> None:
    assert problems_of(some_terms(**{name: value}), now_ms=NOW) == []


def test_currencies_are_codes_of_three_letters() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
    assert {"USD", "EUR", "JPY", "CHF"} <= CURRENCIES
    assert not {"XXX", "XTS", "XAU"} & CURRENCIES


@pytest.mark.parametrize(
    ("sold", "paid", "expected"),
    [
        (0, 0, Availability(AvailabilityState.OPEN, 10, 0, 0)),
        (9, 9, Availability(AvailabilityState.OPEN, 1, 0, 9)),
        (10, 0, Availability(AvailabilityState.ALL_HELD, 0, 10, 0)),
        (10, 9, Availability(AvailabilityState.ALL_HELD, 0, 1, 9)),
        (10, 10, Availability(AvailabilityState.SOLD_OUT, 0, 0, 10)),
    ],
)
def test_sold_out_is_said_when_every_unit_is_paid(sold: int, paid: int, expected: Availability) -> None:
    """I14."""
    assert availability(a_sale(quantity_sold=sold, quantity_paid=paid)) == expected


@given(st.integers(1, 1_000), st.data())
def test_units_add_up_to_the_quantity(quantity: int, data: st.DataObject) -> None:
    sold = data.draw(st.integers(0, quantity))
    paid = data.draw(st.integers(0, sold))

    found = availability(a_sale(quantity_available=quantity, quantity_sold=sold, quantity_paid=paid))

    assert found.free + found.held + found.sold == quantity
    assert min(found.free, found.held, found.sold) >= 0


START, END = NOW + HOUR, NOW + 2 * HOUR
MOMENTS = [(START - 1, "before"), (START, "within"), (END - 1, "within"), (END, "after")]


@pytest.mark.parametrize(("now_ms", "when"), MOMENTS)
@pytest.mark.parametrize("stored", SaleStatus)
def test_clock_opens_and_ends_a_sale(stored: SaleStatus, now_ms: int, when: str) -> None:
    found = status_at(a_sale(status=stored), now_ms)

    if stored in SALE_OVER:
        assert found is stored
    elif when == "after":
        assert found is SaleStatus.ENDED
    elif when == "within" and stored is SaleStatus.SCHEDULED:
        assert found is SaleStatus.ACTIVE
    else:
        assert found is stored


CHANGES: dict[str, object] = {
    "product_id": "p-2",
    "title": "Lamps",
    "quantity_available": 20,
    "price_cents": 1_000,
    "currency": "EUR",
    "start_ms": START - 1,
    "end_ms": END + 1,
    "mode": SaleMode.QUEUE,
    "payment_mode": PaymentMode.AUTO,
    "per_user_limit": 2,
    "checkout_ttl_seconds": 60,
    "payment_attempts": 5,
    "standby_limit": 7,
    "claim_window_seconds": 30,
    "entry_opens_ms": NOW + 1,
    "beacon_round": 9,
    "max_lapsed_holds": 3,
}
NEVER_CHANGE = {"mode", "beacon_round"}
MAY_CHANGE_WHILE_SELLING = {
    "title",
    "quantity_available",
    "end_ms",
    "per_user_limit",
    "checkout_ttl_seconds",
    "payment_attempts",
    "standby_limit",
    "claim_window_seconds",
    "max_lapsed_holds",
}


def test_every_term_is_tried() -> None:
    assert set(CHANGES) == set(SaleTerms.__struct_fields__)


@pytest.mark.parametrize("name", CHANGES)
def test_what_buyers_were_promised_stays(name: str) -> None:
    sale, changed = a_sale(), some_terms(**{name: CHANGES[name]})

    before = change_refused(sale, changed, now_ms=START - 1)
    within = change_refused(sale, changed, now_ms=START)
    over = change_refused(sale, changed, now_ms=END)

    assert (before is None) == (name not in NEVER_CHANGE)
    assert (within is None) == (name in MAY_CHANGE_WHILE_SELLING)
    assert over is not None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"standby_limit": 1}, "standby_limit"),
        ({"claim_window_seconds": 60}, "claim_window_seconds"),
        ({"entry_opens_ms": NOW}, "entry_opens_ms"),
        ({"mode": SaleMode.QUEUE, "beacon_round": 1}, "beacon_round"),
        ({"mode": SaleMode.QUEUE, "standby_limit": -1}, "standby_limit"),
        ({"mode": SaleMode.QUEUE, "claim_window_seconds": 4}, "claim_window_seconds"),
        ({"mode": SaleMode.QUEUE, "claim_window_seconds": 601}, "claim_window_seconds"),
        ({"mode": SaleMode.DRAW, "entry_opens_ms": START}, "entry_opens_at"),
        ({"mode": SaleMode.DRAW, "beacon_round": 0}, "beacon_round"),
    ],
)
def test_terms_of_a_line_that_make_no_sense_are_named(changes: dict[str, object], word: str) -> None:
    [problem] = problems_of(some_terms(**changes), now_ms=NOW)

    assert word in problem


def test_terms_of_a_line_may_be_at_their_bounds() -> None:
    terms = some_terms(
        mode=SaleMode.DRAW, standby_limit=0, claim_window_seconds=5, entry_opens_ms=START - 1, beacon_round=1
    )

    assert problems_of(terms, now_ms=NOW) == []


@pytest.mark.parametrize("status", sorted(SALE_OVER))
def test_sale_that_is_over_is_not_changed(status: SaleStatus) -> None:
    assert change_refused(a_sale(status=status), some_terms(title="Lamps"), now_ms=NOW) is not None


def test_refused_change_says_which_terms_are_fixed() -> None:
    refused = change_refused(a_sale(), some_terms(price_cents=1, currency="EUR"), now_ms=START)

    assert refused is not None
    assert "price_cents, currency" in refused


def test_terms_of_a_sale_are_its_terms() -> None:
    terms = some_terms(title="Lamps", per_user_limit=3, payment_mode=PaymentMode.EXTERNAL)
    sale: Sale = a_sale(title="Lamps", per_user_limit=3, payment_mode=PaymentMode.EXTERNAL)

    assert terms_of(sale) == terms
    assert type(terms_of(sale)) is SaleTerms
