"""The relay as an agent: it says how far behind it is, outlives its store, and stops when it is told to."""

import asyncio

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from doorbuster.agents.loop import AgentLoops
from doorbuster.agents.relay import Relay
from doorbuster.domain.shop_events import DeliveryState
from doorbuster.engine.ports import StoreUnavailable
from helpers.waiting import until
from postgres.ledger import COMMIT, a_hold, arguments
from webhooks.world import ORDERS, World, some_orders


def a_relay(world: World) -> Relay:
    return Relay(outbox=world.outbox, sender=world.sender, clock=world.clock, ids=world.ids, wake=lambda _: None)


def metric(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"doorbuster_webhook_{name}", labels)
    assert value is not None
    return value


async def test_relay_without_a_store_says_so_and_loses_nothing(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    relay = a_relay(world)
    await world.ledger.sql.execute("alter function claim_deliveries rename to claim_away")

    with pytest.raises(StoreUnavailable):
        await relay.run_once(world.clock.now_ms())

    await world.ledger.sql.execute("alter function claim_away rename to claim_deliveries")
    assert [one.attempts for one in await world.deliveries(endpoint)] == [0]
    assert (await relay.run_once(world.clock.now_ms()))["started"] == 1
    await relay.stop()


async def test_relay_stops_although_a_receiver_hangs(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    let_go = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    world.receiver.handler = hang
    relay = a_relay(world)
    await relay.run_once(world.clock.now_ms())
    await until(lambda: len(world.receiver.received) == 1)

    await asyncio.wait_for(relay.stop(), 5)

    let_go.set()
    world.receiver.handler = None
    await world.later()
    await world.tell()
    first, second = world.receiver.received
    assert first.id == second.id
    assert [one.state for one in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]


async def test_relay_that_stops_records_what_has_ended(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    relay = a_relay(world)
    await relay.run_once(world.clock.now_ms())

    await relay.stop()

    assert [one.state for one in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]


async def test_relay_says_how_far_behind_it_is(world: World) -> None:
    await world.endpoint(event_types=ORDERS)
    await some_orders(world, 3)
    await world.ledger.sql.execute("update webhook_deliveries set at = at - interval '1 hour'")
    await world.ledger.sql.execute(
        "update webhook_deliveries set state = 'dead', closed_at = now()"
        " where delivery_id = (select min(delivery_id) from webhook_deliveries)"
    )
    world.receiver.answers(500)
    before = REGISTRY.get_sample_value("doorbuster_webhook_attempts_total", {"result": "retry"}) or 0

    relay = a_relay(world)
    await relay.run_once(world.clock.now_ms())
    await until(lambda: len(world.receiver.received) == 2)

    async def counted() -> bool:
        await relay.run_once(world.clock.now_ms())
        return metric("attempts_total", result="retry") == before + 2

    await until(counted)
    assert (metric("backlog"), metric("dead")) == (2, 1)
    assert metric("oldest_age_seconds") == pytest.approx(3_600, abs=60)
    await relay.stop()


async def test_events_flow_without_anybody_asking(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    loops: AgentLoops

    def wake(name: str) -> None:
        loops.wake(name)

    relay = Relay(outbox=world.outbox, sender=world.sender, clock=world.clock, ids=world.ids, wake=wake)
    loops = AgentLoops([relay], world.clock, world.ids)
    loops.start()

    orders = await some_orders(world, 40)
    for order in orders:
        await world.ledger.pay(order)

    async def all_delivered() -> bool:
        return len(await world.deliveries(endpoint, DeliveryState.DELIVERED)) == 80

    await until(all_delivered)
    await loops.stop()
    await relay.stop()
    assert all(world.receiver.of(order) == ["order.reserved", "order.paid"] for order in orders)


async def test_endpoint_deleted_during_a_commit_does_not_fail_it(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    sale = await world.ledger.sale()
    async with world.ledger.connection() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetch(COMMIT, *arguments(sale, [a_hold()]))

        assert await world.outbox.delete(endpoint)
        await transaction.commit()

    assert await world.row("select count(*) from sale_orders") == 1
    assert (await world.tell())["started"] == 0
    assert await world.outbox.prune(limit=10) == 1
