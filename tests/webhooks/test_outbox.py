"""What a person does with deliveries and endpoints, and what is forgotten."""

import pytest

from doorbuster.domain.outcomes import Refusal
from doorbuster.engine.shop_endpoints import Webhooks
from doorbuster.engine.shop_ports import ResendWord
from webhooks.world import ORDERS, World, some_orders


async def test_dead_delivery_is_sent_again_when_a_person_says_so(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 2)
    await world.ledger.sql.execute("update webhook_deliveries set state = 'dead', closed_at = now(), attempts = 15")
    assert (await world.tell())["started"] == 0
    first, second = await world.deliveries(endpoint)

    await world.outbox.resend(first.delivery_id)
    await world.tell()
    assert [one.state.value for one in await world.deliveries(endpoint)] == ["delivered", "dead"]
    assert await world.outbox.resend_dead(endpoint) == 1
    await world.tell()

    assert {received.id for received in world.receiver.received} == {
        f"evt_{one.event_id.replace('-', '')}" for one in (first, second)
    }
    assert [one.attempts for one in await world.deliveries(endpoint)] == [1, 1]


async def test_disabled_endpoint_is_left_alone_until_it_is_enabled(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    await world.outbox.change(endpoint, url=None, description=None, event_types=None, enabled=False)
    await some_orders(world, 1)
    assert (await world.tell())["started"] == 0

    await world.outbox.change(endpoint, url=None, description=None, event_types=None, enabled=True)
    await world.tell()

    assert world.receiver.types == ["order.reserved"], "what happened while it was disabled is not told"


async def test_endpoint_gets_the_types_it_asked_for(world: World) -> None:
    await world.endpoint(event_types=["order.paid"])
    [order] = await some_orders(world, 1)
    await world.ledger.pay(order)

    await world.tell()

    assert world.receiver.types == ["order.paid"]


async def test_endpoint_that_is_deleted_takes_its_deliveries_with_it(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)

    assert await world.outbox.delete(endpoint)

    assert (await world.tell())["started"] == 0
    assert await world.row("select count(*) from webhook_deliveries") == 0
    assert not await world.outbox.delete(endpoint)


async def test_old_secret_signs_beside_the_new_one_until_its_time_is_over(world: World) -> None:
    endpoint, old = await world.endpoint(event_types=ORDERS)
    new = await world.outbox.rotate(endpoint, overlap_ms=60_000)
    assert new is not None
    await some_orders(world, 1)
    await world.tell()
    await world.outbox.rotate(endpoint, overlap_ms=0)
    await world.ledger.sql.execute("update webhook_secrets set valid_until = now() where valid_until is not null")
    await some_orders(world, 1)

    await world.tell()

    both, neither = world.receiver.received
    assert both.verified_by(old) == both.verified_by(new)
    for secret in (old, new):
        with pytest.raises(Exception, match="No matching signature"):
            neither.verified_by(secret)


async def test_backlog_counts_what_waits_and_what_was_given_up(world: World) -> None:
    empty = await world.outbox.backlog()
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 3)
    first, *_ = await world.deliveries(endpoint)
    await world.ledger.sql.execute(
        "update webhook_deliveries set state = 'dead', closed_at = now() where delivery_id = $1", first.delivery_id
    )

    backlog = await world.outbox.backlog()

    assert (empty.pending, empty.oldest_ms, empty.dead) == (0, None, 0)
    assert (backlog.pending, backlog.oldest_ms, backlog.dead) == (2, first.event_ms, 1)


async def test_what_is_long_over_is_forgotten(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 4)
    ids = [one.delivery_id for one in await world.deliveries(endpoint)]
    for number, state, days in ((0, "delivered", 31), (1, "delivered", 29), (2, "dead", 89), (3, "dead", 91)):
        await world.ledger.sql.execute(
            "update webhook_deliveries set state = $2, closed_at = now() - $3 * interval '1 day'"
            " where delivery_id = $1",
            ids[number],
            state,
            days,
        )

    assert await world.outbox.prune(limit=100) == 2

    assert [one.delivery_id for one in await world.deliveries(endpoint)] == ids[1:3]
    assert await world.outbox.prune(limit=100) == 0


async def test_delivery_of_an_endpoint_deleted_meanwhile_is_forgotten(world: World) -> None:
    await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    await world.ledger.sql.execute("delete from webhook_endpoints")
    assert (await world.tell())["started"] == 0

    assert await world.outbox.prune(limit=100) == 1


async def test_pages_show_every_delivery_once_the_newest_first(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 7)
    webhooks = Webhooks(store=world.outbox, sender=world.sender, clock=world.clock, ids=world.ids)

    seen: list[int] = []
    cursor: int | None = None
    for _ in range(3):
        found = await webhooks.deliveries(endpoint, state=None, before=cursor, limit=3)
        assert not isinstance(found, Refusal)
        page, cursor = found
        seen += [one.delivery_id for one in page]

    assert cursor is None
    assert seen == [one.delivery_id for one in reversed(await world.deliveries(endpoint))]


async def test_resend_of_a_disabled_endpoint_is_refused_and_changes_nothing(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    await world.tell()
    [before] = await world.deliveries(endpoint)
    await world.outbox.change(endpoint, url=None, description=None, event_types=None, enabled=False)

    assert await world.outbox.resend(before.delivery_id) is ResendWord.CONFLICT

    assert await world.deliveries(endpoint) == [before]


async def test_what_a_receiver_says_is_kept_however_odd(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 1)
    world.receiver.answers(500, "a\0b\x1b[31m\u2028")

    await world.tell()

    [delivery] = await world.deliveries(endpoint)
    assert delivery.last_body == "a\ufffdb\ufffd[31m\ufffd"


async def test_what_waits_for_a_disabled_endpoint_is_forgotten_after_a_month(world: World) -> None:
    endpoint, _ = await world.endpoint(event_types=ORDERS)
    await some_orders(world, 2)
    await world.outbox.change(endpoint, url=None, description=None, event_types=None, enabled=False)
    [old, young] = await world.deliveries(endpoint)
    for delivery, days in ((old, 31), (young, 29)):
        await world.ledger.sql.execute(
            "update webhook_deliveries set next_at = now() - $2 * interval '1 day' where delivery_id = $1",
            delivery.delivery_id,
            days,
        )

    assert await world.outbox.prune(limit=100) == 1

    assert [one.delivery_id for one in await world.deliveries(endpoint)] == [young.delivery_id]
