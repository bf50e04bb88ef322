"""What operators, the clock and the rebuilder do to a sale."""

import asyncio

import msgspec
import pytest

from doorbuster.domain.order import Hold
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, terms_of
from doorbuster.domain.transitions import SALE_ARROWS, SaleStatus
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, holds_of

UNKNOWN = ["", "no id", "00000000-0000-0000-0000-000000000000"]


@pytest.mark.parametrize("sale_id", UNKNOWN)
async def test_unknown_sale_is_not_found(ledger: Ledger, sale_id: str) -> None:
    sale = await ledger.sale()

    refusals = [
        await ledger.sales.move(sale_id, SaleStatus.PAUSED, ACTOR),
        await ledger.sales.change(sale_id, terms_of(sale), sale, ACTOR),
    ]

    assert [refusal.code for refusal in refusals if isinstance(refusal, Refusal)] == [Code.NOT_FOUND, Code.NOT_FOUND]
    assert await ledger.sales.get(sale_id) is None
    assert await ledger.sales.raise_epoch(sale_id, 0, "x") is None
    assert await ledger.sales.image_published(sale_id, 0, "x") is False
    assert await ledger.sales.request_rebuild(sale_id, 0, "x") is False
    assert await ledger.sales.set_blocked(sale_id, ["ann"], ACTOR) == ((), ())
    assert [chunk async for chunk in ledger.sales.image_rows(sale_id, 10)] == []


async def test_created_sale_is_as_it_was_asked_for(ledger: Ledger) -> None:
    terms = await ledger.terms(quantity_available=7, per_user_limit=3, payment_attempts=5, title="Ünïcode ✓")

    sale = await ledger.sales.create(an_id(), terms, ACTOR)

    assert terms_of(sale) == terms
    assert (sale.status, sale.quantity_sold, sale.quantity_paid, sale.epoch) == (SaleStatus.SCHEDULED, 0, 0, 0)
    assert (sale.image_run_id, sale.rebuild_reason, sale.log_size) == ("", "", 1)
    assert await ledger.sales.get(sale.sale_id) == sale


async def test_sale_created_twice_is_one_sale(ledger: Ledger) -> None:
    sale_id, terms = an_id(), await ledger.terms()
    first = await ledger.sales.create(sale_id, terms, ACTOR)

    again = await ledger.sales.create(sale_id, terms, ACTOR)

    assert again == first


async def test_who_and_why_is_kept(ledger: Ledger) -> None:
    sale = await ledger.sale()
    await ledger.sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)

    rows = await ledger.sql.fetch("select action, actor, reason from sale_actions order by action_id")

    assert [tuple(row) for row in rows] == [
        ("create", "tester", "a test"),
        ("rebuild", "keeper", "first image"),
        ("move", "tester", "a test"),
    ]


async def at(ledger: Ledger, status: SaleStatus) -> Sale:
    """A sale that stands there, in its window unless it is still to come."""
    hour = 3_600_000
    now = await ledger.sales.time_ms()
    scheduled = status is SaleStatus.SCHEDULED
    sale = await ledger.sale(quantity_available=1, start_ms=now + (hour if scheduled else -hour), end_ms=now + 2 * hour)
    if status is SaleStatus.SOLD_OUT:
        await ledger.reserve(sale)
    elif not scheduled:
        await ledger.sql.execute("update flash_sales set status = $1", status)
    sale = await ledger.now(sale)
    assert sale.status is status
    return sale


@pytest.mark.parametrize(
    ("before", "to"),
    [
        (before, to)
        for before in SaleStatus
        for to in (SaleStatus.ACTIVE, SaleStatus.PAUSED, SaleStatus.ENDED, SaleStatus.CANCELLED)
        if before is not to and to not in SALE_ARROWS[before]
    ],
)
async def test_move_without_an_arrow_is_a_conflict(ledger: Ledger, before: SaleStatus, to: SaleStatus) -> None:
    sale = await at(ledger, before)
    rows = await ledger.everything()

    answer = await ledger.sales.move(sale.sale_id, to, ACTOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT
    assert await ledger.everything() == rows


@pytest.mark.parametrize(
    ("before", "to"), [(before, to) for before, arrows in SALE_ARROWS.items() for to in sorted(arrows)]
)
async def test_every_arrow_can_be_taken_by_someone(ledger: Ledger, before: SaleStatus, to: SaleStatus) -> None:
    sale = await at(ledger, before)

    moved = await ledger.sales.move(sale.sale_id, to, ACTOR)

    if to is SaleStatus.SOLD_OUT:
        assert isinstance(moved, Refusal)  # only the stock says that, and there is a free unit
    elif before is SaleStatus.SOLD_OUT and to is SaleStatus.ACTIVE:
        assert isinstance(moved, Sale)
        assert moved.status is SaleStatus.SOLD_OUT
    else:
        assert isinstance(moved, Sale)
        assert moved.status is to
        again = await ledger.sales.move(sale.sale_id, to, ACTOR)
        assert again == moved


async def test_resumed_sale_without_stock_is_sold_out(ledger: Ledger) -> None:
    sale = await at(ledger, SaleStatus.SOLD_OUT)
    await ledger.sales.move(sale.sale_id, SaleStatus.PAUSED, ACTOR)

    resumed = await ledger.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR)

    assert isinstance(resumed, Sale)
    assert resumed.status is SaleStatus.SOLD_OUT


async def test_open_starts_a_sale_at_once(ledger: Ledger) -> None:
    sale = await at(ledger, SaleStatus.SCHEDULED)

    opened = await ledger.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)

    assert isinstance(opened, Sale)
    assert opened.start_ms < sale.start_ms
    assert await ledger.commit(sale, a_hold()) == ["committed"]


async def test_sale_whose_end_has_passed_does_not_open(ledger: Ledger) -> None:
    sale = await at(ledger, SaleStatus.PAUSED)
    await ledger.sql.execute("update flash_sales set end_time = now() - interval '1 second'")

    answer = await ledger.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR)

    assert isinstance(answer, Refusal)
    assert "ENDED" in answer.detail


async def test_clock_moves_what_is_stored(ledger: Ledger) -> None:
    coming = await at(ledger, SaleStatus.SCHEDULED)
    started, over = await ledger.sale(), await ledger.sale()
    await ledger.sql.execute(
        "update flash_sales set end_time = now() - interval '1 second' where sale_id = $1", over.sale_id
    )

    moved = await ledger.sales.follow_clock()
    again = await ledger.sales.follow_clock()

    assert {sale.sale_id: sale.status for sale in moved} == {
        started.sale_id: SaleStatus.ACTIVE,
        over.sale_id: SaleStatus.ENDED,
    }
    assert again == []
    assert await ledger.now(coming) == coming


async def test_cut_below_what_is_sold_is_a_conflict(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=3)
    await ledger.commit(sale, *holds_of(2))
    sale = await ledger.now(sale)
    before = await ledger.everything()

    answer = await ledger.sales.change(
        sale.sale_id, msgspec.structs.replace(terms_of(sale), quantity_available=1), sale, ACTOR
    )

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT
    assert await ledger.everything() == before


async def test_terms_changed_meanwhile_are_a_conflict(ledger: Ledger) -> None:
    seen = await ledger.sale()
    await ledger.sales.change(seen.sale_id, msgspec.structs.replace(terms_of(seen), title="New"), seen, ACTOR)
    before = await ledger.everything()

    answer = await ledger.sales.change(
        seen.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=9), seen, ACTOR
    )

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT
    assert await ledger.everything() == before


@pytest.mark.parametrize("status", [SaleStatus.PAUSED, SaleStatus.ENDED, SaleStatus.CANCELLED])
async def test_status_changed_meanwhile_is_a_conflict(ledger: Ledger, status: SaleStatus) -> None:
    seen = await at(ledger, SaleStatus.ACTIVE)
    await ledger.sales.move(seen.sale_id, status, ACTOR)

    answer = await ledger.sales.change(
        seen.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=9), seen, ACTOR
    )

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT


async def test_top_up_of_a_sale_that_sold_out_meanwhile_opens_it(ledger: Ledger) -> None:
    seen = await at(ledger, SaleStatus.ACTIVE)
    await ledger.reserve(seen)

    changed = await ledger.sales.change(
        seen.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=3), seen, ACTOR
    )

    assert isinstance(changed, Sale)
    assert (changed.status, changed.quantity_available, changed.quantity_sold) == (SaleStatus.ACTIVE, 3, 1)
    assert (await ledger.audit(changed)).drifts == ()


async def test_cut_to_what_is_sold_is_sold_out(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=3)
    await ledger.reserve(sale)
    seen = await ledger.now(sale)

    changed = await ledger.sales.change(
        sale.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=1), seen, ACTOR
    )

    assert isinstance(changed, Sale)
    assert changed.status is SaleStatus.SOLD_OUT
    assert (await ledger.audit(changed)).drifts == ()


async def test_only_a_stock_change_is_logged(ledger: Ledger) -> None:
    sale = await ledger.sale()
    renamed = await ledger.sales.change(
        sale.sale_id, msgspec.structs.replace(terms_of(sale), title="New", end_ms=sale.end_ms + 1), sale, ACTOR
    )

    assert isinstance(renamed, Sale)
    assert (renamed.title, renamed.end_ms, renamed.log_size) == ("New", sale.end_ms + 1, sale.log_size)


async def test_epoch_is_raised_by_one_of_many(ledger: Ledger) -> None:
    sale = await ledger.sale()

    raised = await asyncio.gather(*(ledger.sales.raise_epoch(sale.sale_id, 1, f"n{n}") for n in range(5)))

    assert sorted(raised, key=str) == [2, None, None, None, None]
    now = await ledger.now(sale)
    assert (now.epoch, now.image_run_id, now.tick_seen) == (2, "", 0)


async def test_raised_epoch_drops_the_releases_that_wait(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    await ledger.sales.raise_epoch(sale.sale_id, 1, "lost")

    assert await ledger.orders.pending_releases(limit=9) == []
    assert await ledger.orders.closing_hold_ids(sale.sale_id, [order.order_id]) == {order.order_id: "closed"}


async def test_word_of_a_dead_epoch_is_not_taken(ledger: Ledger) -> None:
    sale = await ledger.sale()
    await ledger.sales.raise_epoch(sale.sale_id, 1, "lost")
    before = await ledger.everything()

    asked = await ledger.sales.request_rebuild(sale.sale_id, 1, "drift")
    published = await ledger.sales.image_published(sale.sale_id, 1, "server-9")

    assert (asked, published) == (False, False)
    assert await ledger.everything() == before


async def test_request_stands_until_an_image_is_published(ledger: Ledger) -> None:
    sale = await ledger.sale()

    assert await ledger.sales.request_rebuild(sale.sale_id, 1, "drift")
    asked = await ledger.now(sale)
    assert await ledger.sales.image_published(sale.sale_id, 1, "server-2")
    done = await ledger.now(sale)

    assert (asked.rebuild_reason, asked.image_run_id) == ("drift", "server-1")
    assert (done.rebuild_reason, done.image_run_id) == ("", "server-2")


async def test_image_has_every_hold_key_and_block(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9)
    orders = [await ledger.reserve(sale, f"u{n}", key=f"k{n}") for n in range(5)]
    await ledger.pay(orders[0].order_id)
    await ledger.orders.cancel(orders[1].order_id, user_id=None, actor=ACTOR)
    await ledger.pay(orders[2].order_id)
    await ledger.sql.execute("select return_order($1)", orders[2].order_id)
    await ledger.orders.tombstone(sale.sale_id, [a_hold("eve")])
    await ledger.sales.set_blocked(sale.sale_id, ["x", "y", "z"], ACTOR)

    chunks = [chunk async for chunk in ledger.sales.image_rows(sale.sale_id, 2)]

    def hold(n: int) -> Hold:
        order = orders[n]
        return Hold(
            hold_id=order.order_id,
            user_id=f"u{n}",
            quantity=1,
            key=f"k{n}",
            digest="body",
            since_ms=order.reserved_ms,
        )

    by_user = sorted([held for chunk in chunks for held in chunk.holds], key=lambda held: held.user_id)
    closed = sorted([held for chunk in chunks for held in chunk.closed_keys], key=lambda held: held.user_id)
    assert by_user == [hold(0), hold(3), hold(4)]
    assert closed == [hold(1), hold(2)]
    assert sorted(user for chunk in chunks for user in chunk.blocked) == ["x", "y", "z"]
    assert max(len(chunk.holds) + len(chunk.closed_keys) + len(chunk.blocked) for chunk in chunks) == 2


async def test_image_is_of_one_instant(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9)
    orders = [await ledger.reserve(sale, f"u{n}") for n in range(3)]
    rows = ledger.sales.image_rows(sale.sale_id, 1)
    first = await anext(rows)

    for order in orders:
        await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    rest = [chunk async for chunk in rows]

    assert sum(len(chunk.holds) for chunk in [first, *rest]) == 3
    assert sum(len(chunk.closed_keys) for chunk in rest) == 0


async def test_block_list_is_replaced(ledger: Ledger) -> None:
    sale = await ledger.sale()
    await ledger.sales.set_blocked(sale.sale_id, ["ann", "bob", "ann"], ACTOR)

    changed = await ledger.sales.set_blocked(sale.sale_id, ["bob", "eve"], ACTOR)
    again = await ledger.sales.set_blocked(sale.sale_id, ["bob", "eve"], ACTOR)

    assert changed == (["eve"], ["ann"])
    assert again == ([], [])
    assert await ledger.commit(sale, a_hold("ann"), a_hold("bob"), a_hold("eve")) == [
        "committed",
        "blocked",
        "blocked",
    ]


async def test_list_is_newest_first_in_pages(ledger: Ledger) -> None:
    made = [(await ledger.sale()).sale_id for _ in range(5)]

    seen: list[str] = []
    cursor = None
    while True:
        sales, cursor = await ledger.sales.list_sales(cursor=cursor, limit=2)
        seen += [sale.sale_id for sale in sales]
        if cursor is None:
            break

    assert seen == sorted(made, reverse=True)
    assert await ledger.sales.list_sales(cursor="no id", limit=2) == ((), None)


async def test_sale_lives_until_nothing_of_it_is_open(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)

    async def lives() -> bool:
        return sale.sale_id in [live.sale_id for live in await ledger.sales.live()]

    await ledger.sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)
    assert await lives()  # an order is reserved
    await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    assert await lives()  # its release waits
    [release] = await ledger.orders.pending_releases(limit=9)
    await ledger.orders.releases_done([release.release_id])

    assert not await lives()
