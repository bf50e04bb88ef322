"""Two processes at one line at once, and beside each race its twin with the safeguard off, which shows the harm."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from doorbuster.adapters.postgres.pool import Connection
from doorbuster.domain.order import Hold
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import CommitWord, StoreUnavailable
from postgres.ledger import ACTOR, Ledger, arguments
from postgres.lines import COMMIT_GRANTS, Line, a_grant, line_of

LOCK = ("from flash_sales where sale_id = p_sale_id for no key update", "from flash_sales where sale_id = p_sale_id")


@pytest.fixture
async def line(ledger: Ledger) -> Line:
    return await line_of(ledger)


@pytest.fixture
async def first(ledger: Ledger) -> AsyncIterator[Connection]:
    async with ledger.connection() as connection:
        yield connection


def grants(line: Line, holds: Sequence[Hold]) -> list[object]:
    return [*arguments(line.sale, holds), [hold.number for hold in holds]]


async def orders_of(ledger: Ledger, number: int) -> int:
    return await ledger.sql.fetchval("select count(*) from sale_orders where line_number = $1", number)


async def test_number_that_two_admitters_grant_makes_one_order(ledger: Ledger, line: Line, first: Connection) -> None:
    async with first.transaction():
        await first.fetch(COMMIT_GRANTS, *grants(line, [a_grant("ann", 1)]))
        same = asyncio.ensure_future(ledger.commit(line.sale, a_grant("ann", 1)))
        other = asyncio.ensure_future(ledger.commit(line.sale, a_grant("bob", 1), a_grant("eve", 2)))
        await ledger.somebody_waits()

    assert (await same, await other) == ([CommitWord.SEEN], [CommitWord.LIMIT, CommitWord.COMMITTED])
    assert await orders_of(ledger, 1) == 1
    assert (await line.now()).quantity_sold == 2


async def test_same_grant_of_two_admitters_is_one_order(ledger: Ledger, line: Line, first: Connection) -> None:
    hold = a_grant("ann", 1)
    async with first.transaction():
        await first.fetch(COMMIT_GRANTS, *grants(line, [hold]))
        second = asyncio.ensure_future(ledger.commit(line.sale, hold))
        await ledger.somebody_waits()

    assert await second == [CommitWord.COMMITTED]
    assert await orders_of(ledger, 1) == 1


async def test_number_without_the_lock_meets_the_index(ledger: Ledger, line: Line, first: Connection) -> None:
    await ledger.without("commit_holds", LOCK)
    await ledger.sql.execute("alter table sale_log drop constraint sale_log_pkey")
    async with first.transaction():
        await first.fetch(COMMIT_GRANTS, *grants(line, [a_grant("ann", 1)]))
        second = asyncio.ensure_future(ledger.commit(line.sale, a_grant("bob", 1)))
        await ledger.somebody_waits()

    with pytest.raises(StoreUnavailable, match="sale_orders_number"):
        await second
    assert await orders_of(ledger, 1) == 1


async def test_twin_without_lock_and_index_grants_a_number_twice(ledger: Ledger, line: Line, first: Connection) -> None:
    await ledger.without("commit_holds", LOCK)
    await ledger.sql.execute("alter table sale_log drop constraint sale_log_pkey; drop index sale_orders_number")
    async with first.transaction():
        await first.fetch(COMMIT_GRANTS, *grants(line, [a_grant("ann", 1)]))
        second = asyncio.ensure_future(ledger.commit(line.sale, a_grant("bob", 1)))
        await ledger.somebody_waits()

    assert await second == [CommitWord.COMMITTED]
    assert await orders_of(ledger, 1) == 2


async def test_blocks_set_aside_at_once_share_no_number(ledger: Ledger, line: Line) -> None:
    blocks = await asyncio.gather(*(line.lines.reserve_numbers(line.sale.sale_id, 10, epoch=1) for _ in range(20)))

    taken = sorted(block for block in blocks if block is not None)
    assert taken == [(at, at + 10) for at in range(100, 300, 10)]
    assert (await line.now()).number_high == 300


async def test_block_waits_for_the_epoch_that_is_being_raised(ledger: Ledger, line: Line, first: Connection) -> None:
    async with first.transaction():
        await first.fetchval("select raise_epoch($1, 1, 'lost')", line.sale.sale_id)
        late = asyncio.ensure_future(line.lines.reserve_numbers(line.sale.sale_id, 10, epoch=1))
        await ledger.somebody_waits()

    assert await late is None
    assert (await line.now()).number_high == 100


async def test_sweep_passes_over_an_order_that_is_being_claimed(ledger: Ledger, line: Line, first: Connection) -> None:
    order = await line.granted("ann", 1)
    await line.unseen_for_long(order)
    async with first.transaction():
        await first.execute("select claim_orders($1)", [order.order_id])
        ended = await line.lines.expire_unclaimed(limit=10)

    assert (ended, await line.lines.expire_unclaimed(limit=10)) == (0, 0)
    current = await ledger.orders.get(order.order_id)
    assert current is not None
    assert current.status is OrderStatus.RESERVED
    assert current.claimed_ms is not None


async def test_claim_that_waited_for_the_sweep_finds_the_order_ended(
    ledger: Ledger, line: Line, first: Connection
) -> None:
    order = await line.granted("ann", 1)
    await line.unseen_for_long(order)
    async with first.transaction():
        assert await first.fetchval("select expire_unclaimed($1, 10)", line.sale.sale_id) == 1
        claim = asyncio.ensure_future(line.lines.claim([order.order_id]))
        await ledger.somebody_waits()

    await claim
    current = await ledger.orders.get(order.order_id)
    assert current is not None
    assert (current.status, current.claimed_ms) == (OrderStatus.EXPIRED, None)
    assert (await ledger.audit(line.sale)).drifts == ()


async def test_twin_that_does_not_lock_what_it_ends_breaks_a_claim(
    ledger: Ledger, line: Line, first: Connection
) -> None:
    order = await line.granted("ann", 1)
    await line.unseen_for_long(order)
    await ledger.without("expire_unclaimed", ("for update skip locked", ""))
    async with first.transaction():
        await first.execute("select claim_orders($1)", [order.order_id])
        sweep = asyncio.ensure_future(line.lines.expire_unclaimed(limit=10))
        await ledger.somebody_waits()

    assert await sweep == 1  # an order whose buyer was shown a later end
    current = await ledger.orders.get(order.order_id)
    assert current is not None
    assert current.claimed_ms is not None


async def test_payment_begun_first_keeps_an_unclaimed_order(ledger: Ledger, line: Line, first: Connection) -> None:
    order = await line.granted("ann", 1)
    await line.unseen_for_long(order)
    async with first.transaction():
        await first.execute("select from flash_sales where sale_id = $1 for no key update", line.sale.sale_id)
        await ledger.open_payment(order, "INTENT", on=first)
        sweep = asyncio.ensure_future(line.lines.expire_unclaimed(limit=10))
        await ledger.somebody_waits()

    assert await sweep == 0
    assert (await line.now()).quantity_sold == 1


async def test_two_sweeps_end_an_unclaimed_order_once(ledger: Ledger, line: Line, first: Connection) -> None:
    await line.unseen_for_long(await line.granted("ann", 1))
    async with first.transaction():
        await first.fetchval("select expire_unclaimed($1, 10)", line.sale.sale_id)
        second = asyncio.ensure_future(line.lines.expire_unclaimed(limit=10))
        await ledger.somebody_waits()

    assert await second == 0
    assert (await line.now()).quantity_sold == 0
    assert len(await ledger.orders.pending_releases(limit=9)) == 1


async def test_end_of_a_line_that_waited_for_a_refund_does_not_come(ledger: Ledger, first: Connection) -> None:
    line = await line_of(ledger, quantity_available=1)
    order = await line.granted("ann", 1)
    await ledger.pay(order.order_id)
    async with first.transaction():
        assert await first.fetchval("select return_order($1)", order.order_id)
        end = asyncio.ensure_future(line.lines.end_line(line.sale.sale_id))
        await ledger.somebody_waits()

    assert await end is None
    assert (await line.now()).ended_number == 0
    assert await ledger.commit(line.sale, a_grant("bob", 2)) == [CommitWord.COMMITTED]


async def test_twin_that_does_not_wait_ends_a_line_with_a_free_unit(ledger: Ledger, first: Connection) -> None:
    line = await line_of(ledger, quantity_available=1)
    order = await line.granted("ann", 1)
    await ledger.pay(order.order_id)
    await ledger.without("end_line", LOCK)
    async with first.transaction():
        assert await first.fetchval("select return_order($1)", order.order_id)
        end = asyncio.ensure_future(line.lines.end_line(line.sale.sale_id))
        await ledger.somebody_waits()

    assert await end == 100
    assert await ledger.commit(line.sale, a_grant("bob", 2)) == [CommitWord.LIMIT]


async def test_grant_that_waited_for_the_end_of_its_line_is_refused(ledger: Ledger, line: Line) -> None:
    await ledger.sales.move(line.sale.sale_id, SaleStatus.ENDED, ACTOR)
    async with ledger.connection() as first, first.transaction():
        assert await first.fetchval("select end_line($1)", line.sale.sale_id) == 100
        late = asyncio.ensure_future(ledger.commit(line.sale, a_grant("ann", 1)))
        await ledger.somebody_waits()

    assert await late == [CommitWord.OVER]


async def test_many_processes_make_one_key(ledger: Ledger, line: Line) -> None:
    made = await asyncio.gather(*(line.lines.sealing_keys() for _ in range(8)))

    assert len({tuple(keys) for keys in map(tuple, made)}) == 1
    assert await ledger.sql.fetchval("select count(*) from sealing_keys") == 1


async def test_second_key_seals_and_the_first_stays_good(ledger: Ledger, line: Line) -> None:
    [old] = await line.lines.sealing_keys()
    await ledger.sql.execute("insert into sealing_keys values ('k2', sha256('new'), clock_timestamp())")

    new, still = await line.lines.sealing_keys()

    assert (new.key_id, still) == ("k2", old)
