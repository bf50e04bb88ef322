"""The gateway of simulated worlds keeps the same promises, and a seeded crowd meets its faults on the real engine."""

import asyncio
import random

import pytest

from doorbuster.agents.resolver import Resolver
from doorbuster.domain.audit import Verdict, compare
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.paying import Paying
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.reference.faults import Faults, faulty
from doorbuster.reference.gateway import ReferenceGateway
from payments.conformance import Methods, exercise_gateway
from payments.reference_shop import ReferenceStores
from payments.shop import OPERATOR, Ids, Shop, ShopClock

METHODS = ("pm_ok", "pm_ok", "pm_ok", "pm_declined", "pm_error", "pm_timeout_after", "pm_timeout_before",
           "pm_capture_fails", "pm_action_required")  # fmt: skip


async def test_every_gateway_keeps_the_port_promises() -> None:
    await exercise_gateway(
        ReferenceGateway(), Methods(approved="pm_ok", declined="pm_declined", capture_refused="pm_capture_fails")
    )


@pytest.mark.parametrize("seed", range(25))
async def test_money_and_orders_agree_after_any_faults(seed: int) -> None:
    """A seeded crowd pays, cancels and waits while calls and answers are lost; then faults stop and all must end."""
    rng = random.Random(seed)
    stores = ReferenceStores()
    gateway_faults = Faults(seed, not_executed=0.1, reply_lost=0.2)
    store_faults = Faults(seed + 1, not_executed=0.05, reply_lost=0.1)
    gateway = ReferenceGateway(gateway_faults)
    store = faulty(stores.payments, store_faults)
    clock = ShopClock(stores)
    gates = [Paying(payments=store, gateway=gateway, clock=clock, ids=Ids()) for _ in range(3)]
    resolver = Resolver(payments=store, gateway=gateway, clock=clock, wake=lambda _: None)
    shop = Shop(stores, gateway)  # pyright: ignore[reportArgumentType]
    await shop.open(units=40)
    orders = [await shop.order() for _ in range(40)]

    for _ in range(30):
        for order in rng.sample(orders, 10):
            gate, key = rng.choice(gates), f"k{rng.randrange(3)}"
            await asyncio.gather(
                gate.pay(order.order_id, order.user_id, payment_method=rng.choice(METHODS), key=key),
                stores.orders.cancel(order.order_id, user_id=order.user_id, actor=OPERATOR)
                if rng.random() < 0.05
                else asyncio.sleep(0),
            )
        stores.clock.advance_ms(rng.randrange(15_000))
        await stores.orders.expire_due(limit=100)
        try:
            await resolver.run_once(clock.now_ms())
        except (StoreUnavailable, OutcomeUnknown):
            continue
    gateway_faults.not_executed = gateway_faults.reply_lost = 0
    store_faults.not_executed = store_faults.reply_lost = 0
    for _ in range(3):
        stores.clock.advance_ms(600_000)
        await resolver.run_once(clock.now_ms())
        await stores.orders.expire_due(limit=100)

    facts = await stores.audits.facts(shop.sale_id)
    assert facts is not None
    assert compare(facts, None, at_ms=0).verdict is Verdict.IN_STEP
    paid = {order.order_id: order.amount_cents for order in stores.ledger.orders_of(shop.sale_id, OrderStatus.PAID)}
    captured = [row for row in gateway.charges.values() if row.captured_cents]
    assert sorted(row.charge.order_id for row in captured) == sorted(paid)
    assert all(row.captured_cents == paid[row.charge.order_id] for row in captured)
    assert all(row.voided for row in gateway.charges.values() if row.authorized and not row.captured_under)
    assert stores.ledger.orders_of(shop.sale_id, OrderStatus.RESERVED) == []
    assert paid, "no world without a sale"
