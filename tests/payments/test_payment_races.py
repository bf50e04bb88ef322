"""Many at once on one order, one at the end of its hold, and many orders in one batch."""

import asyncio

import pytest

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from payments.shop import OPERATOR, Shop, finished


async def test_two_payers_at_once_capture_once(shop: Shop) -> None:
    """Two gates, two keys, one order: one attempt, the other is told it is under way or done."""
    order = await shop.order()
    gates = [shop.gate() for _ in range(8)]

    answers = await asyncio.gather(
        *(gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key=f"k{n}") for n, gate in enumerate(gates))
    )

    settled = [answer for answer in answers if isinstance(answer, Paid) and answer.settled]
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(settled) == 1
    assert {answer.code for answer in refused} <= {Code.ORDER_CLOSED}
    assert await shop.states(order) == [PaymentState.CAPTURED]
    (charge,) = await shop.charges(order)
    assert charge.captured_cents == order.amount_cents


async def test_a_double_click_is_one_payment(shop: Shop) -> None:
    """One key, one gate: everyone gets the one result."""
    order = await shop.order()
    gate = shop.gate()

    answers = await asyncio.gather(
        *(gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k") for _ in range(5))
    )

    assert all(isinstance(answer, Paid) and answer.settled for answer in answers)
    assert len(await shop.charges(order)) == 1


async def test_two_tabs_on_two_gates_are_one_payment(shop: Shop) -> None:
    order = await shop.order()

    answers = await asyncio.gather(
        *(shop.gate().pay(order.order_id, order.user_id, payment_method="pm_slow", key="k") for _ in range(4))
    )

    assert all(isinstance(answer, Paid) for answer in answers)
    assert any(answer.settled for answer in answers if isinstance(answer, Paid))
    assert await shop.states(order) == [PaymentState.CAPTURED]
    assert len(await shop.charges(order)) == 1


@pytest.mark.parametrize("method", ["pm_ok", "pm_declined", "pm_capture_fails"])
async def test_pay_cancel_and_expire_at_once_have_one_winner(shop: Shop, method: str) -> None:
    """Scenario 8: whatever the order of events, the order ends once and money follows it."""
    await shop.open(units=20)
    orders = [await shop.order() for _ in range(20)]
    gates = [shop.gate(), shop.gate()]

    async def ending(number: int, order: Order) -> None:
        gate = gates[number % 2]
        await asyncio.gather(
            gate.pay(order.order_id, order.user_id, payment_method=method, key="k"),
            shop.stores.orders.cancel(order.order_id, user_id=order.user_id, actor=OPERATOR),
            _run_out_and_expire(shop, order),
        )

    await asyncio.gather(*(ending(number, order) for number, order in enumerate(orders)))
    await shop.stores.orders.expire_due(limit=100)

    statuses = {(await shop.read(order)).status for order in orders}
    assert statuses <= {OrderStatus.PAID, OrderStatus.CANCELLED, OrderStatus.EXPIRED}
    sale = await shop.sale()
    paid = sum([(await shop.read(order)).status is OrderStatus.PAID for order in orders])
    assert (sale.quantity_sold, sale.quantity_paid) == (paid, paid)


async def _run_out_and_expire(shop: Shop, order: Order) -> None:
    await shop.stores.run_out(order.order_id)
    await shop.stores.orders.expire_due(limit=10)


async def test_a_crowd_pays_in_batches(shop: Shop) -> None:
    """Whatever gathers goes together: good orders are not held up by refused ones beside them."""
    await shop.open(units=120)
    orders = [await shop.order() for _ in range(120)]
    await shop.stores.orders.cancel(orders[0].order_id, user_id=None, actor=OPERATOR)
    gate = shop.gate()

    answers = await asyncio.gather(
        *(
            gate.pay(order.order_id, order.user_id, payment_method="pm_declined" if n % 10 == 1 else "pm_ok", key="k")
            for n, order in enumerate(orders)
        ),
        gate.pay("018f0000-0000-7000-8000-000000000000", "nobody", payment_method="pm_ok", key="k"),
        gate.pay(orders[2].order_id, "b\0", payment_method="pm_ok", key="k"),
    )

    codes = [answer.code for answer in answers if isinstance(answer, Refusal)]
    assert sorted(codes) == sorted([Code.ORDER_CLOSED] + [Code.PAYMENT_DECLINED] * 12 + [Code.NOT_FOUND] * 2)
    assert (await shop.sale()).quantity_paid == 107


async def test_a_buyer_who_leaves_is_paid_for_all_the_same(shop: Shop) -> None:
    order = await shop.order()
    gate = shop.gate()
    leaving = asyncio.ensure_future(gate.pay(order.order_id, order.user_id, payment_method="pm_slow", key="k"))

    async def begun() -> bool:
        return bool(await shop.attempts(order))

    await finished(begun)
    leaving.cancel()
    await asyncio.wait({leaving})
    await gate.stop()

    assert leaving.cancelled()
    assert (await shop.read(order)).status is OrderStatus.PAID
