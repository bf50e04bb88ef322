"""Orders that are charged without their buyers (auto mode)."""

import asyncio
from typing import Any

from doorbuster.domain.breaker import FAILURES, BreakerState
from doorbuster.domain.sale import PaymentMode
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.charging import Charging
from doorbuster.engine.payment_ports import NotExecuted
from doorbuster.engine.ports import StoreUnavailable
from payments.shop import Shop, finished


class Down:
    """A gateway that cannot be reached."""

    name = "simulated"
    default_method = "pm_ok"

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*args: object) -> NotExecuted:
            del args
            self.calls += 1
            return NotExecuted(detail="refused")

        return call


async def auto(shop: Shop, **terms: Any) -> None:
    await shop.open(mode=PaymentMode.AUTO, **terms)


async def run(charging: Charging) -> None:
    await charging.run_once()
    await charging.stop()


async def test_stored_method_is_charged(shop: Shop) -> None:
    await auto(shop)
    order = await shop.order()
    await shop.stores.charges.store_method(order.user_id, "pm_ok")

    await run(shop.charging())

    assert (await shop.read(order)).status is OrderStatus.PAID
    assert await shop.states(order) == [PaymentState.CAPTURED]


async def test_free_order_is_paid_without_a_gateway(shop: Shop) -> None:
    await auto(shop, price_cents=0)
    order = await shop.order()
    down = Down()

    await run(shop.charging(gateway=down))

    assert (await shop.read(order)).status is OrderStatus.PAID
    assert down.calls == 0


async def test_decline_cancels_the_order_and_frees_its_unit(shop: Shop) -> None:
    await auto(shop)
    order = await shop.order()
    await shop.stores.charges.store_method(order.user_id, "pm_declined")

    await run(shop.charging())

    assert (await shop.read(order)).status is OrderStatus.CANCELLED
    assert (await shop.sale()).quantity_sold == 0
    assert shop.woken == ["releaser"]


async def test_order_without_a_method_waits_for_one(shop: Shop) -> None:
    await auto(shop)
    order = await shop.order()
    charging = shop.charging()
    charging._gateway = _without_default(charging._gateway)  # pyright: ignore[reportPrivateUsage]

    await run(charging)
    assert charging.without_method == 1
    assert (await shop.read(order)).status is OrderStatus.RESERVED
    await shop.stores.charges.store_method(order.user_id, "pm_ok")
    await run(charging)

    assert (await shop.read(order)).status is OrderStatus.PAID


def _without_default(gateway: Any) -> Any:
    class Without:
        default_method = None

        def __getattr__(self, name: str) -> Any:
            return getattr(gateway, name)

    return Without()


async def test_checkout_orders_are_left_to_their_buyers(shop: Shop) -> None:
    order = await shop.order()
    await shop.stores.charges.store_method(order.user_id, "pm_ok")

    await run(shop.charging())

    assert await shop.states(order) == []


async def test_two_chargers_charge_once(shop: Shop) -> None:
    await auto(shop)
    orders = [await shop.order() for _ in range(10)]

    await asyncio.gather(*(run(shop.charging()) for _ in range(4)))

    for order in orders:
        assert (await shop.states(order)).count(PaymentState.CAPTURED) == 1
        assert len(await shop.charges(order)) == 1


async def test_no_more_are_under_way_than_allowed(shop: Shop) -> None:
    await auto(shop)
    for _ in range(5):
        await shop.stores.charges.store_method((await shop.order()).user_id, "pm_slow")
    charging = shop.charging(at_once=2)

    await charging.run_once()
    assert charging.under_way == 2
    await charging.run_once()
    assert charging.under_way == 2
    await charging.stop()


async def test_attempt_that_fails_is_tried_again_and_given_up_in_the_end(shop: Shop) -> None:
    """A gateway that answers, and fails: every try is voided, then the order is cancelled."""
    await auto(shop, attempts=2)
    order = await shop.order()
    await shop.stores.charges.store_method(order.user_id, "pm_error")
    charging = shop.charging()

    for tries in (1, 2):
        await run(charging)
        assert await shop.states(order) == [PaymentState.VOIDED] * tries
        for attempt in await shop.attempts(order):
            await shop.stores.grow_old(attempt.payment_id, 5_000)
    await run(charging)

    assert (await shop.read(order)).status is OrderStatus.CANCELLED
    assert (await shop.sale()).quantity_sold == 0


async def test_gateway_that_is_down_stops_new_attempts_and_lengthens_holds(shop: Shop) -> None:
    await auto(shop, units=100)
    orders = [await shop.order() for _ in range(20)]
    down = Down()
    charging = shop.charging(gateway=down, at_once=FAILURES)

    await run(charging)
    assert charging.breaker.state is BreakerState.OPEN
    calls = down.calls
    for _ in range(5):
        await run(charging)

    assert down.calls == calls
    untouched = [order for order in orders if not await shop.states(order)]
    assert len(untouched) >= len(orders) - FAILURES
    assert (await shop.read(untouched[0])).status is OrderStatus.RESERVED


async def test_probe_that_the_ledger_does_not_let_begin_is_made_again(shop: Shop) -> None:
    await auto(shop, units=100)
    orders = [await shop.order() for _ in range(FAILURES + 1)]
    charging = shop.charging(gateway=Down(), at_once=FAILURES)
    await run(charging)
    assert charging.breaker.state is BreakerState.OPEN
    charging._gateway._gateway = shop.gateway  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    charging.breaker._until_ms = 0  # pyright: ignore[reportPrivateUsage]
    payments = charging._payments  # pyright: ignore[reportPrivateUsage]
    charging._payments = Away()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    await run(charging)
    charging._payments = payments  # pyright: ignore[reportPrivateUsage]

    await run(charging)
    await run(charging)

    assert charging.breaker.state is BreakerState.CLOSED
    assert (await shop.read(orders[-1])).status is OrderStatus.PAID


class Away:
    """A ledger that does not answer."""

    async def begin(self, ask: object) -> None:
        del ask
        raise StoreUnavailable("away")


async def test_hold_that_would_run_out_meanwhile_goes_on_within_bounds(shop: Shop) -> None:
    await auto(shop)
    order = await shop.order()
    charges = shop.stores.charges

    assert await charges.extend_uncharged(limit=10) == 0
    seen = 0
    for _ in range(20):
        await _nearly_out(shop, order.order_id)
        before = (await shop.read(order)).expires_ms
        extended = await charges.extend_uncharged(limit=10)
        assert (await shop.read(order)).expires_ms == before + 60_000 * extended
        seen += extended

    assert seen == 10


async def _nearly_out(shop: Shop, order_id: str) -> None:
    stores: Any = shop.stores
    if hasattr(stores, "database"):
        await stores.database.write(
            "update sale_orders set expires_at = clock_ms() + interval '10 seconds' where order_id = $1", order_id
        )
    else:
        order = stores.ledger.orders[order_id]
        stores.ledger.write_order(order, expires_ms=stores.now_ms() + 10_000)


async def test_everybody_is_charged_when_the_gateway_is_back(shop: Shop) -> None:
    await auto(shop, units=100)
    orders = [await shop.order() for _ in range(12)]
    charging = shop.charging(gateway=Down(), at_once=FAILURES)
    await run(charging)
    charging = shop.charging()

    async def all_paid() -> bool:
        for order in orders:
            for attempt in await shop.attempts(order):
                await shop.stores.grow_old(attempt.payment_id, 3_000)
        await shop.resolve()
        await run(charging)
        return all([(await shop.read(order)).status is OrderStatus.PAID for order in orders])

    await finished(all_paid)
