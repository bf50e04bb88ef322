"""Events are written with the change they tell of: one for each change, none for what did not happen."""

import json
from typing import Any

import msgspec
import pytest

from doorbuster.api.shapes import order_view
from doorbuster.domain.sale import Sale
from doorbuster.domain.shop_events import EventType
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.ports import CommitWord
from postgres.ledger import ACTOR, COMMIT, a_hold, arguments
from webhooks.world import World

ORDERS = [name.value for name in EventType if name.startswith("order.")]
SALES = [name.value for name in EventType if name.startswith("sale.")]


async def refund(world: World, order_id: str) -> None:
    await world.ledger.sql.execute("select return_order($1)", order_id)


async def expire(world: World, order_id: str, sale: Sale) -> None:
    await world.ledger.sql.execute(
        "update sale_orders set expires_at = clock_timestamp() - interval '1 second' where order_id = $1", order_id
    )
    await world.ledger.sql.execute("select expire_sale($1, 10)", sale.sale_id)


async def data_of(world: World, endpoint_id: str, number: int = -1) -> dict[str, Any]:
    deliveries = await world.deliveries(endpoint_id)
    document: dict[str, Any] = json.loads(deliveries[number].data)
    return document


async def test_commit_that_is_rolled_back_leaves_no_event(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    sale = await world.ledger.sale()

    async with world.ledger.connection() as other:
        transaction = other.transaction()
        await transaction.start()
        [answer] = await other.fetch(COMMIT, *arguments(sale, [a_hold()]))
        assert answer["word"] == "committed"
        written = await other.fetchval("select count(*) from webhook_deliveries")
        await transaction.rollback()

    assert written == 1
    assert await world.told(endpoint) == []


async def test_refused_hold_leaves_no_event(world: World) -> None:
    endpoint, _ = await world.endpoint()
    sale = await world.ledger.sale()

    assert await world.ledger.commit(sale, a_hold(), epoch=7) == [CommitWord.STALE_EPOCH]

    assert await world.told(endpoint) == []


async def test_commit_that_is_repeated_tells_once(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    sale, hold = await world.ledger.sale(), a_hold()

    for _ in range(2):
        assert await world.ledger.commit(sale, hold) == [CommitWord.COMMITTED]

    assert await world.told(endpoint) == ["order.reserved"]


async def test_hold_that_never_was_an_order_is_not_told(world: World) -> None:
    endpoint, _ = await world.endpoint()
    sale = await world.ledger.sale()

    await world.ledger.sql.execute(
        "select tombstone_holds($1, array[gen_random_uuid()], array['ann'], array[1], array[1])", sale.sale_id
    )

    assert await world.told(endpoint) == []


async def test_change_without_an_endpoint_writes_nothing(world: World) -> None:
    await world.endpoint(enabled=False)
    await world.endpoint(event_types=["sale.paused"])
    sale = await world.ledger.sale()

    await world.ledger.reserve(sale)

    assert await world.row("select count(*) from webhook_deliveries") == 0


async def test_every_change_of_an_order_makes_one_event_for_each_endpoint(world: World) -> None:
    first, _ = await world.endpoint(event_types=ORDERS)
    second, _ = await world.endpoint(event_types=ORDERS)
    sale = await world.ledger.sale(quantity_available=9, per_user_limit=9)

    paid = await world.ledger.reserve(sale, "ann")
    await world.ledger.pay(paid.order_id)
    await refund(world, paid.order_id)
    lapsed = await world.ledger.reserve(sale, "bob")
    await expire(world, lapsed.order_id, sale)
    cancelled = await world.ledger.reserve(sale, "eve")
    await world.ledger.orders.cancel(cancelled.order_id, user_id=None, actor=ACTOR)

    expected = ["reserved", "paid", "refunded", "reserved", "expired", "reserved", "cancelled"]
    assert await world.told(first) == await world.told(second) == [f"order.{word}" for word in expected]
    one, other = await world.deliveries(first), await world.deliveries(second)
    assert [delivery.event_id for delivery in one] == [delivery.event_id for delivery in other]
    assert len({delivery.event_id for delivery in one}) == len(expected)


async def test_change_that_is_repeated_is_told_once(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    sale = await world.ledger.sale()
    order = await world.ledger.reserve(sale)

    for _ in range(2):
        await world.ledger.pay(order.order_id)
        await world.ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    for _ in range(2):
        await refund(world, order.order_id)

    assert await world.told(endpoint) == ["order.reserved", "order.paid", "order.refunded"]


async def test_event_shows_the_order_as_the_change_left_it(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    sale = await world.ledger.sale(quantity_available=5, per_user_limit=5)

    order = await world.ledger.reserve(sale, quantity=3)
    shown: dict[str, Any] = msgspec.to_builtins(order_view(order))
    await world.ledger.pay(order.order_id)

    shown.pop("payment")
    shown.pop("rehearsal")  # no shadow sale tells anybody
    assert await data_of(world, endpoint, 0) == shown
    assert await data_of(world, endpoint, 1) == {**shown, "status": "PAID"}


async def test_batch_of_orders_is_told_in_its_order(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=["order.reserved"])
    sale = await world.ledger.sale(quantity_available=50)

    await world.ledger.commit(sale, *(a_hold(f"buyer-{n}", key=f"key-{n}") for n in range(50)))

    told = [json.loads(delivery.data)["user_id"] for delivery in await world.deliveries(endpoint)]
    assert told == [f"buyer-{n}" for n in range(50)]


async def test_sale_is_told_from_its_start_to_its_end(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=SALES)
    now = await world.ledger.sales.time_ms()
    sale = await world.ledger.sale(quantity_available=1, start_ms=now + 60_000)
    sales = world.ledger.sales

    await sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
    order = await world.ledger.reserve(sale)
    await world.ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    await sales.move(sale.sale_id, SaleStatus.PAUSED, ACTOR)
    await sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR)
    await sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)

    words = ["started", "sold_out", "reopened", "paused", "resumed", "ended"]
    assert await world.told(endpoint) == [f"sale.{word}" for word in words]


async def test_sold_out_is_said_again_when_it_has_become_final(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=["sale.sold_out"])
    sale = await world.ledger.sale(quantity_available=2)
    orders = [await world.ledger.reserve(sale, user, key=user) for user in ("ann", "bob")]

    for order in orders:
        await world.ledger.pay(order.order_id)

    assert await world.told(endpoint) == ["sale.sold_out", "sale.sold_out"]
    first, last = await data_of(world, endpoint, 0), await data_of(world, endpoint, 1)
    assert (first["final"], first["availability"]) == (False, {"state": "all_held", "free": 0, "held": 2, "sold": 0})
    assert (last["final"], last["availability"]) == (True, {"state": "sold_out", "free": 0, "held": 0, "sold": 2})


async def test_refund_of_a_sold_out_sale_reopens_it(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=["sale.reopened"])
    sale = await world.ledger.sale(quantity_available=1)
    order = await world.ledger.reserve(sale)
    await world.ledger.pay(order.order_id)

    await refund(world, order.order_id)

    assert await world.told(endpoint) == ["sale.reopened"]
    assert (await data_of(world, endpoint))["final"] is False


async def test_sale_resumed_with_nothing_free_is_sold_out(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=["sale.sold_out", "sale.resumed"])
    sale = await world.ledger.sale(quantity_available=1)
    await world.ledger.reserve(sale)
    await world.ledger.sales.move(sale.sale_id, SaleStatus.PAUSED, ACTOR)

    await world.ledger.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR)

    assert await world.told(endpoint) == ["sale.sold_out", "sale.resumed", "sale.sold_out"]


async def test_sale_that_is_called_off_is_told_with_its_orders(world: World) -> None:
    endpoint, _ = await world.endpoint()
    sale = await world.ledger.sale()
    await world.ledger.reserve(sale)

    await world.ledger.sales.move(sale.sale_id, SaleStatus.CANCELLED, ACTOR)
    await world.ledger.sql.execute("select cancel_reserved($1, 'tester', '', 10)", sale.sale_id)

    told = await world.told(endpoint)
    assert told[-2:] == ["sale.cancelled", "order.cancelled"]


@pytest.mark.parametrize("status", ["ENDED", "CANCELLED"])
async def test_sale_that_ends_before_its_start_never_started(world: World, status: str) -> None:
    endpoint, _ = await world.endpoint()
    now = await world.ledger.sales.time_ms()
    sale = await world.ledger.sale(start_ms=now + 60_000)

    await world.ledger.sales.move(sale.sale_id, SaleStatus(status), ACTOR)

    assert await world.told(endpoint) == [f"sale.{status.lower()}"]
