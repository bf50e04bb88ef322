"""C32 to C39: the process dies at every step of a payment, and the resolver leads the attempt to an end.

A process that dies before a call has not made it; one that dies after it never learned the answer.
"""

import asyncio

import pytest

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ATTEMPT_MS, Operation, gateway_key
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from doorbuster.engine.payment_ports import Captured
from doorbuster.engine.settling import charge_of
from payments.cuts import CUTS, interrupted
from payments.shop import OPERATOR, Shop


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
