"""Grants whose buyer is not there: what the claim window ends, and what it never may (I11)."""

from conformance.ledger_bench import ACTOR, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.transitions import OrderStatus

claims = Suite[LedgerBench]()
WINDOW_MS = 30 * SECOND


async def status_of(bench: LedgerBench, *order_ids: str) -> list[OrderStatus]:
    orders = [await bench.orders.get(order_id) for order_id in order_ids]
    return [order.status for order in orders if order is not None]


@claims
async def claimed_grant_lasts(bench: LedgerBench) -> None:
    """Its buyer was shown when it ends."""
    sale = await bench.line(claim_window_seconds=30)
    order = await bench.granted(sale, "ann", 1)
    await bench.ledger.advance_ms(WINDOW_MS - 1)
    await bench.lines.claim([order.order_id])
    at = bench.now_ms()
    await bench.ledger.advance_ms(WINDOW_MS)
    await bench.lines.claim([order.order_id])

    assert await bench.lines.expire_unclaimed(limit=10) == 0
    now = await bench.order(order)
    assert (now.status, now.claimed_ms, now.expires_ms) == (OrderStatus.RESERVED, at, order.expires_ms)


@claims
async def grant_within_its_window_lasts(bench: LedgerBench) -> None:
    """To the millisecond."""
    sale = await bench.line(claim_window_seconds=30)
    order = await bench.granted(sale, "ann", 1)
    await bench.ledger.advance_ms(WINDOW_MS - 1)
    before = await bench.state(sale)

    early = await bench.lines.expire_unclaimed(limit=10)
    unchanged = await bench.state(sale)
    await bench.ledger.advance_ms(1)

    assert early == 0
    assert unchanged == before
    assert await bench.lines.expire_unclaimed(limit=10) == 1
    assert await status_of(bench, order.order_id) == [OrderStatus.EXPIRED]


@claims
async def sale_without_a_window_takes_nothing_back_early(bench: LedgerBench) -> None:
    """Nor does a race's order wait for a claim."""
    plain, windowed = await bench.line(), await bench.line(claim_window_seconds=30)
    await bench.granted(plain, "ann", 1)
    await bench.reserve(windowed, "bob")
    await bench.ledger.advance_ms(10 * WINDOW_MS)

    assert await bench.lines.expire_unclaimed(limit=10) == 0


@claims
async def payment_under_way_keeps_an_unclaimed_grant(bench: LedgerBench) -> None:
    """It may still end in money (I7)."""
    sale = await bench.line(claim_window_seconds=30)
    order = await bench.granted(sale, "ann", 1)
    await bench.begin_payment(order)
    await bench.ledger.advance_ms(2 * WINDOW_MS)

    assert await bench.lines.expire_unclaimed(limit=10) == 0
    assert await status_of(bench, order.order_id) == [OrderStatus.RESERVED]


@claims
async def unclaimed_grant_gives_its_unit_back(bench: LedgerBench) -> None:
    """Count, allowance, log and release, as every order that ends."""
    sale = await bench.line(claim_window_seconds=30)
    orders = [await bench.granted(sale, user, n) for n, user in enumerate(("ann", "bob", "eve"), 1)]
    await bench.lines.claim([orders[1].order_id])
    await bench.ledger.advance_ms(WINDOW_MS)

    ended = await bench.lines.expire_unclaimed(limit=10)

    assert ended == 2
    assert await status_of(bench, *(order.order_id for order in orders)) == [
        OrderStatus.EXPIRED,
        OrderStatus.RESERVED,
        OrderStatus.EXPIRED,
    ]
    releases = await bench.orders.pending_releases(limit=10)
    assert sorted(row.hold_id for row in releases) == [orders[0].order_id, orders[2].order_id]
    assert (await bench.current(sale)).quantity_sold == 1
    assert await bench.lines.expire_unclaimed(limit=10) == 0
    await bench.assert_in_step(sale)


@claims
async def claim_comes_too_late_for_an_order_that_ended(bench: LedgerBench) -> None:
    """What is over stays as it is, and what was never there is nothing."""
    sale = await bench.line(claim_window_seconds=30)
    order = await bench.granted(sale, "ann", 1)
    await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    before = await bench.state(sale)

    await bench.lines.claim([order.order_id, bench.ids.new_id()])
    await bench.lines.claim([])

    assert await bench.state(sale) == before


@claims
async def unclaimed_grants_end_as_many_as_asked_for(bench: LedgerBench) -> None:
    """The oldest first, over all sales; the rest at the next call."""
    sale, other = await bench.line(claim_window_seconds=30), await bench.line(claim_window_seconds=30)
    first = await bench.granted(sale, "ann", 1)
    await bench.ledger.advance_ms(SECOND)
    for number, user in enumerate(("bob", "eve"), 2):
        await bench.granted(sale, user, number)
    await bench.granted(other, "ann", 1)
    await bench.ledger.advance_ms(WINDOW_MS)

    assert await bench.lines.expire_unclaimed(limit=1) == 1
    assert await status_of(bench, first.order_id) == [OrderStatus.EXPIRED]
    assert await bench.lines.expire_unclaimed(limit=10) == 3
    await bench.assert_in_step(sale)
    await bench.assert_in_step(other)
