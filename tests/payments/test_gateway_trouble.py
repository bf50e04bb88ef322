"""The gateway is silent, late, wrong, frozen or dead: nothing is guessed, nothing is charged twice (C33, C34, C39)."""

import asyncio

import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ALARM_MS, PAYMENT_ATTEMPT_MS
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from doorbuster.engine.payment_ports import Authorized
from doorbuster.engine.settling import charge_of
from payments.cuts import interrupted
from payments.gateway_process import GatewayProcess
from payments.shop import Cut, KilledError, Shop


async def test_a_unit_is_not_freed_before_the_void_is_confirmed(own_shop: Shop, own_process: GatewayProcess) -> None:
    order = await own_shop.order()
    gate = own_shop.gate(gateway=Cut(own_shop.gateway, before="void"))
    with pytest.raises(KilledError):
        await gate.pay(order.order_id, order.user_id, payment_method="pm_capture_fails", key="k")
    own_process.freeze()

    counts = await own_shop.resolve()

    assert counts["waiting"] == 1
    assert (await own_shop.read(order)).status is OrderStatus.RESERVED
    assert await own_shop.states(order) == [PaymentState.VOIDING]
    own_process.thaw()
    await own_shop.resolve()
    assert (await own_shop.read(order)).status is OrderStatus.CANCELLED


async def test_a_silent_gateway_that_had_authorized_is_found_out(shop: Shop, impatient: SimulatedGateway) -> None:
    order = await shop.order()

    answer = await shop.gate(gateway=impatient).pay(
        order.order_id, order.user_id, payment_method="pm_timeout_after", key="k"
    )

    assert isinstance(answer, Paid)
    assert answer.settled
    assert len(await shop.charges(order)) == 1


async def test_a_silent_gateway_that_died_at_it_is_asked_by_the_resolver(
    shop: Shop, impatient: SimulatedGateway
) -> None:
    order = await shop.order()
    gate = shop.gate(gateway=Cut(impatient, before="look_up"))
    with pytest.raises(KilledError):
        await gate.pay(order.order_id, order.user_id, payment_method="pm_timeout_after", key="k")

    await shop.resolve()

    assert (await shop.read(order)).status is OrderStatus.PAID
    assert len(await shop.charges(order)) == 1


async def test_a_gateway_that_never_answers_costs_nothing(shop: Shop, impatient: SimulatedGateway) -> None:
    order = await shop.order()
    gate = shop.gate(gateway=impatient)

    answer = await gate.pay(order.order_id, order.user_id, payment_method="pm_timeout_before", key="k")
    second = await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k2")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.PAYMENT_DECLINED
    assert isinstance(second, Paid)
    assert await shop.states(order) == [PaymentState.VOIDED, PaymentState.CAPTURED]


async def test_an_authorization_that_lands_after_the_void_fails(shop: Shop) -> None:
    """C39: the call was on its way all the time."""
    order_id, _ = await interrupted(shop, "C33 sent, call never made")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, PAYMENT_ATTEMPT_MS + 1)
    await shop.resolve()

    landed = await shop.gateway.authorize(charge_of(attempt))

    assert not isinstance(landed, Authorized)
    assert await shop.states(order) == [PaymentState.VOIDED]


async def test_a_payment_without_an_end_is_reported(shop: Shop, own_process: GatewayProcess) -> None:
    order_id, _ = await interrupted(shop, "C34 authorized, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, PAYMENT_ALARM_MS + 1)
    down = SimulatedGateway(own_process.url)
    own_process.kill()

    counts = await shop.resolver(gateway=down).run_once(shop.clock.now_ms())

    assert counts == {"waiting": 1, "late": 1, "more": 0}
    assert await shop.states(order) == [PaymentState.SENT]
    await down.close()
    await shop.resolve()
    assert (await shop.read(order)).status is OrderStatus.PAID


async def test_a_gateway_that_names_another_amount_pays_nothing(shop: Shop) -> None:
    """I9: what was set aside is not what was asked for; nobody guesses what it means."""
    order_id, _ = await interrupted(shop, "C34 authorized, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None

    class Generous:
        name = "simulated"

        async def look_up(self, charge: object) -> Authorized:
            return Authorized(ref="r", amount_cents=1, currency="USD")

    with pytest.raises(Exception, match="asked for 1999 USD"):
        await shop.resolver(gateway=Generous()).run_once(shop.clock.now_ms())

    assert await shop.states(order) == [PaymentState.SENT]
    await shop.resolve()


async def test_the_gateway_is_killed_between_authorize_and_capture(own_shop: Shop, own_process: GatewayProcess) -> None:
    order = await own_shop.order()
    with pytest.raises(KilledError):
        await own_shop.gate(gateway=Cut(own_shop.gateway, before="capture")).pay(
            order.order_id, order.user_id, payment_method="pm_ok", key="k"
        )
    own_process.kill()

    while_down = await own_shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")
    waiting = await own_shop.resolve()
    own_process.start()
    done = await own_shop.resolve()

    assert isinstance(while_down, Paid)
    assert not while_down.settled
    assert waiting["waiting"] == 1
    assert done["captured"] == 1
    assert (await own_shop.read(order)).status is OrderStatus.PAID


async def test_buyers_pay_while_the_gateway_is_killed(own_shop: Shop, own_process: GatewayProcess) -> None:
    await own_shop.open(units=30)
    orders = [await own_shop.order() for _ in range(30)]
    gate = own_shop.gate()
    paying = [
        asyncio.ensure_future(gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k"))
        for order in orders
    ]
    await asyncio.wait(paying, return_when=asyncio.FIRST_COMPLETED)

    own_process.kill()
    answers = await asyncio.gather(*paying)
    own_process.start()
    await own_shop.resolve()

    assert all(isinstance(answer, Paid) for answer in answers)
    assert {(await own_shop.read(order)).status for order in orders} == {OrderStatus.PAID}
    assert (await own_shop.sale()).quantity_paid == 30
