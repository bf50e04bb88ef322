"""How orders end, and what goes back with them (R7, R8)."""

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, TTL_MS, LedgerBench, refused
from conformance.suite import Suite
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code
from doorbuster.domain.payment import PAYMENT_ATTEMPT_MS
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import CommitWord, PendingRelease

endings = Suite[LedgerBench]()


@endings
async def cancelled_order_gives_everything_back(bench: LedgerBench) -> None:
    """Units, allowance, log row and release row in one transaction (I2)."""
    sale = await bench.sale()
    await bench.reserve(sale, "bob")
    order = await bench.reserve(sale, "ann")
    await bench.ledger.advance_ms(MINUTE)

    closed = await bench.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)

    assert isinstance(closed, Order)
    assert (closed.status, closed.closed_ms) == (OrderStatus.CANCELLED, bench.now_ms())
    assert closed == await bench.order(order)
    current = await bench.current(sale)
    assert (current.quantity_sold, current.status) == (1, SaleStatus.ACTIVE)
    [release] = await bench.orders.pending_releases(limit=10)
    assert release == PendingRelease(
        release_id=release.release_id,
        sale_id=sale.sale_id,
        hold_id=order.order_id,
        user_id="ann",
        epoch=1,
        forget_key=False,
    )
    await bench.assert_in_step(sale)
    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.COMMITTED]


@endings
async def cancelling_again_changes_nothing(bench: LedgerBench) -> None:
    """A cancelled order is returned as it is, and its unit goes back once (Magento #1849)."""
    sale = await bench.sale()
    closed = await bench.cancelled(sale, "ann")
    before = await bench.state(sale)

    assert await bench.orders.cancel(closed.order_id, user_id="ann", actor=ACTOR) == closed
    assert await bench.orders.cancel(closed.order_id, user_id=None, actor=ACTOR) == closed

    assert await bench.state(sale) == before


@endings
async def order_of_somebody_else_is_not_found(bench: LedgerBench) -> None:
    """Whether it exists is nobody's business; what cannot be an id names nothing."""
    sale = await bench.sale()
    order = await bench.reserve(sale, "ann")
    before = await bench.state(sale)

    for order_id, user in ((order.order_id, "bob"), (bench.ids.new_id(), "ann"), ("no id", "ann"), ("no id", None)):
        assert refused(await bench.orders.cancel(order_id, user_id=user, actor=ACTOR)) is Code.NOT_FOUND

    assert await bench.state(sale) == before
    assert await bench.orders.get("no id") is None
    assert await bench.orders.get(bench.ids.new_id()) is None


@endings
async def closed_order_stays_closed(bench: LedgerBench) -> None:
    """I13: neither PAID nor EXPIRED is cancelled, by the buyer or by the operator."""
    sale = await bench.sale()
    paid, expired = await bench.paid(sale, "ann"), await bench.reserve(sale, "bob")
    await bench.ledger.advance_ms(TTL_MS)
    assert await bench.orders.expire_due(limit=10) == 1
    before = await bench.state(sale)

    for order in (paid, expired):
        for user in (order.user_id, None):
            answer = await bench.orders.cancel(order.order_id, user_id=user, actor=ACTOR)
            assert refused(answer) is Code.ORDER_CLOSED

    assert await bench.state(sale) == before


@endings
async def payment_under_way_keeps_its_order(bench: LedgerBench) -> None:
    """I7: it may still end in money, so the order is neither cancelled nor expired; a decline sets it free."""
    sale = await bench.sale()
    order = await bench.reserve(sale, "ann")
    payment_id = await bench.begin_payment(order)
    await bench.ledger.advance_ms(TTL_MS + HOUR)
    before = await bench.state(sale)

    assert refused(await bench.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)) is Code.CONFLICT
    assert await bench.state(sale) == before
    assert await bench.orders.expire_due(limit=10) == 0
    assert await bench.orders.next_expiry_ms() is None

    await bench.ledger.payments.decline(payment_id, "no funds")
    assert await bench.orders.next_expiry_ms() == bench.now_ms() + PAYMENT_ATTEMPT_MS
    await bench.ledger.advance_ms(PAYMENT_ATTEMPT_MS)
    assert await bench.orders.expire_due(limit=10) == 1


@endings
async def hold_is_lengthened_once_for_an_open_payment(bench: LedgerBench) -> None:
    """P1: the time an attempt may take, from when the hold was due; the end that is shown moves with it (I11)."""
    sale = await bench.sale()
    order = await bench.reserve(sale, "ann")
    payment_id = await bench.begin_payment(order)
    await bench.ledger.advance_ms(TTL_MS)
    due_ms = bench.now_ms()

    for _ in range(3):
        assert await bench.orders.expire_due(limit=10) == 0
        shown = await bench.orders.get(order.order_id)
        assert shown is not None
        assert shown.expires_ms == due_ms + PAYMENT_ATTEMPT_MS
        await bench.ledger.advance_ms(PAYMENT_ATTEMPT_MS)

    await bench.ledger.payments.decline(payment_id, "no funds")
    assert await bench.orders.expire_due(limit=10) == 1


@endings
async def hold_without_a_payment_is_not_lengthened(bench: LedgerBench) -> None:
    sale = await bench.sale()
    order = await bench.reserve(sale, "ann")
    payment_id = await bench.begin_payment(order)
    await bench.ledger.payments.decline(payment_id, "no funds")

    await bench.ledger.advance_ms(TTL_MS)

    assert await bench.orders.expire_due(limit=10) == 1


@endings
async def unit_that_comes_back_after_the_end_changes_only_counts(bench: LedgerBench) -> None:
    """A sale that is over stays over, one that is paused stays paused."""
    for status in (SaleStatus.ENDED, SaleStatus.CANCELLED, SaleStatus.PAUSED):
        sale = await bench.sale(quantity_available=1)
        order = await bench.reserve(sale)
        await bench.moved(sale, status)

        await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

        current = await bench.current(sale)
        assert (current.status, current.quantity_sold) == (status, 0)


@endings
async def hold_never_ends_before_its_time(bench: LedgerBench) -> None:
    """I11: to the millisecond, by the ledger's clock."""
    sale = await bench.sale()
    order = await bench.reserve(sale, "ann")
    await bench.ledger.advance_ms(TTL_MS - 1)
    before = await bench.state(sale)
    assert await bench.orders.expire_due(limit=10) == 0
    assert await bench.state(sale) == before
    await bench.ledger.advance_ms(1)

    assert await bench.orders.expire_due(limit=10) == 1
    assert await bench.orders.expire_due(limit=10) == 0

    expired = await bench.order(order)
    assert (expired.status, expired.expires_ms) == (OrderStatus.EXPIRED, order.expires_ms)
    assert (await bench.current(sale)).quantity_sold == 0
    assert [row.hold_id for row in await bench.orders.pending_releases(limit=10)] == [order.order_id]
    await bench.assert_in_step(sale)


@endings
async def expiry_goes_over_all_sales_up_to_its_limit(bench: LedgerBench) -> None:
    """Sales that are over included; paid orders never."""
    ended, open_, later = await bench.sale(), await bench.sale(quantity_available=3), await bench.sale()
    await bench.reserve(ended, "ann")
    await bench.moved(ended, SaleStatus.ENDED)
    await bench.paid(open_, "ann")
    await bench.reserve(open_, "bob")
    await bench.reserve(open_, "eve")
    await bench.ledger.advance_ms(MINUTE)
    last = await bench.reserve(later, "ann")
    await bench.ledger.advance_ms(TTL_MS - MINUTE)

    assert await bench.orders.expire_due(limit=2) == 2
    assert await bench.orders.expire_due(limit=2) == 1

    assert await bench.orders.next_expiry_ms() == last.expires_ms
    assert (await bench.facts(open_)).orders_by_status == {"RESERVED": 0, "PAID": 1, "CANCELLED": 0, "EXPIRED": 2}
    for sale in (ended, open_, later):
        await bench.assert_in_step(sale)


@endings
async def next_expiry_is_the_earliest(bench: LedgerBench) -> None:
    """Of RESERVED orders; without any there is none."""
    sale = await bench.sale()
    assert await bench.orders.next_expiry_ms() is None
    first = await bench.reserve(sale, "ann")
    await bench.ledger.advance_ms(MINUTE)
    second = await bench.reserve(sale, "bob")

    assert await bench.orders.next_expiry_ms() == first.expires_ms

    await bench.pay(first)
    assert await bench.orders.next_expiry_ms() == second.expires_ms


@endings
async def only_an_aborted_sale_is_cancelled_whole(bench: LedgerBench) -> None:
    """Some at a time, until none is left; a payment under way is waited for."""
    sale = await bench.sale(quantity_available=9)
    for user in ("ann", "bob", "eve"):
        await bench.reserve(sale, user)
    paying, paid = await bench.reserve(sale, "max"), await bench.paid(sale, "zoe")
    await bench.begin_payment(paying)
    before = await bench.state(sale)
    assert await bench.orders.cancel_all(sale.sale_id, actor=ACTOR, limit=10) == 0
    assert await bench.orders.cancel_all(bench.ids.new_id(), actor=ACTOR, limit=10) == 0
    assert await bench.state(sale) == before
    await bench.moved(sale, SaleStatus.CANCELLED)

    counts = [await bench.orders.cancel_all(sale.sale_id, actor=ACTOR, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]
    assert (await bench.order(paying)).status is OrderStatus.RESERVED
    assert (await bench.order(paid)).status is OrderStatus.PAID
    assert (await bench.current(sale)).quantity_sold == 2
    await bench.assert_in_step(sale)


@endings
async def tombstone_and_order_exclude_each_other(bench: LedgerBench) -> None:
    """I12: whoever is first is the only one; those that have orders are named, so that they can be confirmed."""
    sale = await bench.sale()
    live, dead = bench.hold("ann"), bench.hold("bob")
    await bench.commit(sale, live)

    exist = await bench.orders.tombstone(sale.sale_id, [live, dead])

    assert list(exist) == [live.hold_id]
    [release] = await bench.orders.pending_releases(limit=10)
    assert (release.hold_id, release.user_id, release.forget_key) == (dead.hold_id, "bob", True)
    assert (await bench.current(sale)).quantity_sold == 1
    await bench.assert_in_step(sale)
    assert await bench.orders.live_hold_ids(sale.sale_id) == {live.hold_id}


@endings
async def hold_dies_once(bench: LedgerBench) -> None:
    """Two sweeps release one unit (A4)."""
    sale = await bench.sale()
    hold = bench.hold()
    await bench.orders.tombstone(sale.sale_id, [hold, hold])
    before = await bench.state(sale)

    assert list(await bench.orders.tombstone(sale.sale_id, [hold])) == [hold.hold_id]

    assert await bench.state(sale) == before
    assert len(await bench.orders.pending_releases(limit=10)) == 1


@endings
async def hold_of_an_unknown_sale_needs_no_tombstone(bench: LedgerBench) -> None:
    """Nothing can be committed for it."""
    assert list(await bench.orders.tombstone(bench.ids.new_id(), [bench.hold()])) == []
    assert list(await bench.orders.pending_releases(limit=10)) == []


@endings
async def releases_wait_until_they_are_done(bench: LedgerBench) -> None:
    """Oldest first, no more than asked for; closing one twice does nothing."""
    sale = await bench.sale(quantity_available=9)
    closed = [await bench.cancelled(sale, user) for user in ("ann", "bob", "eve")]

    first, second = await bench.orders.pending_releases(limit=2)
    await bench.orders.releases_done([first.release_id])
    await bench.orders.releases_done([first.release_id])
    await bench.orders.releases_done([])

    assert [first.hold_id, second.hold_id] == [order.order_id for order in closed[:2]]
    left = await bench.orders.pending_releases(limit=10)
    assert [row.hold_id for row in left] == [order.order_id for order in closed[1:]]


@endings
async def ledger_tells_what_became_of_holds(bench: LedgerBench) -> None:
    """Live, releasing, closed; what it does not know, and another sale's, is absent."""
    sale, other = await bench.sale(quantity_available=9), await bench.sale()
    live, paid = await bench.reserve(sale, "ann"), await bench.paid(sale, "bob")
    done, waiting = await bench.cancelled(sale, "eve"), await bench.cancelled(sale, "max")
    dead = bench.hold("zoe")
    await bench.orders.tombstone(sale.sale_id, [dead])
    releases = await bench.orders.pending_releases(limit=10)
    await bench.orders.releases_done([row.release_id for row in releases if row.hold_id == done.order_id])
    elsewhere = await bench.reserve(other)
    ids = [order.order_id for order in (live, paid, done, waiting, elsewhere)]

    states = await bench.orders.closing_hold_ids(sale.sale_id, [*ids, dead.hold_id, bench.ids.new_id(), "no id"])

    assert states == {
        live.order_id: "live",
        paid.order_id: "live",
        done.order_id: "closed",
        waiting.order_id: "releasing",
        dead.hold_id: "releasing",
    }
    assert await bench.orders.live_hold_ids(sale.sale_id) == {live.order_id, paid.order_id}


@endings
async def returned_units_are_sold_again(bench: LedgerBench) -> None:
    """Once. The order stays PAID, its units, its buyer's allowance and the log move (I13, I15)."""
    sale = await bench.sale(quantity_available=1)
    order = await bench.reserve(sale, "ann", key="k")
    assert not await bench.ledger.return_units(order.order_id)
    await bench.pay(order)

    assert await bench.ledger.return_units(order.order_id)
    assert not await bench.ledger.return_units(order.order_id)

    assert (await bench.order(order)).status is OrderStatus.PAID
    current = await bench.current(sale)
    assert (current.quantity_sold, current.quantity_paid, current.status) == (0, 0, SaleStatus.ACTIVE)
    await bench.assert_in_step(sale)
    assert [row.hold_id for row in await bench.orders.pending_releases(limit=10)] == [order.order_id]
    assert await bench.orders.live_hold_ids(sale.sale_id) == set()
    assert await bench.words(sale, bench.hold("ann", key="k"), bench.hold("ann")) == [
        CommitWord.SEEN,
        CommitWord.COMMITTED,
    ]


@endings
async def orders_are_paged_in_the_order_they_were_made(bench: LedgerBench) -> None:
    """All of them, or those of one status; other sales' never."""
    sale, other = await bench.sale(quantity_available=9), await bench.sale()
    made = [await bench.reserve(sale, f"buyer {n}") for n in range(5)]
    await bench.reserve(other)
    await bench.orders.cancel(made[1].order_id, user_id=None, actor=ACTOR)
    await bench.orders.cancel(made[3].order_id, user_id=None, actor=ACTOR)

    async def walk(status: OrderStatus | None, limit: int) -> list[list[str]]:
        pages: list[list[str]] = []
        cursor: str | None = None
        while True:
            page = await bench.orders.page(sale.sale_id, status=status, cursor=cursor, limit=limit)
            pages.append([order.order_id for order in page.orders])
            cursor = page.next_cursor
            if cursor is None:
                return pages

    ids = [order.order_id for order in made]
    assert await walk(None, 2) == [ids[:2], ids[2:4], ids[4:]]
    assert await walk(None, 5) == [ids]
    assert await walk(OrderStatus.CANCELLED, 1) == [[ids[1]], [ids[3]]]
    assert await walk(OrderStatus.RESERVED, 10) == [[ids[0], ids[2], ids[4]]]
    assert await walk(OrderStatus.PAID, 10) == [[]]
    assert list((await bench.orders.page("no id", status=None, cursor=None, limit=5)).orders) == []
