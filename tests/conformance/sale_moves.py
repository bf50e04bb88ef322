"""What an operator and the clock do to a sale, and what they may not."""

import msgspec

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, TTL_MS, LedgerBench, refused
from conformance.suite import Suite
from doorbuster.domain.chain import LogKind, first_head
from doorbuster.domain.outcomes import Code
from doorbuster.domain.sale import Sale, terms_of
from doorbuster.domain.transitions import SALE_ARROWS, SaleStatus

moves = Suite[LedgerBench]()

WAYS: dict[SaleStatus, tuple[SaleStatus, ...]] = {
    SaleStatus.SCHEDULED: (),
    SaleStatus.ACTIVE: (SaleStatus.ACTIVE,),
    SaleStatus.SOLD_OUT: (),
    SaleStatus.PAUSED: (SaleStatus.ACTIVE, SaleStatus.PAUSED),
    SaleStatus.ENDED: (SaleStatus.ENDED,),
    SaleStatus.CANCELLED: (SaleStatus.CANCELLED,),
}
"""How a sale is brought to a status; SOLD_OUT by selling."""


async def sale_in(bench: LedgerBench, status: SaleStatus) -> Sale:
    sale = await bench.sale()
    if status is SaleStatus.SOLD_OUT:
        await bench.reserve(sale, "ann")
        await bench.reserve(sale, "bob")
    sale = await bench.moved(sale, *WAYS[status])
    if status is SaleStatus.SCHEDULED:  # one that the clock has not reached: else it is ACTIVE by the clock
        sale = await bench.sale(start_ms=bench.now_ms() + MINUTE)
    assert sale.status is status
    return sale


@moves
async def new_sale_has_sold_nothing(bench: LedgerBench) -> None:
    """Its log begins with it (I15)."""
    sale_id, terms = bench.ids.new_id(), bench.terms(title="Ståhl & Söhne", per_user_limit=3)

    sale = await bench.sales.create(sale_id, terms, ACTOR)

    assert terms_of(sale) == terms
    assert (sale.sale_id, sale.status, sale.quantity_sold, sale.quantity_paid) == (sale_id, SaleStatus.SCHEDULED, 0, 0)
    assert (sale.epoch, sale.tick_seen, sale.image_run_id, sale.rebuild_reason) == (0, 0, "", "")
    assert (sale.created_ms, sale.updated_ms) == (bench.now_ms(), bench.now_ms())
    assert await bench.sales.get(sale_id) == sale
    [row] = await bench.log(sale)
    assert (row.kind, row.quantity, row.epoch, row.hash) == (LogKind.CREATED, 2, 0, sale.log_head)
    assert sale.log_head != first_head(sale_id)
    await bench.assert_in_step(sale)


@moves
async def creating_again_changes_nothing(bench: LedgerBench) -> None:
    """The second call, after a lost answer, gets the sale of the first; another may have said when that was."""
    first = await bench.sales.create(bench.ids.new_id(), bench.terms(), ACTOR, now_ms=1_000)
    before = await bench.state(first)

    again = await bench.sales.create(first.sale_id, bench.terms(title="Another"), ACTOR)

    assert again == first
    assert first.created_ms == 1_000
    assert await bench.state(first) == before


@moves
async def sale_that_is_not_there_is_not_found(bench: LedgerBench) -> None:
    """Under any id, also one that cannot be one."""
    sale = await bench.sale()
    for sale_id in (bench.ids.new_id(), "no id"):
        assert await bench.sales.get(sale_id) is None
        assert refused(await bench.sales.move(sale_id, SaleStatus.PAUSED, ACTOR)) is Code.NOT_FOUND
        assert refused(await bench.sales.change(sale_id, bench.terms(), sale, ACTOR)) is Code.NOT_FOUND
        assert await bench.sales.raise_epoch(sale_id, 0, "why") is None
        assert not await bench.sales.request_rebuild(sale_id, 0, "why")
        assert not await bench.sales.image_published(sale_id, 0, "server")
        added, removed = await bench.sales.set_blocked(sale_id, ["ann"], ACTOR)
        assert (list(added), list(removed)) == ([], [])
        assert [part async for part in bench.sales.image_rows(sale_id, 10)] == []


@moves
async def sales_are_listed_newest_first(bench: LedgerBench) -> None:
    """In pages."""
    made = [(await bench.sale()).sale_id for _ in range(5)]

    first, cursor = await bench.sales.list_sales(cursor=None, limit=2)
    second, cursor = await bench.sales.list_sales(cursor=cursor, limit=2)
    third, end = await bench.sales.list_sales(cursor=cursor, limit=2)
    whole, whole_end = await bench.sales.list_sales(cursor=None, limit=5)

    listed = [[sale.sale_id for sale in page] for page in (first, second, third)]
    assert listed == [made[:2:-1], made[2:0:-1], made[:1]]
    assert (end, whole_end, len(whole)) == (None, None, 5)


@moves
async def sale_moves_along_the_arrows_only(bench: LedgerBench) -> None:
    """I13: every pair of statuses. Staying is success and changes nothing; a refusal changes nothing."""
    for before in SaleStatus:
        for to in SaleStatus:
            sale = await sale_in(bench, before)
            state = await bench.state(sale)
            # Which of ACTIVE and SOLD_OUT a sale that sells is, is decided by its stock.
            sells = SaleStatus.SOLD_OUT if before is SaleStatus.SOLD_OUT else SaleStatus.ACTIVE
            lands = sells if to in (SaleStatus.ACTIVE, SaleStatus.SOLD_OUT) else to
            untrue = to is SaleStatus.SOLD_OUT and lands is not to
            allowed = not untrue and (lands is before or to in SALE_ARROWS[before])

            answer = await bench.sales.move(sale.sale_id, to, ACTOR)

            if allowed:
                assert isinstance(answer, Sale), (before, to)
                assert answer.status is lands, (before, to)
                assert answer == await bench.current(sale)
            else:
                assert refused(answer) is Code.CONFLICT, (before, to)
            if not allowed or lands is before:
                assert await bench.state(sale) == state, (before, to)


@moves
async def resumed_sale_without_a_free_unit_is_sold_out(bench: LedgerBench) -> None:
    """I14: and one whose units came back meanwhile is ACTIVE."""
    sale = await bench.sale(quantity_available=1)
    order = await bench.reserve(sale)

    full = await bench.moved(sale, SaleStatus.PAUSED, SaleStatus.ACTIVE)
    await bench.moved(sale, SaleStatus.PAUSED)
    await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    free = await bench.moved(sale, SaleStatus.ACTIVE)

    assert (full.status, free.status) == (SaleStatus.SOLD_OUT, SaleStatus.ACTIVE)


@moves
async def opening_now_moves_the_start(bench: LedgerBench) -> None:
    """A start that has passed stays where it was."""
    soon, open_ = await bench.sale(start_ms=bench.now_ms() + MINUTE), await bench.sale()

    opened = await bench.sales.move(soon.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
    same = await bench.sales.move(open_.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)

    assert isinstance(opened, Sale)
    assert isinstance(same, Sale)
    assert (opened.status, opened.start_ms) == (SaleStatus.ACTIVE, bench.now_ms())
    assert (same.status, same.start_ms) == (SaleStatus.ACTIVE, open_.start_ms)


@moves
async def clock_is_followed(bench: LedgerBench) -> None:
    """Start and end take effect by themselves; a second look moves nothing."""
    now = bench.now_ms()
    soon = await bench.sale(start_ms=now + MINUTE, end_ms=now + HOUR)
    short = await bench.sale(start_ms=now + 1, end_ms=now + MINUTE)
    paused = await bench.moved(await bench.sale(end_ms=now + MINUTE), SaleStatus.ACTIVE, SaleStatus.PAUSED)
    aborted = await bench.moved(await bench.sale(end_ms=now + MINUTE), SaleStatus.CANCELLED)
    assert list(await bench.sales.follow_clock()) == []
    await bench.ledger.advance_ms(MINUTE)

    moved = await bench.sales.follow_clock()
    again = await bench.sales.follow_clock()

    statuses = {sale.sale_id: sale.status for sale in moved}
    assert statuses == {
        soon.sale_id: SaleStatus.ACTIVE,
        short.sale_id: SaleStatus.ENDED,
        paused.sale_id: SaleStatus.ENDED,
    }
    assert [sale.sale_id for sale in moved] == sorted(statuses)
    assert list(moved) == [await bench.current(sale) for sale in moved]
    assert list(again) == []
    assert (await bench.current(aborted)).status is SaleStatus.CANCELLED


@moves
async def clock_is_obeyed_before_it_is_followed(bench: LedgerBench) -> None:
    """A sale whose end has passed cannot be resumed, whatever its row still says."""
    paused = await bench.moved(await bench.sale(), SaleStatus.ACTIVE, SaleStatus.PAUSED)
    await bench.ledger.advance_ms(HOUR)

    answer = await bench.sales.move(paused.sale_id, SaleStatus.ACTIVE, ACTOR)

    assert refused(answer) is Code.CONFLICT
    assert (await bench.moved(paused, SaleStatus.ENDED)).status is SaleStatus.ENDED


@moves
async def changed_stock_is_logged(bench: LedgerBench) -> None:
    """I15: top-up and cut; the status says whether a unit is free (I14)."""
    sale = await bench.sale()
    await bench.reserve(sale, "ann")
    seen = await bench.current(sale)

    cut = await bench.sales.change(sale.sale_id, bench.terms(quantity_available=1), seen, ACTOR)
    assert isinstance(cut, Sale)
    up = await bench.sales.change(sale.sale_id, bench.terms(quantity_available=5, title="Lamps"), cut, ACTOR)

    assert isinstance(up, Sale)
    assert (cut.status, cut.quantity_available) == (SaleStatus.SOLD_OUT, 1)
    assert (up.status, up.quantity_available, up.title) == (SaleStatus.ACTIVE, 5, "Lamps")
    rows = await bench.log(sale)
    assert [(row.kind, row.quantity) for row in rows[-2:]] == [(LogKind.STOCK, -1), (LogKind.STOCK, 4)]
    await bench.assert_in_step(sale)


@moves
async def change_without_stock_is_not_logged(bench: LedgerBench) -> None:
    """The log is about stock."""
    sale = await bench.sale()

    answer = await bench.sales.change(sale.sale_id, bench.terms(title="Lamps", per_user_limit=4), sale, ACTOR)

    assert isinstance(answer, Sale)
    assert (answer.title, answer.per_user_limit, answer.log_size) == ("Lamps", 4, sale.log_size)
    assert answer.status is SaleStatus.SCHEDULED


@moves
async def units_that_are_sold_are_never_withdrawn(bench: LedgerBench) -> None:
    """I1: held or paid, they count."""
    sale = await bench.sale(quantity_available=5)
    await bench.paid(sale, "ann")
    await bench.reserve(sale, "bob")
    seen = await bench.current(sale)
    before = await bench.state(sale)

    answer = await bench.sales.change(sale.sale_id, bench.terms(quantity_available=1), seen, ACTOR)

    assert refused(answer) is Code.CONFLICT
    assert await bench.state(sale) == before


@moves
async def row_that_changed_meanwhile_is_not_changed(bench: LedgerBench) -> None:
    """Neither its terms nor its status may differ from what the caller decided on."""
    sale = await bench.moved(await bench.sale(), SaleStatus.ACTIVE)
    changed = await bench.sales.change(sale.sale_id, bench.terms(title="Lamps"), sale, ACTOR)
    assert isinstance(changed, Sale)
    before = await bench.state(sale)
    assert refused(await bench.sales.change(sale.sale_id, bench.terms(title="Bulbs"), sale, ACTOR)) is Code.CONFLICT
    assert await bench.state(sale) == before

    await bench.moved(sale, SaleStatus.PAUSED)
    before = await bench.state(sale)
    assert refused(await bench.sales.change(sale.sale_id, bench.terms(title="Bulbs"), changed, ACTOR)) is Code.CONFLICT
    assert await bench.state(sale) == before


@moves
async def units_sold_meanwhile_are_no_change_of_terms(bench: LedgerBench) -> None:
    """An operator can top up a sale that sells all the time, also when the last unit goes in between."""
    sale = await bench.moved(await bench.sale(), SaleStatus.ACTIVE)
    await bench.reserve(sale, "ann")
    await bench.reserve(sale, "bob")

    answer = await bench.sales.change(sale.sale_id, bench.terms(quantity_available=3), sale, ACTOR)

    assert isinstance(answer, Sale)
    assert (answer.quantity_available, answer.status) == (3, SaleStatus.ACTIVE)


@moves
async def sale_that_is_over_is_not_changed(bench: LedgerBench) -> None:
    """Not even its title."""
    for status in (SaleStatus.ENDED, SaleStatus.CANCELLED):
        sale = await bench.moved(await bench.sale(), status)
        before = await bench.state(sale)

        answer = await bench.sales.change(sale.sale_id, bench.terms(title="Lamps"), sale, ACTOR)

        assert refused(answer) is Code.CONFLICT
        assert await bench.state(sale) == before


@moves
async def block_list_is_replaced(bench: LedgerBench) -> None:
    """What came and what went is told; orders are not touched; a repeat changes nothing."""
    sale = await bench.sale()
    await bench.reserve(sale, "ann")

    added, removed = await bench.sales.set_blocked(sale.sale_id, ["bob", "ann", "ann"], ACTOR)
    assert (sorted(added), sorted(removed)) == (["ann", "bob"], [])
    before = await bench.state(sale)
    added, removed = await bench.sales.set_blocked(sale.sale_id, ["ann", "bob"], ACTOR)
    assert (list(added), list(removed)) == ([], [])
    assert await bench.state(sale) == before
    added, removed = await bench.sales.set_blocked(sale.sale_id, ["bob", "eve"], ACTOR)

    assert (list(added), list(removed)) == (["eve"], ["ann"])
    assert (await bench.current(sale)).quantity_sold == 1


@moves
async def sale_lives_until_nothing_of_it_is_left(bench: LedgerBench) -> None:
    """An ended sale is looked after until nothing is RESERVED and no release waits."""
    sale = await bench.sale(quantity_available=9)
    other = await bench.sale()
    await bench.paid(sale, "ann")
    await bench.reserve(sale, "bob")

    async def lives() -> bool:
        ids = [live.sale_id for live in await bench.sales.live()]
        assert ids == sorted(ids)
        assert other.sale_id in ids
        return sale.sale_id in ids

    seen = [await lives()]
    await bench.moved(sale, SaleStatus.ENDED)
    seen.append(await lives())
    await bench.ledger.advance_ms(TTL_MS)
    await bench.orders.expire_due(limit=10)
    seen.append(await lives())
    releases = await bench.orders.pending_releases(limit=10)
    await bench.orders.releases_done([row.release_id for row in releases])
    seen.append(await lives())

    assert seen == [True, True, True, False]


@moves
async def ledger_tells_its_time(bench: LedgerBench) -> None:
    """And it is the time that is written."""
    told = await bench.sales.time_ms()
    await bench.ledger.advance_ms(HOUR)

    assert await bench.sales.time_ms() == told + HOUR == bench.now_ms()
    sale = await bench.sale()
    assert msgspec.structs.replace(sale, created_ms=0) != sale
    assert sale.created_ms == bench.now_ms()
