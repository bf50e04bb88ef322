"""How a ledger fences its images, and what an image is made of (R9)."""

from conformance.ledger_bench import ACTOR, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.chain import LogKind
from doorbuster.domain.order import Hold, Order
from doorbuster.engine.image import ImageChunk
from doorbuster.engine.ports import (
    CommitWord,
)

fences = Suite[LedgerBench]()


def hold_of(order: Order) -> Hold:
    return Hold(
        hold_id=order.order_id,
        user_id=order.user_id,
        quantity=order.quantity,
        key=order.idempotency_key or "",
        digest=order.body_digest,
        since_ms=order.reserved_ms,
    )


@fences
async def epoch_is_raised_by_one_caller(bench: LedgerBench) -> None:
    """R9a is a compare-and-set: every build has an epoch of its own; the loser changes nothing."""
    sale = await bench.sale()
    await bench.commit(sale, bench.hold(), tick=40)
    await bench.ledger.advance_ms(SECOND)

    assert await bench.sales.raise_epoch(sale.sale_id, 1, "lost") == 2
    before = await bench.state(sale)
    assert await bench.sales.raise_epoch(sale.sale_id, 1, "lost") is None
    assert await bench.sales.raise_epoch(sale.sale_id, 3, "lost") is None

    assert await bench.state(sale) == before
    current = await bench.current(sale)
    assert (current.epoch, current.tick_seen) == (2, 0)
    assert (current.image_run_id, current.rebuild_reason) == ("", "lost")
    last = (await bench.log(sale))[-1]
    assert (last.kind, last.quantity, last.epoch, last.at_ms) == (LogKind.EPOCH, 0, 2, bench.now_ms())
    await bench.assert_in_step(sale)


@fences
async def releases_of_the_old_image_are_dropped(bench: LedgerBench) -> None:
    """R9g: in an image written after this their units are free already (A6). Other sales' wait on."""
    sale, other = await bench.sale(), await bench.sale()
    await bench.cancelled(sale, "ann")
    theirs = await bench.cancelled(other, "ann")

    await bench.sales.raise_epoch(sale.sale_id, 1, "lost")

    assert [row.hold_id for row in await bench.orders.pending_releases(limit=10)] == [theirs.order_id]
    await bench.cancelled(sale, "bob")
    assert [row.epoch for row in await bench.orders.pending_releases(limit=10)] == [1, 2]


@fences
async def rebuild_is_asked_for_and_answered_under_one_epoch(bench: LedgerBench) -> None:
    """A request about an image that is gone, or a late note of an old builder, does nothing."""
    sale = await bench.sale()

    assert await bench.sales.request_rebuild(sale.sale_id, 1, "doubt")
    asked = await bench.current(sale)
    assert not await bench.sales.request_rebuild(sale.sale_id, 0, "another doubt")
    assert not await bench.sales.request_rebuild(sale.sale_id, 2, "another doubt")
    assert not await bench.sales.image_published(sale.sale_id, 0, "server-9")
    assert not await bench.sales.image_published(sale.sale_id, 2, "server-9")
    still = await bench.current(sale)
    assert await bench.sales.image_published(sale.sale_id, 1, "server-2")
    done = await bench.current(sale)

    assert (asked.rebuild_reason, asked.image_run_id) == ("doubt", "server-1")
    assert (still.rebuild_reason, still.image_run_id) == ("doubt", "server-1")
    assert (done.rebuild_reason, done.image_run_id, done.epoch) == ("", "server-2", 1)


@fences
async def doubted_image_goes_on_committing(bench: LedgerBench) -> None:
    """Only a raised epoch fences; the ledger's own guards do the rest."""
    sale = await bench.sale()
    await bench.sales.request_rebuild(sale.sale_id, 1, "doubt")

    assert await bench.words(sale, bench.hold()) == [CommitWord.COMMITTED]


@fences
async def image_is_made_of_what_the_ledger_has(bench: LedgerBench) -> None:
    """Live orders own units; closed ones answer their key; tombstones are nothing; blocked accounts are named."""
    sale, other = await bench.sale(quantity_available=9, per_user_limit=2), await bench.sale()
    held, paid = await bench.reserve(sale, "ann", quantity=2), await bench.paid(sale, "bob")
    closed, returned = await bench.cancelled(sale, "eve"), await bench.paid(sale, "max")
    assert await bench.ledger.return_units(returned.order_id)
    await bench.orders.tombstone(sale.sale_id, [bench.hold("zoe")])
    await bench.sales.set_blocked(sale.sale_id, ["tom", "kim"], ACTOR)
    await bench.reserve(other, "ann")

    rows = await bench.image_rows(sale)

    by_id = {hold.hold_id: hold for part in rows for hold in part.holds}
    keys = {hold.hold_id: hold for part in rows for hold in part.closed_keys}
    assert by_id == {order.order_id: hold_of(order) for order in (held, paid)}
    assert keys == {order.order_id: hold_of(order) for order in (closed, returned)}
    assert sorted(user for part in rows for user in part.blocked) == ["kim", "tom"]


@fences
async def image_comes_in_chunks(bench: LedgerBench) -> None:
    """None larger than asked for, and each row once."""
    sale = await bench.sale(quantity_available=9)
    made = [await bench.reserve(sale, f"buyer {n}") for n in range(5)]
    await bench.sales.set_blocked(sale.sale_id, ["kim", "tom", "zoe"], ACTOR)

    rows = await bench.image_rows(sale, chunk=2)

    sizes = [len(part.holds) + len(part.closed_keys) + len(part.blocked) for part in rows]
    assert max(sizes) == 2
    assert sorted(hold.hold_id for part in rows for hold in part.holds) == [order.order_id for order in made]
    assert sorted(user for part in rows for user in part.blocked) == ["kim", "tom", "zoe"]


@fences
async def image_is_one_snapshot(bench: LedgerBench) -> None:
    """What happens while it is read is not in it: a buyer is never seen twice or half."""
    sale = await bench.sale(quantity_available=9)
    orders = [await bench.reserve(sale, f"buyer {n}") for n in range(3)]
    await bench.sales.set_blocked(sale.sale_id, ["kim"], ACTOR)
    rows: list[ImageChunk] = []

    async for part in bench.sales.image_rows(sale.sale_id, 1):
        if not rows:
            for order in orders:
                await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
            await bench.sales.set_blocked(sale.sale_id, [], ACTOR)
        rows.append(part)

    assert sorted(hold.hold_id for part in rows for hold in part.holds) == [order.order_id for order in orders]
    assert [hold for part in rows for hold in part.closed_keys] == []
    assert [user for part in rows for user in part.blocked] == ["kim"]
