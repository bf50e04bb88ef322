"""Every refusal has one status, wherever it is said; the table here is the contract of the HTTP interface."""

import pytest

from doorbuster.domain.outcomes import RULES, Code, Refusal

CONTRACT = """
sold-out          409  never
all-held          409  after
already-purchased 409  never
limit-exceeded    409  changed
not-started       409  after
ended             410  never
paused            503  after
blocked           403  never
not-admitted      403  never
order-closed      409  never
not-found         404  never
invalid-request   422  changed
idempotency-key-missing 400 changed
idempotency-mismatch    422 changed
unauthenticated   401  changed
forbidden         403  never
rate-limited      429  after
unavailable       503  after
payment-declined  402  changed
conflict          409  never
"""
"""Code, status, and when a repeat may go differently. `after` is said with Retry-After."""

ROWS = {code: (int(status), retry) for code, status, retry in map(str.split, CONTRACT.strip().splitlines())}


def test_there_is_no_other_refusal() -> None:
    assert {code.value for code in Code} == set(ROWS)


@pytest.mark.parametrize("code", Code)
def test_refusal_has_the_status_of_the_contract(code: Code) -> None:
    rule = Refusal(code).rule

    assert rule is RULES[code]
    assert (rule.status, rule.retry) == ROWS[code.value]


@pytest.mark.parametrize("code", Code)
def test_refusal_says_what_happened_and_what_to_do(code: Code) -> None:
    rule = RULES[code]

    assert rule.title
    assert rule.title == rule.title.rstrip(".")
    assert rule.advice.endswith(".")


def test_all_held_and_sold_out_are_two_words() -> None:
    assert RULES[Code.ALL_HELD].retry == "after"
    assert RULES[Code.SOLD_OUT].retry == "never"
    assert RULES[Code.ALL_HELD].title != RULES[Code.SOLD_OUT].title


def test_who_is_calling_is_asked_before_anything_is_told() -> None:
    order = list(Code)

    assert order[:2] == [Code.UNAUTHENTICATED, Code.FORBIDDEN]
    assert order.index(Code.RATE_LIMITED) < order.index(Code.NOT_FOUND) < order.index(Code.SOLD_OUT)
    assert order.index(Code.IDEMPOTENCY_MISMATCH) < order.index(Code.PAUSED)
