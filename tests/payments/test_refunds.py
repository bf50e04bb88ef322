"""Money given back: once, whole, with its units, whoever asks how often and whatever dies (C42)."""

import asyncio

import pytest

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus, PaymentState, SaleStatus
from doorbuster.engine.ports import Actor
from payments.shop import OPERATOR, Cut, KilledError, Shop

WHY = Actor(name="operator", reason="it arrived broken")


async def paid(shop: Shop) -> Order:
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")
    return await shop.read(order)


@pytest.mark.parametrize("order_id", ["", "nonsense", "018bcfe5-6801-7226-b63c-5ab791b7584a"])
async def test_order_that_is_not_there_is_not_found(shop: Shop, order_id: str) -> None:
    answer = await shop.refunding().refund(order_id, WHY)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.NOT_FOUND


async def test_order_that_is_reserved_has_nothing_to_refund(shop: Shop) -> None:
    order = await shop.order()

    answer = await shop.refunding().refund(order.order_id, WHY)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT
    assert await shop.read(order) == order


async def test_order_that_was_cancelled_has_nothing_to_refund(shop: Shop) -> None:
    order = await shop.order()
    await shop.stores.orders.cancel(order.order_id, user_id=None, actor=OPERATOR)

    answer = await shop.refunding().refund(order.order_id, WHY)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT


async def test_refund_gives_money_and_units_back(shop: Shop) -> None:
    """SCENARIOS 23: the buyer's allowance is free again, and the unit is on sale."""
    order = await paid(shop)
    before = await shop.sale()

    answer = await shop.refunding().refund(order.order_id, WHY)

    assert isinstance(answer, Order)
    assert answer.status is OrderStatus.PAID
    assert await shop.states(order) == [PaymentState.REFUNDED]
    after = await shop.sale()
    assert (after.quantity_sold, after.quantity_paid) == (before.quantity_sold - 1, before.quantity_paid - 1)
    assert [(line.captured_cents, line.refunded_cents) for line in await shop.charges(order)] == [(1999, 1999)]
    again = await shop.order(buyer=order.user_id)
    assert again.status is OrderStatus.RESERVED


async def test_many_refunds_of_one_order_are_one(shop: Shop) -> None:
    order = await paid(shop)
    desks = [shop.refunding() for _ in range(20)]

    answers = await asyncio.gather(*(desk.refund(order.order_id, WHY) for desk in desks))

    assert all(isinstance(answer, Order) for answer in answers)
    assert await shop.states(order) == [PaymentState.REFUNDED]
    assert [line.refunded_cents for line in await shop.charges(order)] == [1999]
    assert (await shop.sale()).quantity_sold == 0


async def test_free_order_is_refunded_without_a_gateway(shop: Shop) -> None:
    await shop.open(price_cents=0)
    order = await paid(shop)

    await shop.refunding(gateway=Cut(shop.gateway, before="refund")).refund(order.order_id, WHY)

    assert await shop.states(order) == [PaymentState.REFUNDED]
    assert (await shop.sale()).quantity_sold == 0


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_refund_whose_caller_dies_is_finished_once(shop: Shop, lost: str) -> None:
    """C42: sent or not, the answer is lost; the resolver repeats it under the same key."""
    order = await paid(shop)
    cut = Cut(shop.gateway, **{lost: "refund"})
    attempt = await shop.stores.payments.refund(order.order_id, WHY)
    assert not isinstance(attempt, Refusal)

    with pytest.raises(KilledError):
        await shop.resolver(gateway=cut).run_once(shop.clock.now_ms())
    assert await shop.states(order) == [PaymentState.REFUND_DUE]
    await shop.stores.payments.claim(gateway="simulated", quiet_ms=0, limit=10)
    await shop.resolve()

    assert await shop.states(order) == [PaymentState.REFUNDED]
    assert [line.refunded_cents for line in await shop.charges(order)] == [1999]


async def test_abort_refunds_everything_that_was_paid(shop: Shop) -> None:
    orders = [await paid(shop) for _ in range(3)]
    reserved = await shop.order()
    await shop.stores.sales.move(shop.sale_id, SaleStatus.CANCELLED, OPERATOR)

    begun = await shop.refunding().refund_aborted(shop.sale_id, OPERATOR)
    again = await shop.refunding().refund_aborted(shop.sale_id, OPERATOR)
    await shop.resolve()

    assert (begun, again) == (3, 0)
    assert [await shop.states(order) for order in orders] == [[PaymentState.REFUNDED]] * 3
    assert (await shop.read(reserved)).status is OrderStatus.RESERVED
    assert (await shop.sale()).quantity_paid == 0


async def test_sale_that_goes_on_refunds_nothing_by_itself(shop: Shop) -> None:
    order = await paid(shop)

    assert await shop.refunding().refund_aborted(shop.sale_id, OPERATOR) == 0
    assert await shop.states(order) == [PaymentState.CAPTURED]
