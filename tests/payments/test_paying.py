"""What a buyer who pays is told, and what it does to the order. Refusals first."""

import asyncio

import pytest

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import FREE_GATEWAY
from doorbuster.domain.sale import PaymentMode
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from payments.shop import OPERATOR, Shop


def code_of(answer: Paid | Refusal) -> Code | None:
    return answer.code if isinstance(answer, Refusal) else None


async def test_an_unknown_order_is_not_found(shop: Shop) -> None:
    gate = shop.gate()

    unknown = await gate.pay("018f0000-0000-7000-8000-000000000000", "buyer", payment_method="pm_ok", key="k")
    unreadable = await gate.pay("no id", "buyer", payment_method="pm_ok", key="k")
    impossible = await gate.pay("018f0000-0000-7000-8000-000000000000", "b\0", payment_method="pm_ok", key="k")

    assert [code_of(answer) for answer in (unknown, unreadable, impossible)] == [Code.NOT_FOUND] * 3


async def test_a_strangers_order_is_not_found(shop: Shop) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, "somebody else", payment_method="pm_ok", key="k")

    assert code_of(answer) is Code.NOT_FOUND
    assert await shop.attempts(order) == []


@pytest.mark.parametrize(
    "method", ["4242424242424242", "4242 4242 4242 4242", "pm_4242-4242-4242-4242", "", "a b", "é"]
)
async def test_a_card_number_or_no_token_is_refused_unread(shop: Shop, method: str) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method=method, key="k")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.INVALID_REQUEST
    assert "4242" not in answer.detail
    assert await shop.attempts(order) == []


async def test_a_key_that_cannot_be_kept_is_refused(shop: Shop) -> None:
    order = await shop.order()

    answers = [
        await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key=key)
        for key in ("\0", "\ud800")
    ]

    assert [code_of(answer) for answer in answers] == [Code.INVALID_REQUEST] * 2
    assert await shop.attempts(order) == []


async def test_a_key_with_another_body_is_refused(shop: Shop) -> None:
    order = await shop.order()
    gate = shop.gate()
    await gate.pay(order.order_id, order.user_id, payment_method="pm_declined", key="k")

    answer = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert code_of(answer) is Code.IDEMPOTENCY_MISMATCH
    assert await shop.states(order) == [PaymentState.DECLINED]
    assert (await shop.read(order)).status is OrderStatus.RESERVED


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_unheard_of", "invalid_payment_method"),
    ],
)
async def test_a_declined_payment_leaves_the_order_reserved(shop: Shop, method: str, reason: str) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method=method, key="k")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.PAYMENT_DECLINED
    assert reason in answer.detail
    after = await shop.read(order)
    assert after.status is OrderStatus.RESERVED
    assert after.payment is not None
    assert (after.payment.state, after.payment.decline_reason) == (PaymentState.DECLINED, reason)


async def test_a_declined_payment_answers_its_key_the_same_again(shop: Shop) -> None:
    order = await shop.order()
    first = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_declined", key="k")

    second = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_declined", key="k")

    assert second == first
    assert len(await shop.attempts(order)) == 1


async def test_another_method_pays_after_a_decline(shop: Shop) -> None:
    order = await shop.order()
    gate = shop.gate()
    await gate.pay(order.order_id, order.user_id, payment_method="pm_declined", key="k1")

    answer = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k2")

    assert isinstance(answer, Paid)
    assert answer.settled
    assert answer.order.status is OrderStatus.PAID
    assert await shop.states(order) == [PaymentState.DECLINED, PaymentState.CAPTURED]


async def test_attempts_are_used_up_by_declines(shop: Shop) -> None:
    await shop.open(attempts=2)
    order = await shop.order()
    gate = shop.gate()
    for key in ("k1", "k2"):
        await gate.pay(order.order_id, order.user_id, payment_method="pm_declined", key=key)

    answer = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k3")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.ORDER_CLOSED
    assert (await shop.read(order)).status is OrderStatus.CANCELLED
    assert await shop.states(order) == [PaymentState.DECLINED] * 2


async def test_a_failing_gateway_uses_up_no_attempt(shop: Shop) -> None:
    await shop.open(attempts=1)
    order = await shop.order()
    gate = shop.gate()

    failed = await gate.pay(order.order_id, order.user_id, payment_method="pm_error", key="k1")
    answer = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k2")

    assert isinstance(failed, Refusal)
    assert failed.code is Code.PAYMENT_DECLINED
    assert "nothing was charged" in failed.detail
    assert isinstance(answer, Paid)
    assert await shop.states(order) == [PaymentState.VOIDED, PaymentState.CAPTURED]


async def test_a_closed_order_takes_no_money(shop: Shop) -> None:
    order = await shop.order()
    await shop.stores.orders.cancel(order.order_id, user_id=order.user_id, actor=OPERATOR)

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert code_of(answer) is Code.ORDER_CLOSED
    assert await shop.attempts(order) == []


async def test_a_hold_that_ran_out_takes_no_money(shop: Shop) -> None:
    order = await shop.order()
    await shop.stores.run_out(order.order_id)

    before_the_expirer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")
    expired = await shop.stores.orders.expire_due(limit=10)
    after_the_expirer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert code_of(before_the_expirer) is Code.ORDER_CLOSED
    assert expired == 1
    assert code_of(after_the_expirer) is Code.ORDER_CLOSED
    assert await shop.attempts(order) == []


async def test_an_aborted_sale_takes_no_money(shop: Shop) -> None:
    order = await shop.order()
    await shop.abort()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert code_of(answer) is Code.ORDER_CLOSED
    assert await shop.attempts(order) == []


async def test_a_sale_paid_elsewhere_takes_no_money_here(shop: Shop) -> None:
    await shop.open(mode=PaymentMode.EXTERNAL)
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert code_of(answer) is Code.CONFLICT
    assert await shop.attempts(order) == []


async def test_a_paid_order_is_not_paid_twice(shop: Shop) -> None:
    order = await shop.order()
    gate = shop.gate()
    first = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k1")

    same_key = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k1")
    other_key = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k2")

    assert isinstance(first, Paid)
    assert same_key == first
    assert code_of(other_key) is Code.ORDER_CLOSED
    assert len(await shop.charges(order)) == 1


async def test_too_many_at_once_wait_or_are_told(shop: Shop) -> None:
    gate = shop.gate(at_once=1, answer_s=0.5)
    slow, waiting = await shop.order(), await shop.order()

    first, second = await asyncio.gather(
        gate.pay(slow.order_id, slow.user_id, payment_method="pm_slow", key="k"),
        gate.pay(waiting.order_id, waiting.user_id, payment_method="pm_ok", key="k"),
    )

    assert isinstance(first, Paid)
    assert not first.settled
    assert isinstance(second, Refusal)
    assert (second.code, second.retry_after_ms is not None) == (Code.UNAVAILABLE, True)
    assert await shop.attempts(waiting) == []


async def test_the_whole_order_is_charged_exactly(shop: Shop) -> None:
    await shop.open(price_cents=12_345, limit=3)
    order = await shop.order(quantity=3)

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    assert isinstance(answer, Paid)
    assert answer.order.status is OrderStatus.PAID
    assert answer.order.payment is not None
    assert answer.order.payment.state is PaymentState.CAPTURED
    (charge,) = await shop.charges(order)
    assert (charge.captured_cents, charge.currency) == (37_035, "USD")
    assert (await shop.sale()).quantity_paid == 3


async def test_a_slow_gateway_is_waited_for(shop: Shop) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_slow", key="k")

    assert isinstance(answer, Paid)
    assert answer.settled


async def test_who_does_not_wait_is_told_it_goes_on(shop: Shop) -> None:
    order = await shop.order()
    gate = shop.gate(answer_s=0.3)

    early = await gate.pay(order.order_id, order.user_id, payment_method="pm_slow", key="k")
    again = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_slow", key="k")
    await gate.stop()
    late = await gate.pay(order.order_id, order.user_id, payment_method="pm_slow", key="k")

    assert isinstance(early, Paid)
    assert (early.settled, early.order.status) == (False, OrderStatus.RESERVED)
    assert isinstance(again, Paid)
    assert not again.settled
    assert isinstance(late, Paid)
    assert late.settled
    assert len(await shop.charges(order)) == 1


async def test_a_free_order_is_paid_without_a_gateway(shop: Shop) -> None:
    await shop.open(price_cents=0)
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_declined", key="k")
    again = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_declined", key="k")

    assert isinstance(answer, Paid)
    assert answer.order.status is OrderStatus.PAID
    assert answer.order.payment is not None
    assert (answer.order.payment.gateway, answer.order.payment.amount_cents) == (FREE_GATEWAY, 0)
    assert again == answer
    assert await shop.charges(order) == []
    assert (await shop.sale()).quantity_paid == 1
