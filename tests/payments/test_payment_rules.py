"""The pure rules of paying: keys, bounds, and what is never taken for a payment method."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.domain.payment import (
    PAYMENT_ATTEMPT_MS,
    PAYMENT_OPEN,
    PAYMENT_UNFINISHED,
    Attempt,
    Operation,
    gateway_key,
    looks_like_card_number,
    may_confirm,
    may_send,
    payment_method_problem,
    short_reason,
)
from doorbuster.domain.transitions import PAYMENT_ARROWS, OrderStatus, PaymentState
from payments.conformance import fresh_attempt


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "378282246310005",
        "6011000990139424",
        "card:4242424242424242!",
        "5019717010103742",
        "4222222222222",
    ],
)
def test_a_card_number_is_recognized_however_written(text: str) -> None:
    problem = payment_method_problem(text)

    assert looks_like_card_number(text)
    assert problem is not None
    assert text not in problem


@pytest.mark.parametrize("text", ["pm_ok", "pm_1PqXyz0123456789abcd", "tok_4242", "4242424242424241", "0" * 30])
def test_a_token_is_no_card_number(text: str) -> None:
    assert not looks_like_card_number(text)
    assert payment_method_problem(text) is None


@given(st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_every_number_with_its_check_digit_is_refused(digits: str) -> None:
    checked = [digits + last for last in "0123456789" if looks_like_card_number(digits + last)]

    assert len(checked) == 1


@pytest.mark.parametrize("text", ["", " ", "pm ok", "pm\n", "ä", "x" * 256])
def test_what_is_no_token_is_refused(text: str) -> None:
    assert payment_method_problem(text) is not None


def test_a_gateways_words_are_made_fit_to_show() -> None:
    assert short_reason("card\ndeclined") == "card declined"
    assert short_reason("4242424242424242 is not accepted") == "declined"
    assert short_reason("") == "declined"
    assert len(short_reason("x" * 1000)) == 100


def test_every_fact_of_an_attempt_is_in_its_keys() -> None:
    attempt = fresh_attempt("pm_ok")
    others = [
        msgspec.structs.replace(attempt, attempt=2),
        msgspec.structs.replace(attempt, amount_cents=2000),
        msgspec.structs.replace(attempt, currency="EUR"),
        msgspec.structs.replace(attempt, order=msgspec.structs.replace(attempt.order, order_id="o")),
        msgspec.structs.replace(attempt, order=msgspec.structs.replace(attempt.order, sale_id="s")),
    ]

    keys = {gateway_key(attempt, operation) for operation in Operation}
    keys |= {gateway_key(other, Operation.AUTHORIZE) for other in others}

    assert len(keys) == len(Operation) + len(others)
    assert gateway_key(msgspec.structs.replace(attempt, state=PaymentState.VOIDED), Operation.CAPTURE) in keys


def _at(attempt: Attempt, *, status: OrderStatus = OrderStatus.RESERVED, expires_ms: int) -> Attempt:
    order = msgspec.structs.replace(attempt.order, status=status, expires_ms=expires_ms)
    return msgspec.structs.replace(attempt, order=order)


def test_an_attempt_is_sent_only_while_young() -> None:
    fresh = fresh_attempt("pm_ok")

    assert may_send(_at(fresh, expires_ms=10**9), PAYMENT_ATTEMPT_MS - 1)
    assert may_send(_at(fresh, expires_ms=100), 100)
    assert not may_send(_at(fresh, expires_ms=10**9), PAYMENT_ATTEMPT_MS)
    assert not may_send(_at(fresh, expires_ms=10**9, status=OrderStatus.CANCELLED), 0)


def test_authorized_money_buys_while_the_hold_lives_or_the_attempt_is_young() -> None:
    fresh = fresh_attempt("pm_ok")

    assert may_confirm(_at(fresh, expires_ms=10**9), PAYMENT_ATTEMPT_MS + 1)
    assert may_confirm(_at(fresh, expires_ms=1), PAYMENT_ATTEMPT_MS - 1)
    assert not may_confirm(_at(fresh, expires_ms=1), PAYMENT_ATTEMPT_MS)
    assert not may_confirm(_at(fresh, expires_ms=10**9, status=OrderStatus.EXPIRED), 0)


def test_every_state_but_an_end_is_led_on_by_somebody() -> None:
    ends = {state for state, after in PAYMENT_ARROWS.items() if not after}

    assert set(PaymentState) - ends - {PaymentState.CAPTURED} == PAYMENT_UNFINISHED
    assert PAYMENT_OPEN < PAYMENT_UNFINISHED
