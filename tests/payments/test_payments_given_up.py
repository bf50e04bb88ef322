"""Payments that end without a sale: capture refused, sale aborted, money too late, no action (P7 to P9, C42)."""

import pytest

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ATTEMPT_MS, VoidReason
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from payments.cuts import interrupted
from payments.shop import OPERATOR, Cut, KilledError, Shop


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
