"""From the outbox to the shop: every event arrives, in order where order matters, whatever fails on the way."""

import asyncio

import pytest
from aiohttp import web

from doorbuster.adapters.shop_webhooks import HttpSender
from doorbuster.domain.shop_events import CONCURRENT_MAX, RETRY_AFTER_MS, DeliveryState
from doorbuster.engine.ports import OutcomeUnknown
from doorbuster.engine.relaying import Relaying
from doorbuster.engine.shop_ports import Message, Sent, Target
from helpers.waiting import until
from webhooks.receiver import Received
from webhooks.world import ORDERS, World, some_orders


async def wait_ms(world: World, delivery_id: int) -> int:
    """How long until a delivery's next attempt."""
    wait: int = await world.row(
        "select ms(next_at) - ms(last_at) from webhook_deliveries where delivery_id = $1", delivery_id
    )
    return wait


# ------------------------------------------------------------------------------------------------ receivers that fail


@pytest.mark.parametrize("status", [300, 400, 401, 404, 429, 500, 503])
async def test_answer_that_is_no_success_is_tried_again(world: World, status: int) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(status, "not today")

    assert (await world.tell())["retry"] == 1

    [delivery] = await world.deliveries(endpoint)
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.PENDING, 1, status)
    assert delivery.last_body == "not today"
    assert 0.8 * RETRY_AFTER_MS[0] <= await wait_ms(world, delivery.delivery_id) <= RETRY_AFTER_MS[0]


async def test_nothing_is_sent_before_its_time(world: World) -> None:
    await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(500)
    await world.tell()

    assert (await world.tell())["started"] == 0

    assert len(world.receiver.received) == 1


async def test_every_attempt_has_the_same_id_and_body(world: World) -> None:
    endpoint, secret = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(500)
    await world.tell()
    world.receiver.answers(200)
    await world.later()

    await world.tell()

    first, second = world.receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert first.verified_by(secret) == second.verified_by(secret)
    [delivery] = await world.deliveries(endpoint)
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.DELIVERED, 2, 200)


async def test_failures_in_a_row_follow_the_schedule_to_the_end(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(500)

    waits: list[int] = []
    for _ in RETRY_AFTER_MS:
        await world.tell()
        [delivery] = await world.deliveries(endpoint)
        waits.append(await wait_ms(world, delivery.delivery_id))
        await world.later()
    counts = await world.tell()

    assert all(0.8 * most <= wait <= most for wait, most in zip(waits, RETRY_AFTER_MS, strict=True))
    assert counts["dead"] == 1
    [delivery] = await world.deliveries(endpoint)
    assert (delivery.state, delivery.attempts) == (DeliveryState.DEAD, len(RETRY_AFTER_MS) + 1)
    await world.later()
    assert (await world.tell())["started"] == 0


async def test_retry_after_is_honored(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(503, Retry_After="120")

    await world.tell()

    [delivery] = await world.deliveries(endpoint)
    assert await wait_ms(world, delivery.delivery_id) == 120_000


async def test_gone_disables_the_endpoint_and_keeps_what_waits(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(410)

    await world.tell()
    await some_orders(world, 1)
    await world.later()
    await world.tell()

    found = await world.outbox.endpoint(endpoint)
    assert found is not None
    assert (found.enabled, found.disabled_reason) == (False, "it answered 410 Gone")
    assert len(world.receiver.received) == 1
    [delivery] = await world.deliveries(endpoint)
    assert delivery.state is DeliveryState.PENDING
    await world.outbox.change(endpoint, url=None, description=None, event_types=None, enabled=True)
    world.receiver.answers(200)
    await world.tell()
    assert [delivery.state for delivery in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]


async def test_receiver_that_hangs_stops_nobody_else(world: World) -> None:
    hanging, let_go = await world.another_receiver(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    hanging.handler = hang
    stuck, _ = await world.endpoint(hanging.url, event_types=ORDERS)
    await world.endpoint(event_types=ORDERS)
    await some_orders(world, 3 * CONCURRENT_MAX)

    async def others_are_told() -> bool:
        await world.relay.run_once()
        return len(world.receiver.received) == 3 * CONCURRENT_MAX

    await until(others_are_told)
    assert len(hanging.received) == CONCURRENT_MAX
    sending = await world.row("select count(*) from webhook_deliveries where endpoint_id = $1 and sending", stuck)
    assert sending == CONCURRENT_MAX
    let_go.set()


# ------------------------------------------------------------------------------------------------ order


async def test_events_of_an_order_arrive_in_order_while_others_go_on(world: World) -> None:
    await world.endpoint(event_types=ORDERS)
    refused, fine = await some_orders(world, 2)
    for order in (refused, fine):
        await world.ledger.pay(order)

    def answer(received: Received) -> web.Response:
        return web.Response(status=500 if received.json["data"]["order_id"] == refused else 204)

    world.receiver.answer = answer
    await world.tell()
    assert world.receiver.of(fine) == ["order.reserved", "order.paid"]
    assert world.receiver.of(refused) == ["order.reserved"]
    await world.later()
    await world.tell()
    assert world.receiver.of(refused) == ["order.reserved"] * 2

    world.receiver.answers(204)
    await world.later()
    await world.tell()

    assert world.receiver.of(refused) == ["order.reserved"] * 3 + ["order.paid"]


async def test_next_event_follows_at_once_when_the_one_before_it_is_dead(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    [order] = await some_orders(world, 1)
    await world.ledger.pay(order)
    await world.ledger.sql.execute("update webhook_deliveries set attempts = 99 where type = 'order.reserved'")
    world.receiver.answer = lambda received: web.Response(status=500 if received.type == "order.reserved" else 204)

    async def both_are_over() -> bool:
        await world.tell()
        return not await world.deliveries(endpoint, DeliveryState.PENDING)

    await until(both_are_over)

    assert world.receiver.types == ["order.reserved", "order.paid"]
    assert [one.state.value for one in await world.deliveries(endpoint)] == ["dead", "delivered"]


async def test_order_is_kept_for_each_endpoint_alone(world: World) -> None:
    broken = await world.another_receiver()
    broken.answers(500)
    await world.endpoint(broken.url, event_types=ORDERS)
    await world.endpoint(event_types=ORDERS)
    [order] = await some_orders(world, 1)
    await world.ledger.pay(order)

    async def told() -> bool:
        await world.tell()
        return len(world.receiver.received) == 2

    await until(told)

    assert world.receiver.types == ["order.reserved", "order.paid"]
    assert broken.types == ["order.reserved"]


async def test_long_line_behind_one_failure_does_not_hide_what_is_due(world: World) -> None:
    await world.endpoint()
    [order] = await some_orders(world, 1)
    await world.tell()
    world.receiver.received.clear()
    for _ in range(3 * CONCURRENT_MAX):
        await world.ledger.sql.execute(
            "insert into webhook_deliveries (endpoint_id, event_id, type, aggregate_id, at, data, next_at)"
            " select endpoint_id, gen_random_uuid(), type, aggregate_id, at, data, at from webhook_deliveries"
            " where aggregate_id = $1 limit 1",
            order,
        )
    world.receiver.answers(500)
    await world.tell()
    world.receiver.answers(204)

    await some_orders(world, 1)
    await world.tell()

    assert world.receiver.types.count("order.reserved") == 2


# ------------------------------------------------------------------------------------------------ crashes and company


class Forgetful(HttpSender):
    """Sends, and the process dies before it can say how that went."""

    async def send(self, target: Target, message: Message, *, now_ms: int) -> Sent:
        await super().send(target, message, now_ms=now_ms)
        raise asyncio.CancelledError


async def test_relay_that_dies_between_sending_and_recording_sends_the_same_again(world: World) -> None:
    endpoint, secret = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    sender = Forgetful(allow_private=True)
    dying = world.a_relay(sender)
    await dying.run_once()
    await dying.drain()
    await sender.close()
    assert (await world.tell())["started"] == 0, "the lease of the dead one is not over"

    await world.later()
    await world.tell()

    first, second = world.receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert second.verified_by(secret)
    assert [one.state for one in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]


async def test_dead_relay_keeps_the_order_of_an_order(world: World) -> None:
    await world.endpoint(event_types=ORDERS)
    [order] = await some_orders(world, 1)
    await world.ledger.pay(order)
    sender = Forgetful(allow_private=True)
    dying = world.a_relay(sender)
    await dying.run_once()
    await dying.drain()
    await sender.close()
    await world.tell()
    assert world.receiver.types == ["order.reserved"]

    await world.later()
    await until(lambda: _all_told(world, 3))

    assert world.receiver.types == ["order.reserved", "order.reserved", "order.paid"]


async def _all_told(world: World, count: int) -> bool:
    await world.tell()
    return len(world.receiver.received) == count


async def test_two_relays_share_the_work_and_send_nothing_twice(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    orders = await some_orders(world, 60)
    for order in orders:
        await world.ledger.pay(order)
    other = world.a_relay()

    async def both() -> bool:
        await asyncio.gather(world.tell(), world.tell(other))
        return len(await world.deliveries(endpoint, DeliveryState.DELIVERED)) == 120

    await until(both)

    assert len(world.receiver.received) == len({received.id for received in world.receiver.received}) == 120
    assert all(world.receiver.of(order) == ["order.reserved", "order.paid"] for order in orders)


class Lost:
    """An outbox whose answers to `record` are lost once: before or after they were stored."""

    def __init__(self, world: World, *, stored: bool) -> None:
        self._outbox = world.outbox
        self._stored = stored
        self.lost = 0
        self.claim = world.outbox.claim
        self.backlog = world.outbox.backlog
        self.prune = world.outbox.prune

    async def record(self, records: list[object]) -> None:
        if (self.lost and not self._stored) or self.lost > 1:
            await self._outbox.record(records)  # pyright: ignore[reportArgumentType]
            return
        if self._stored:
            await self._outbox.record(records)  # pyright: ignore[reportArgumentType]
        self.lost += 1
        raise OutcomeUnknown("the line broke")


@pytest.mark.parametrize("stored", [True, False])
async def test_record_whose_answer_is_lost_is_repeated(world: World, stored: bool) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    outbox = Lost(world, stored=stored)
    relay = Relaying(
        outbox=outbox,  # pyright: ignore[reportArgumentType]
        sender=world.sender,
        clock=world.clock,
        ids=world.ids,
        wake=lambda: None,
    )
    await relay.run_once()
    while outbox.lost < (2 if stored else 1):
        with pytest.raises(OutcomeUnknown):
            await relay.drain()

    await relay.drain()

    assert len(world.receiver.received) == 1
    assert [one.state for one in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]


async def test_late_failure_of_a_slow_relay_does_not_undo_a_success(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    slow = world.a_relay()
    world.receiver.answers(500)
    await slow.run_once()
    await until(lambda: len(world.receiver.received) == 1)
    world.receiver.answers(204)
    await world.later()  # the lease of the slow one is over
    await world.tell()

    await slow.drain()

    assert [one.state for one in await world.deliveries(endpoint)] == [DeliveryState.DELIVERED]
