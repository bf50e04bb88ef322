"""The marks of a line: numbers set aside, numbers given up, the end of everybody who waits (Q2, Q6)."""

from conformance.ledger_bench import ACTOR, HOUR, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.image import ImageChunk, SpentRow

marks = Suite[LedgerBench]()


def spent(rows: list[ImageChunk]) -> list[SpentRow]:
    return sorted((row for part in rows for row in part.spent), key=lambda row: row.user_id)


@marks
async def terms_of_a_line_come_back_as_they_were_given(bench: LedgerBench) -> None:
    """In a new sale, in a changed one, and with nothing said."""
    opens = bench.now_ms() + SECOND
    plain = bench.terms(mode=SaleMode.QUEUE)
    full = bench.terms(
        mode=SaleMode.DRAW,
        start_ms=bench.now_ms() + HOUR,
        end_ms=bench.now_ms() + 2 * HOUR,
        standby_limit=0,
        claim_window_seconds=30,
        entry_opens_ms=opens,
        beacon_round=2**40,
    )

    one = await bench.sales.create(bench.ids.new_id(), plain, ACTOR)
    two = await bench.sales.create(bench.ids.new_id(), full, ACTOR)
    changed = await bench.sales.change(
        one.sale_id, bench.terms(mode=SaleMode.QUEUE, standby_limit=7, claim_window_seconds=5), one, ACTOR
    )

    assert (one.standby_limit, one.claim_window_seconds, one.entry_opens_ms, one.beacon_round) == (None,) * 4
    assert (two.standby_limit, two.claim_window_seconds, two.entry_opens_ms, two.beacon_round) == (0, 30, opens, 2**40)
    assert isinstance(changed, Sale)
    assert (changed.standby_limit, changed.claim_window_seconds) == (7, 5)
    assert (one.number_high, one.granted_mark, one.ended_number, one.draw_size, one.drawn_ms) == (0, 0, 0, None, None)


@marks
async def terms_that_changed_meanwhile_refuse_a_change(bench: LedgerBench) -> None:
    """The terms of a line are part of what an operator decided on."""
    sale = await bench.line()
    await bench.sales.change(sale.sale_id, bench.terms(mode=SaleMode.QUEUE, standby_limit=7), sale, ACTOR)
    before = await bench.state(sale)

    answer = await bench.sales.change(sale.sale_id, bench.terms(mode=SaleMode.QUEUE, standby_limit=8), sale, ACTOR)

    assert not isinstance(answer, Sale)
    assert await bench.state(sale) == before


@marks
async def numbers_of_another_epoch_are_not_set_aside(bench: LedgerBench) -> None:
    """An image that was overtaken may issue nothing more (I12)."""
    sale = await bench.sale(mode=SaleMode.QUEUE)
    before = await bench.state(sale)

    said = [await bench.lines.reserve_numbers(sale.sale_id, 10, epoch=epoch) for epoch in (0, 2)]
    said.append(await bench.lines.reserve_numbers(bench.ids.new_id(), 10, epoch=1))

    assert said == [None, None, None]
    assert await bench.state(sale) == before


@marks
async def draw_has_no_numbers_while_its_list_is_open(bench: LedgerBench) -> None:
    """The first numbers are those of the entries."""
    sale = await bench.sale(mode=SaleMode.DRAW)

    assert await bench.lines.reserve_numbers(sale.sale_id, 10, epoch=1) is None
    assert (await bench.current(sale)).number_high == 0


@marks
async def blocks_of_numbers_follow_each_other(bench: LedgerBench) -> None:
    """No number is in two blocks, whatever happens to the image between them."""
    sale = await bench.sale(mode=SaleMode.QUEUE)

    first = await bench.lines.reserve_numbers(sale.sale_id, 10, epoch=1)
    await bench.sales.raise_epoch(sale.sale_id, 1, "lost")
    second = await bench.lines.reserve_numbers(sale.sale_id, 5, epoch=2)

    assert (first, second) == ((0, 10), (10, 15))
    assert (await bench.current(sale)).number_high == 15


@marks
async def number_that_was_given_up_is_remembered(bench: LedgerBench) -> None:
    """The highest of each buyer; a lower one that comes late changes nothing."""
    sale, other = await bench.line(), await bench.line()
    for user, number in (("ann", 3), ("ann", 7), ("ann", 5), ("bob", 4)):
        await bench.lines.note_left(sale.sale_id, user, number)
    await bench.lines.note_left(bench.ids.new_id(), "ann", 9)

    rows = await bench.image_rows(sale)

    assert spent(rows) == [SpentRow("ann", 7, ""), SpentRow("bob", 4, "")]
    assert spent(await bench.image_rows(other)) == []


@marks
async def higher_of_granted_and_given_up_is_spent(bench: LedgerBench) -> None:
    """What was granted and given up at once was granted: its order is there to be seen."""
    sale = await bench.line(per_user_limit=2)
    orders = {user: await bench.granted(sale, user, number) for user, number in (("ann", 1), ("bob", 2), ("eve", 3))}
    again = await bench.granted(sale, "eve", 9)
    for user, number in (("ann", 1), ("bob", 8), ("eve", 5)):
        await bench.lines.note_left(sale.sale_id, user, number)
    await bench.orders.cancel(orders["ann"].order_id, user_id=None, actor=ACTOR)

    rows = await bench.image_rows(sale, chunk=2)

    assert spent(rows) == [
        SpentRow("ann", 1, orders["ann"].order_id),
        SpentRow("bob", 8, ""),
        SpentRow("eve", 9, again.order_id),
    ]
    assert max(len(part.spent) for part in rows) == 2


@marks
async def race_has_no_line_in_its_image(bench: LedgerBench) -> None:
    """Not even for buyers whose orders have ended."""
    sale = await bench.sale()
    await bench.cancelled(sale, "ann")

    rows = await bench.image_rows(sale)

    assert [row for part in rows for row in (*part.line, *part.spent)] == []


@marks
async def line_does_not_end_while_a_unit_may_come_back(bench: LedgerBench) -> None:
    """A free unit, a unit that is only held, a window that is over before anybody has said so (I14)."""
    sale = await bench.line(quantity_available=2)
    await bench.lines.note_left(sale.sale_id, "zoe", 9)
    free = await bench.lines.end_line(sale.sale_id)
    await bench.pay(await bench.granted(sale, "ann", 1))
    await bench.granted(sale, "bob", 2)
    held = await bench.lines.end_line(sale.sale_id)
    await bench.ledger.advance_ms(2 * HOUR)
    unsaid = await bench.lines.end_line(sale.sale_id)

    assert (free, held, unsaid) == (None, None, None)
    assert await bench.lines.end_line(bench.ids.new_id()) is None
    assert (await bench.current(sale)).ended_number == 0


@marks
async def line_ends_when_every_unit_is_paid_for(bench: LedgerBench) -> None:
    """Everybody who has a number by then waits for nothing; asking again changes nothing."""
    sale = await bench.line(quantity_available=1)
    await bench.pay(await bench.granted(sale, "ann", 1))

    first = await bench.lines.end_line(sale.sale_id)
    again = await bench.lines.end_line(sale.sale_id)

    assert (first, again) == (100, 100)
    assert (await bench.current(sale)).ended_number == 100
    await bench.assert_in_step(sale)


@marks
async def line_ends_with_its_sale(bench: LedgerBench) -> None:
    """Held units change nothing: what comes back is not sold any more."""
    for to in (SaleStatus.ENDED, SaleStatus.CANCELLED):
        sale = await bench.line()
        await bench.granted(sale, "ann", 1)
        await bench.moved(sale, to)

        assert await bench.lines.end_line(sale.sale_id) == 100


@marks
async def numbers_after_the_end_of_a_line_wait_again(bench: LedgerBench) -> None:
    """A refund opens a line that has ended: for those who join from then on."""
    sale = await bench.line(quantity_available=1)
    order = await bench.granted(sale, "ann", 1)
    await bench.pay(order)
    await bench.lines.end_line(sale.sale_id)
    await bench.ledger.return_units(order.order_id)

    ended = await bench.lines.end_line(sale.sale_id)
    block = await bench.lines.reserve_numbers(sale.sale_id, 10, epoch=1)
    late = await bench.granted(sale, "bob", 101)

    assert (ended, block, late.line_number) == (None, (100, 110), 101)
    assert (await bench.current(sale)).ended_number == 100


@marks
async def keys_that_seal_are_the_same_for_everybody(bench: LedgerBench) -> None:
    """Made on first use, long enough, and short in name."""
    first = await bench.lines.sealing_keys()
    second = await bench.lines.sealing_keys()

    assert list(first) == list(second)
    assert len(first) == 1
    assert len(first[0].secret) == 32
    assert 1 <= len(first[0].key_id) <= 16
