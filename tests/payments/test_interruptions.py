"""C32 to C39: the process dies at every step of a payment, and the resolver leads the attempt to an end.

A process that dies before a call has not made it; one that dies after it never learned the answer.
"""

import asyncio

import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ALARM_MS, PAYMENT_ATTEMPT_MS, Operation, VoidReason, gateway_key
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from doorbuster.engine.payment_ports import Authorized, Captured
from doorbuster.engine.settling import charge_of
from payments.gateway_process import GatewayProcess
from payments.shop import OPERATOR, Cut, KilledError, Shop

# name: (store cut, gateway cut, the state that is stored when the process is dead)
CUTS: dict[str, tuple[dict[str, str], dict[str, str], PaymentState]] = {
    "C32 intent stored": ({"after": "begin"}, {}, PaymentState.INTENT),
    "C32 before it is sent": ({"before": "send"}, {}, PaymentState.INTENT),
    "C33 sent, call never made": ({"after": "send"}, {}, PaymentState.SENT),
    "C33 before the call": ({}, {"before": "authorize"}, PaymentState.SENT),
    "C34 authorized, reply lost": ({}, {"after": "authorize"}, PaymentState.SENT),
    "C35 before the order is confirmed": ({"before": "confirm"}, {}, PaymentState.SENT),
    "C36 confirmed": ({"after": "confirm"}, {}, PaymentState.CAPTURING),
    "C36 before the capture": ({}, {"before": "capture"}, PaymentState.CAPTURING),
    "C37 captured, reply lost": ({}, {"after": "capture"}, PaymentState.CAPTURING),
    "C38 before the order is paid": ({"before": "captured"}, {}, PaymentState.CAPTURING),
    "C38 paid, answer lost": ({"after": "captured"}, {}, PaymentState.CAPTURED),
}


async def interrupted(shop: Shop, cut: str, method: str = "pm_ok") -> tuple[str, str]:
    """A buyer's payment whose process died at the cut; returns the order and the buyer."""
    in_store, in_gateway, stored = CUTS[cut]
    order = await shop.order()
    gate = shop.gate(store=Cut(shop.stores.payments, **in_store), gateway=Cut(shop.gateway, **in_gateway))
    with pytest.raises(KilledError):
        await gate.pay(order.order_id, order.user_id, payment_method=method, key="k")
    assert await shop.states(order) == [stored]
    return order.order_id, order.user_id


@pytest.mark.parametrize("cut", CUTS)
async def test_an_interrupted_payment_is_completed(shop: Shop, cut: str) -> None:
    order_id, user_id = await interrupted(shop, cut)

    await shop.resolve()

    order = await shop.stores.orders.get(order_id)
    assert order is not None
    assert order.status is OrderStatus.PAID
    assert await shop.states(order) == [PaymentState.CAPTURED]
    answer = await shop.gate().pay(order_id, user_id, payment_method="pm_ok", key="k")
    assert isinstance(answer, Paid)
    assert answer.settled
    assert len(await shop.charges(order)) == 1


@pytest.mark.parametrize("cut", CUTS)
async def test_a_repeat_with_the_same_key_makes_no_second_charge(shop: Shop, cut: str) -> None:
    order_id, user_id = await interrupted(shop, cut)

    answers = [await shop.gate().pay(order_id, user_id, payment_method="pm_ok", key="k") for _ in range(2)]
    await shop.resolve()

    assert all(isinstance(answer, Paid) for answer in answers)
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    assert order.status is OrderStatus.PAID
    assert len(await shop.charges(order)) == 1


@pytest.mark.parametrize("cut", CUTS)
async def test_an_order_neither_ends_nor_is_paid_again_meanwhile(shop: Shop, cut: str) -> None:
    order_id, user_id = await interrupted(shop, cut)
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    if order.status is OrderStatus.PAID:
        return
    await shop.stores.run_out(order_id)

    expired = await shop.stores.orders.expire_due(limit=10)
    cancelled = await shop.stores.orders.cancel(order_id, user_id=user_id, actor=OPERATOR)
    paid = await shop.gate().pay(order_id, user_id, payment_method="pm_ok", key="another")

    assert expired == 0
    assert isinstance(cancelled, Refusal)
    assert cancelled.code is Code.CONFLICT
    assert isinstance(paid, Paid)
    assert not paid.settled
    assert (await shop.read(order)).status is OrderStatus.RESERVED
    await shop.resolve()


@pytest.mark.parametrize("cut", CUTS)
async def test_an_old_attempt_ends_and_frees_its_order(shop: Shop, cut: str) -> None:
    order_id, _ = await interrupted(shop, cut)
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, PAYMENT_ATTEMPT_MS + 1)
    await shop.stores.run_out(order_id)

    await shop.resolve()
    await shop.stores.orders.expire_due(limit=10)

    after = await shop.read(order)
    if CUTS[cut][2] in (PaymentState.CAPTURING, PaymentState.CAPTURED):
        assert after.status is OrderStatus.PAID  # the order was confirmed: it waited for its capture
    else:
        assert after.status is OrderStatus.EXPIRED
        assert await shop.states(order) == [PaymentState.VOIDED]
        assert (await shop.sale()).quantity_sold == 0


@pytest.mark.parametrize("cut", CUTS)
async def test_resolvers_at_once_capture_once(shop: Shop, cut: str) -> None:
    order_id, _ = await interrupted(shop, cut)

    await asyncio.gather(*(shop.resolve() for _ in range(4)))

    order = await shop.stores.orders.get(order_id)
    assert order is not None
    assert order.status is OrderStatus.PAID
    (charge,) = await shop.charges(order)
    assert charge.captured_cents == order.amount_cents


@pytest.mark.parametrize("cut", ["C36 before the capture", "C37 captured, reply lost"])
async def test_two_workers_on_one_attempt_capture_once(shop: Shop, cut: str) -> None:
    """They hold the same row from before: only keys and guards keep them apart (C37)."""
    order_id, _ = await interrupted(shop, cut)
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    charge, key = charge_of(attempt), gateway_key(attempt, Operation.CAPTURE)

    answers = await asyncio.gather(*(shop.gateway.capture(charge, key) for _ in range(4)))
    rows = await asyncio.gather(*(shop.stores.payments.captured(attempt.payment_id) for _ in range(4)))

    assert all(isinstance(answer, Captured) for answer in answers)
    assert {row.state for row in rows} == {PaymentState.CAPTURED}
    assert (await shop.sale()).quantity_paid == 1


async def test_a_capture_refused_for_good_gives_the_unit_back(shop: Shop) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_capture_fails", key="k")
    again = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_capture_fails", key="k")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.PAYMENT_DECLINED
    assert again == answer
    assert (await shop.read(order)).status is OrderStatus.CANCELLED
    assert (await shop.sale()).quantity_sold == 0
    (release,) = await shop.stores.orders.pending_releases(limit=10)
    assert (release.hold_id, release.forget_key) == (order.order_id, False)
    (charge,) = await shop.charges(order)
    assert (charge.captured_cents, charge.voided) == (0, True)


@pytest.mark.parametrize(
    ("in_store", "in_gateway"),
    [
        ({"before": "void"}, {}),
        ({"after": "void"}, {}),
        ({}, {"before": "void"}),
        ({}, {"after": "void"}),
        ({"before": "voided"}, {}),
        ({"after": "voided"}, {}),
    ],
)
async def test_a_refused_capture_ends_its_order_through_any_crash(
    shop: Shop, in_store: dict[str, str], in_gateway: dict[str, str]
) -> None:
    order = await shop.order()
    gate = shop.gate(store=Cut(shop.stores.payments, **in_store), gateway=Cut(shop.gateway, **in_gateway))
    with pytest.raises(KilledError):
        await gate.pay(order.order_id, order.user_id, payment_method="pm_capture_fails", key="k")

    await shop.resolve()

    assert (await shop.read(order)).status is OrderStatus.CANCELLED
    assert await shop.states(order) == [PaymentState.VOIDED]
    assert len(await shop.stores.orders.pending_releases(limit=10)) == 1
    assert (await shop.sale()).quantity_sold == 0


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


async def test_a_process_that_slept_through_the_void_changes_nothing(shop: Shop) -> None:
    """It wakes up with an authorization in its hands; the attempt, and then the order, have ended (I12)."""
    order_id, _ = await interrupted(shop, "C35 before the order is confirmed")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, PAYMENT_ATTEMPT_MS + 1)
    await shop.stores.run_out(order_id)
    await shop.resolve()
    await shop.stores.orders.expire_due(limit=10)

    rows = [
        await shop.stores.payments.confirm(attempt.payment_id, "ref"),
        await shop.stores.payments.captured(attempt.payment_id),
        await shop.stores.payments.decline(attempt.payment_id, "late"),
        await shop.stores.payments.send(attempt.payment_id),
        await shop.stores.payments.refund_due(attempt.payment_id),
        await shop.stores.payments.void(attempt.payment_id, VoidReason.TOO_OLD),
    ]

    assert {row.state for row in rows} == {PaymentState.VOIDED}
    assert (await shop.read(order)).status is OrderStatus.EXPIRED


async def test_an_abort_voids_what_was_only_authorized(shop: Shop) -> None:
    order_id, _ = await interrupted(shop, "C34 authorized, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    await shop.abort()
    left_alone = await shop.stores.orders.cancel_all(shop.sale_id, actor=OPERATOR, limit=10)

    await shop.resolve()
    cancelled = await shop.stores.orders.cancel_all(shop.sale_id, actor=OPERATOR, limit=10)

    assert (left_alone, cancelled) == (0, 1)
    assert await shop.states(order) == [PaymentState.VOIDED]
    assert (await shop.read(order)).status is OrderStatus.CANCELLED


async def test_money_that_comes_too_late_is_refunded(shop: Shop) -> None:
    """A void that meets a capture: the money goes back (P9, C42)."""
    order_id, _ = await interrupted(shop, "C37 captured, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.payments.void(attempt.payment_id, VoidReason.ORDER_ENDED)

    counts = await shop.resolve()

    assert counts["refunded"] == 1
    assert await shop.states(order) == [PaymentState.REFUNDED]
    (charge,) = await shop.charges(order)
    assert charge.refunded_cents == charge.captured_cents == order.amount_cents
    assert (await shop.read(order)).status is OrderStatus.RESERVED


@pytest.mark.parametrize(
    ("in_store", "in_gateway"),
    [({"before": "refunded"}, {}), ({"after": "refunded"}, {}), ({}, {"before": "refund"}), ({}, {"after": "refund"})],
)
async def test_one_refund_through_any_crash(shop: Shop, in_store: dict[str, str], in_gateway: dict[str, str]) -> None:
    order_id, _ = await interrupted(shop, "C37 captured, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.payments.void(attempt.payment_id, VoidReason.ORDER_ENDED)
    dying = shop.resolver(gateway=Cut(shop.gateway, **in_gateway), store=Cut(shop.stores.payments, **in_store))
    with pytest.raises(KilledError):
        await dying.run_once(shop.clock.now_ms())

    await shop.resolve()

    assert await shop.states(order) == [PaymentState.REFUNDED]
    (charge,) = await shop.charges(order)
    assert charge.refunded_cents == order.amount_cents


async def test_an_action_is_waited_for_until_the_hold_ends(shop: Shop) -> None:
    order = await shop.order()

    answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, PAYMENT_ATTEMPT_MS + 1)
    waiting = await shop.resolve()
    await shop.stores.run_out(order.order_id)
    ended = await shop.resolve()

    assert isinstance(answer, Paid)
    assert not answer.settled
    assert answer.action is not None
    assert answer.action["confirm"].startswith("http")
    assert waiting == {"waiting": 1, "more": 0}
    assert ended == {"voided": 1, "more": 0}
    assert shop.woken == ["releaser"]
    assert await shop.stores.orders.expire_due(limit=10) == 1


async def test_an_attempt_that_began_in_time_may_end_after_its_hold(shop: Shop) -> None:
    order_id, _ = await interrupted(shop, "C33 sent, call never made")
    await shop.stores.run_out(order_id)

    await shop.resolve()

    order = await shop.stores.orders.get(order_id)
    assert order is not None
    assert order.status is OrderStatus.PAID


async def test_a_resolver_leaves_fresh_attempts_alone(shop: Shop) -> None:
    order_id, _ = await interrupted(shop, "C34 authorized, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None

    counts = await shop.resolver(quiet_ms=10_000).run_once(shop.clock.now_ms())

    assert counts == {"more": 0}
    assert await shop.states(order) == [PaymentState.SENT]


async def test_a_claim_keeps_other_resolvers_away(shop: Shop) -> None:
    order_id, _ = await interrupted(shop, "C34 authorized, reply lost")
    order = await shop.stores.orders.get(order_id)
    assert order is not None
    (attempt,) = await shop.attempts(order)
    await shop.stores.grow_old(attempt.payment_id, 20_000)
    claims = [shop.stores.payments.claim(gateway="simulated", quiet_ms=10_000, limit=10) for _ in range(5)]

    claimed = await asyncio.gather(*claims)

    assert sum(len(batch) for batch in claimed) == 1
    assert await shop.stores.payments.claim(gateway="another", quiet_ms=0, limit=10) == []


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
