"""Grants: orders that are made for a number, and the history they leave (I10)."""

import msgspec

from conformance.ledger_bench import ACTOR, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.ports import CommitWord

grants = Suite[LedgerBench]()


@grants
async def number_is_granted_once(bench: LedgerBench) -> None:
    """To another buyer it is refused; the batch goes on."""
    sale = await bench.line()
    await bench.granted(sale, "ann", 1)
    before = await bench.state(sale)

    alone = await bench.words(sale, bench.grant("bob", 1))
    unchanged = await bench.state(sale)
    in_a_batch = await bench.words(sale, bench.grant("bob", 1), bench.grant("eve", 2), bench.grant("kim", 2))

    assert alone == [CommitWord.LIMIT]
    assert unchanged == before
    assert in_a_batch == [CommitWord.LIMIT, CommitWord.COMMITTED, CommitWord.LIMIT]
    assert (await bench.current(sale)).quantity_sold == 2
    await bench.assert_in_step(sale)


@grants
async def number_of_an_order_that_ended_is_not_granted_again(bench: LedgerBench) -> None:
    """Neither to its buyer, who is shown that order, nor to anybody else."""
    sale = await bench.line()
    order = await bench.granted(sale, "ann", 1)
    await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    [own] = await bench.commit(sale, bench.grant("ann", 1))
    [other] = await bench.commit(sale, bench.grant("bob", 1))

    assert (own.word, own.order) == (CommitWord.SEEN, await bench.order(order))
    assert other.word is CommitWord.LIMIT


@grants
async def number_that_was_never_set_aside_is_divergence(bench: LedgerBench) -> None:
    """The image has what the ledger has not (Q2): nothing happens, and the word says so."""
    sale = await bench.line(numbers=5)
    before = await bench.state(sale)

    said = await bench.words(sale, bench.grant("ann", 6))

    assert said == [CommitWord.NO_STOCK]
    assert await bench.state(sale) == before
    assert await bench.words(sale, bench.grant("ann", 5)) == [CommitWord.COMMITTED]


@grants
async def number_that_waits_for_nothing_is_not_granted(bench: LedgerBench) -> None:
    """Its buyer was told that it is over (Q6)."""
    sale = await bench.line(quantity_available=1)
    order = await bench.granted(sale, "ann", 1)
    await bench.pay(order)
    await bench.lines.end_line(sale.sale_id)
    await bench.ledger.return_units(order.order_id)
    before = await bench.state(sale)

    said = await bench.words(sale, bench.grant("bob", 2))

    assert said == [CommitWord.LIMIT]
    assert await bench.state(sale) == before


@grants
async def refused_grant_moves_no_mark(bench: LedgerBench) -> None:
    """Whatever refuses it, and the number stays free for its buyer."""
    sale = await bench.line(quantity_available=1)
    await bench.sales.set_blocked(sale.sale_id, ["eve"], ACTOR)

    blocked = await bench.words(sale, bench.grant("eve", 7))
    stale = await bench.words(sale, bench.grant("ann", 8), epoch=2)
    await bench.moved(sale, SaleStatus.PAUSED)
    paused = await bench.words(sale, bench.grant("ann", 8))
    await bench.moved(sale, SaleStatus.ACTIVE)

    assert [*blocked, *stale, *paused] == [CommitWord.BLOCKED, CommitWord.STALE_EPOCH, CommitWord.PAUSED]
    assert (await bench.current(sale)).granted_mark == 0
    assert await bench.words(sale, bench.grant("ann", 8)) == [CommitWord.COMMITTED]


@grants
async def grant_makes_an_order_with_its_number(bench: LedgerBench) -> None:
    """The answer, the order and the mark say it (Q4); a race has none."""
    sale, race = await bench.line(), await bench.sale()

    [answer] = await bench.commit(sale, bench.grant("ann", 12))
    taken = await bench.reserve(race, "ann")

    assert answer.order is not None
    assert (answer.order.line_number, answer.order.claimed_ms) == (12, None)
    assert await bench.order(answer.order) == answer.order
    assert taken.line_number is None
    assert (await bench.current(sale)).granted_mark == 12
    assert (await bench.current(race)).granted_mark == 0


@grants
async def repeated_grant_is_one_order(bench: LedgerBench) -> None:
    """After an answer that was lost the same batch is sent again (R6)."""
    sale = await bench.line()
    holds = [bench.grant("ann", 1), bench.grant("bob", 2)]
    first = await bench.commit(sale, *holds)
    before = await bench.state(sale)

    again = await bench.commit(sale, *holds)

    assert again == first
    assert await bench.state(sale) == before


@grants
async def mark_of_grants_never_falls(bench: LedgerBench) -> None:
    """A lower number that comes back and is granted late leaves it where it is."""
    sale = await bench.line()
    await bench.granted(sale, "ann", 50)

    await bench.granted(sale, "bob", 3)

    assert (await bench.current(sale)).granted_mark == 50


@grants
async def batch_may_hold_grants_and_races(bench: LedgerBench) -> None:
    """A hold without a number is one of a race."""
    sale = await bench.line()

    answers = await bench.commit(sale, bench.grant("ann", 1), bench.hold("bob"), bench.hold("eve"))

    assert [answer.order and answer.order.line_number for answer in answers] == [1, None, None]


@grants
async def history_tells_grants_in_the_order_they_were_made(bench: LedgerBench) -> None:
    """Sequence in the log, number, time: enough to check that nobody was passed."""
    sale = await bench.line()
    await bench.commit(sale, bench.grant("eve", 1), bench.grant("ann", 2))
    await bench.ledger.advance_ms(SECOND)
    await bench.commit(sale, bench.hold("max"), bench.grant("bob", 3))
    log = [row for row in await bench.log(sale) if row.kind == "reserved"]

    told = [row async for part in bench.lines.grants(sale.sale_id) for row in part]

    assert told == [(log[0].seq, 1, log[0].at_ms), (log[1].seq, 2, log[0].at_ms), (log[3].seq, 3, log[3].at_ms)]
    assert [part async for part in bench.lines.grants(bench.ids.new_id())] == []


@grants
async def latest_order_of_a_buyer_is_found(bench: LedgerBench) -> None:
    """One that is alive before those that have ended; tombstones and strangers have none."""
    sale = await bench.line(per_user_limit=3)
    first = await bench.granted(sale, "ann", 1)
    second = await bench.granted(sale, "ann", 2)
    await bench.orders.cancel(second.order_id, user_id=None, actor=ACTOR)
    alive = await bench.lines.order_of(sale.sale_id, "ann")
    await bench.orders.cancel(first.order_id, user_id=None, actor=ACTOR)
    ended = await bench.lines.order_of(sale.sale_id, "ann")
    dead = msgspec.structs.replace(bench.hold("zoe"), number=3)
    await bench.orders.tombstone(sale.sale_id, [dead])

    assert (alive, ended) == (first.order_id, second.order_id)
    assert await bench.lines.order_of(sale.sale_id, "zoe") is None
    assert await bench.lines.order_of(bench.ids.new_id(), "ann") is None
