"""Two processes at once, each in a transaction the test holds open. Beside each race stands a twin with the safeguard
off that shows the harm: a race test that cannot fail proves nothing.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from doorbuster.adapters.postgres.pool import Connection
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import CommitWord, StoreUnavailable
from postgres.ledger import ACTOR, COMMIT, Ledger, a_hold, arguments, holds_of

LOCK = ("from flash_sales where sale_id = p_sale_id for no key update", "from flash_sales where sale_id = p_sale_id")
STOCK_GUARD = (" and quantity_sold + v_units <= quantity_available", "")
LIMIT_GUARD = ("where e.quantity_purchased + excluded.quantity_purchased <= v_sale.per_user_limit", "")
LOG_TWIN = "alter table sale_log drop constraint sale_log_pkey"


@pytest.fixture
async def first(ledger: Ledger) -> AsyncIterator[Connection]:
    async with ledger.connection() as connection:
        yield connection


async def units(ledger: Ledger) -> int:
    return await ledger.sql.fetchval("select coalesce(sum(quantity), 0) from sale_orders where status = 'RESERVED'")


async def test_last_unit_has_one_winner(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=1)
    async with first.transaction():
        [won] = await first.fetch(COMMIT, *arguments(sale, [a_hold("ann")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("bob")))
        await ledger.somebody_waits()

    assert (won["word"], await second) == ("committed", [CommitWord.NO_STOCK])
    assert await units(ledger) == 1


async def test_last_unit_without_the_lock_meets_the_guard(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=1)
    await ledger.without("commit_holds", LOCK)
    await ledger.sql.execute(LOG_TWIN)
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [a_hold("ann")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("bob")))
        await ledger.somebody_waits()

    with pytest.raises(StoreUnavailable, match="changed under its lock"):
        await second
    assert await units(ledger) == 1


async def test_twin_without_lock_and_guard_oversells(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=1)
    await ledger.without("commit_holds", LOCK, STOCK_GUARD, ("'SOLD_OUT'\n", "'ACTIVE'\n"))
    await ledger.sql.execute(LOG_TWIN)
    await ledger.sql.execute("alter table flash_sales drop constraint sold_within_available")
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [a_hold("ann")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("bob")))
        await ledger.somebody_waits()

    await second
    assert await units(ledger) == 2


async def test_two_tabs_of_one_buyer_get_one_allowance(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=9)
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [a_hold("ann", key="tab 1")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("ann", key="tab 2")))
        await ledger.somebody_waits()

    assert await second == [CommitWord.LIMIT]
    assert await units(ledger) == 1


async def test_two_tabs_without_the_lock_meet_the_guard(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=9)
    await ledger.without("commit_holds", LOCK)
    await ledger.sql.execute(LOG_TWIN)
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [a_hold("ann", key="tab 1")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("ann", key="tab 2")))
        await ledger.somebody_waits()

    with pytest.raises(StoreUnavailable, match="changed under its lock"):
        await second
    assert await units(ledger) == 1


async def test_twin_that_only_looks_lets_two_tabs_pass(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=9)
    await ledger.without("commit_holds", LOCK, LIMIT_GUARD)
    await ledger.sql.execute(LOG_TWIN)
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [a_hold("ann", key="tab 1")]))
        second = asyncio.ensure_future(ledger.commit(sale, a_hold("ann", key="tab 2")))
        await ledger.somebody_waits()

    assert await second == [CommitWord.COMMITTED]
    assert await units(ledger) == 2


@pytest.mark.parametrize("fate", ["commit", "rollback"])
async def test_allowance_holds_in_every_interleaving(ledger: Ledger, first: Connection, fate: str) -> None:
    sale = await ledger.sale(quantity_available=9, per_user_limit=3)
    transaction = first.transaction()
    await transaction.start()
    await first.fetch(COMMIT, *arguments(sale, [a_hold("ann", key="1", quantity=2)]))
    others = [asyncio.ensure_future(ledger.commit(sale, a_hold("ann", key=f"o{n}"))) for n in range(4)]
    await ledger.somebody_waits()

    await getattr(transaction, fate)()

    said = [word for [word] in await asyncio.gather(*others)]
    assert said.count(CommitWord.COMMITTED) == (1 if fate == "commit" else 3)
    assert await units(ledger) == 3


async def test_retry_while_the_first_is_under_way_is_one_order(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=9, per_user_limit=5)
    hold = a_hold("ann", key="k")
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [hold]))
        same_hold = asyncio.ensure_future(ledger.commit(sale, hold))
        same_key = asyncio.ensure_future(ledger.commit(sale, a_hold("ann", key="k")))
        await ledger.somebody_waits()

    assert (await same_hold, await same_key) == ([CommitWord.COMMITTED], [CommitWord.SEEN])
    assert await units(ledger) == 1


async def test_twin_without_look_up_and_index_makes_a_second_order(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9, per_user_limit=5)
    await ledger.without("commit_holds", ("o.idempotency_key = h.key", "false"))
    await ledger.sql.execute("drop index sale_orders_key")

    await ledger.commit(sale, a_hold("ann", key="k"))
    await ledger.commit(sale, a_hold("ann", key="k"))

    assert await units(ledger) == 2


async def test_without_look_up_the_index_keeps_one_order(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9, per_user_limit=5)
    await ledger.without("commit_holds", ("o.idempotency_key = h.key", "false"))
    await ledger.commit(sale, a_hold("ann", key="k"))

    with pytest.raises(StoreUnavailable, match="another writer was first"):
        await ledger.commit(sale, a_hold("ann", key="k"))

    assert await units(ledger) == 1


async def test_raised_epoch_refuses_the_batch_that_waited(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale()
    async with first.transaction():
        await first.execute("select raise_epoch($1, 1, 'lost')", sale.sale_id)
        late = asyncio.ensure_future(ledger.commit(sale, a_hold()))
        await ledger.somebody_waits()

    assert await late == [CommitWord.STALE_EPOCH]
    assert await units(ledger) == 0


async def test_tombstone_stops_the_commit_that_waited(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    async with first.transaction():
        await first.fetch("select tombstone_holds($1, $2, '{ann}', '{1}', '{1}')", sale.sale_id, [hold.hold_id])
        late = asyncio.ensure_future(ledger.commit(sale, hold))
        await ledger.somebody_waits()

    assert await late == [CommitWord.TOMBSTONED]
    assert await units(ledger) == 0
    assert len(await ledger.orders.pending_releases(limit=9)) == 1


async def test_commit_stops_the_tombstone_that_waited(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    async with first.transaction():
        await first.fetch(COMMIT, *arguments(sale, [hold]))
        sweep = asyncio.ensure_future(ledger.orders.tombstone(sale.sale_id, [hold]))
        await ledger.somebody_waits()

    assert await sweep == [hold.hold_id]
    assert await units(ledger) == 1
    assert await ledger.orders.pending_releases(limit=9) == []


async def test_twin_that_only_releases_lets_a_dead_hold_revive(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()

    await ledger.sql.execute(
        "insert into sale_releases (sale_id, hold_id, user_id, epoch, forget_key, created_at)"
        " values ($1, $2, 'ann', 1, true, now())",
        sale.sale_id,
        hold.hold_id,
    )
    said = await ledger.commit(sale, hold)

    assert said == [CommitWord.COMMITTED]
    assert len(await ledger.orders.pending_releases(limit=9)) == 1  # its unit will be free and owned at once


async def test_expiry_cancel_and_commit_at_once_close_an_order_once(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=20)
    holds = holds_of(20)
    await ledger.commit(sale, *holds)
    orders = [order for hold in holds if (order := await ledger.orders.get(hold.hold_id))]
    await ledger.make_due(*orders)

    await asyncio.gather(
        ledger.orders.expire_due(limit=7),
        ledger.orders.expire_due(limit=20),
        *(ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR) for order in orders[::2]),
        ledger.commit(sale, *holds),
        ledger.commit(sale, a_hold("late", key="late")),
    )

    now = await ledger.now(sale)
    releases = await ledger.orders.pending_releases(limit=99)
    ended = await ledger.sql.fetchval("select count(*) from sale_orders where status in ('EXPIRED', 'CANCELLED')")
    assert ended == len(releases) == 20
    assert now.quantity_sold == await units(ledger)
    assert (await ledger.audit(sale)).drifts == ()


async def test_order_another_sweep_has_ended_is_not_ended_again(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=1)
    order = await ledger.reserve(sale)
    await ledger.make_due(order)
    async with first.transaction():
        await first.fetchval("select expire_sale($1, 10)", sale.sale_id)
        second = asyncio.ensure_future(ledger.orders.expire_due(limit=10))
        await ledger.somebody_waits()

    assert await second == 0
    assert (await ledger.now(sale)).quantity_sold == 0
    assert len(await ledger.orders.pending_releases(limit=9)) == 1


SWEEP_UNLOCKED = (
    ("perform from flash_sales where sale_id = p_sale_id for no key update;", ""),
    ("for update skip locked", ""),
)


async def test_state_guard_alone_keeps_two_sweeps_apart(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=1)
    await ledger.make_due(await ledger.reserve(sale))
    await ledger.without("expire_sale", *SWEEP_UNLOCKED)
    async with first.transaction():
        await first.fetchval("select expire_sale($1, 10)", sale.sale_id)
        second = asyncio.ensure_future(ledger.orders.expire_due(limit=10))
        await ledger.somebody_waits()

    assert await second == 0
    assert (await ledger.now(sale)).quantity_sold == 0


async def test_twin_without_the_repeated_guard_gives_back_twice(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale(quantity_available=2)
    order = await ledger.reserve(sale)
    await ledger.reserve(sale, "bob")
    await ledger.make_due(order)
    await ledger.without("expire_sale", *SWEEP_UNLOCKED)
    await ledger.without("close_orders", ("and o.status = 'RESERVED'", ""))
    await ledger.sql.execute("alter table sale_releases drop constraint sale_releases_hold_id_key")
    await ledger.sql.execute(
        "alter table user_sale_eligibility drop constraint user_sale_eligibility_quantity_purchased_check"
    )
    async with first.transaction():
        await first.fetchval("select expire_sale($1, 10)", sale.sale_id)
        second = asyncio.ensure_future(ledger.orders.expire_due(limit=10))
        await ledger.somebody_waits()

    assert await second == 1
    assert (await ledger.now(sale)).quantity_sold == 0  # and bob's unit is on sale again


async def test_payment_being_begun_keeps_its_order(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    await ledger.make_due(order)
    async with first.transaction():
        await first.execute("select from sale_orders where order_id = $1 for update", order.order_id)
        await ledger.open_payment(order, "INTENT", on=first)
        expired = await ledger.orders.expire_due(limit=10)

    assert expired == 0
    assert await units(ledger) == 1


async def test_payment_begun_while_the_sweep_waits_is_seen(ledger: Ledger, first: Connection) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    await ledger.make_due(order)
    await ledger.without("expire_sale", ("for update skip locked", "for update"))
    async with first.transaction():
        await first.execute("select from sale_orders where order_id = $1 for update", order.order_id)
        await ledger.open_payment(order, "INTENT", on=first)
        sweep = asyncio.ensure_future(ledger.orders.expire_due(limit=10))
        await ledger.somebody_waits()

    assert await sweep == 0
    assert await units(ledger) == 1


@pytest.mark.parametrize("state", ["INTENT", "SENT", "AUTHORIZED", "CAPTURING", "VOIDING"])
async def test_open_payment_keeps_its_order(ledger: Ledger, state: str) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    await ledger.make_due(order)
    await ledger.open_payment(order, state)

    expired = await ledger.orders.expire_due(limit=10)

    assert expired == 0
    assert await ledger.orders.next_expiry_ms() is None
    current = await ledger.orders.get(order.order_id)
    assert current is not None
    assert current.status is OrderStatus.RESERVED


async def test_many_writers_at_once_conserve_units(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=40)
    crowd = holds_of(80)

    said = await asyncio.gather(*(ledger.commit(sale, *crowd[start : start + 20]) for start in range(0, 80, 10)))

    assert sum(words.count(CommitWord.COMMITTED) for words in said) >= 40
    assert await units(ledger) == 40
    assert (await ledger.audit(sale)).drifts == ()
