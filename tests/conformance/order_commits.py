"""What a ledger says to a hold, and what becomes of it (R4, R6)."""

import msgspec

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, SECOND, TTL_MS, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.order import Order
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import CommitWord

commits = Suite[LedgerBench]()


@commits
async def hold_of_an_unknown_sale_is_over(bench: LedgerBench) -> None:
    """There is nothing to wait for."""
    sale = await bench.sale()
    unknown = msgspec.structs.replace(sale, sale_id=bench.ids.new_id())

    assert await bench.words(unknown, bench.hold(), bench.hold("bob")) == [CommitWord.OVER, CommitWord.OVER]


@commits
async def first_word_in_precedence_is_said(bench: LedgerBench) -> None:
    """Everything is wrong with one hold; what is wrong is mended word by word, and every refusal changes nothing."""
    now = bench.now_ms()
    sale = await bench.sales.create(
        bench.ids.new_id(),
        bench.terms(start_ms=now + SECOND, end_ms=now + MINUTE, quantity_available=1),
        ACTOR,
    )
    await bench.sales.set_blocked(sale.sale_id, ["ann"], ACTOR)
    await bench.moved(sale, SaleStatus.ACTIVE, SaleStatus.PAUSED)
    hold = bench.hold("ann", quantity=2)
    said: list[CommitWord] = []

    async def commit() -> None:
        before = await bench.state(sale)
        said.extend(await bench.words(sale, hold))
        if said[-1] is not CommitWord.COMMITTED:
            assert await bench.state(sale) == before

    async def change(**changes: int) -> None:
        current = await bench.current(sale)
        terms = bench.terms(
            **{"start_ms": current.start_ms, "end_ms": current.end_ms, "quantity_available": 1} | changes
        )
        assert isinstance(await bench.sales.change(sale.sale_id, terms, current, ACTOR), Sale)

    await commit()
    await bench.sales.raise_epoch(sale.sale_id, 0, "first image")
    await commit()
    await bench.moved(sale, SaleStatus.ACTIVE)
    await commit()
    await bench.ledger.advance_ms(HOUR)
    await commit()
    await change(end_ms=now + 2 * HOUR)
    await commit()
    await bench.sales.set_blocked(sale.sale_id, [], ACTOR)
    await commit()
    await change(per_user_limit=2)
    await commit()
    await change(per_user_limit=2, quantity_available=2)
    await commit()

    refusals = [
        word for word in CommitWord if word.value not in ("committed", "seen", "mismatch", "tombstoned", "lapsed")
    ]
    assert said == [*refusals, CommitWord.COMMITTED]


@commits
async def sale_that_is_over_does_not_start_any_more(bench: LedgerBench) -> None:
    """Ended or aborted before its start: over, not early."""
    for status in (SaleStatus.ENDED, SaleStatus.CANCELLED):
        sale = await bench.sale(start_ms=bench.now_ms() + MINUTE)
        await bench.moved(sale, status)

        assert await bench.words(sale, bench.hold()) == [CommitWord.OVER]


@commits
async def window_includes_its_start_and_not_its_end(bench: LedgerBench) -> None:
    """By the ledger's own clock; the stored status need not have followed it."""
    now = bench.now_ms()
    sale = await bench.sale(start_ms=now + 1, end_ms=now + 3, quantity_available=9)
    said: list[CommitWord] = []

    for user in ("early", "first", "last", "late"):
        said += await bench.words(sale, bench.hold(user))
        await bench.ledger.advance_ms(1)

    committed = CommitWord.COMMITTED
    assert said == [CommitWord.NOT_STARTED, committed, committed, CommitWord.OVER]


@commits
async def committed_hold_is_an_order(bench: LedgerBench) -> None:
    """Its id is the hold's; its end is the one that is shown from now on (I11)."""
    sale = await bench.sale(per_user_limit=2)
    hold = bench.hold("ann", quantity=2, key="k", digest="d")

    [answer] = await bench.commit(sale, hold)

    assert answer.word is CommitWord.COMMITTED
    assert answer.order == Order(
        order_id=hold.hold_id,
        sale_id=sale.sale_id,
        user_id="ann",
        quantity=2,
        amount_cents=3_000,
        currency="USD",
        status=OrderStatus.RESERVED,
        reserved_ms=bench.now_ms(),
        expires_ms=bench.now_ms() + TTL_MS,
        idempotency_key="k",
        body_digest="d",
    )
    assert await bench.orders.get(hold.hold_id) == answer.order
    assert await bench.orders.by_key(sale.sale_id, "ann", "k") == answer.order
    assert (await bench.current(sale)).quantity_sold == 2
    await bench.assert_in_step(sale)


@commits
async def repeat_answers_the_same_and_changes_nothing(bench: LedgerBench) -> None:
    """R6: after an unknown outcome the same batch is sent again."""
    sale = await bench.sale(quantity_available=5)
    holds = [bench.hold("ann"), bench.hold("bob"), bench.hold("eve")]
    first = await bench.commit(sale, *holds)
    before = await bench.state(sale)

    again = await bench.commit(sale, *holds)

    assert again == first
    assert await bench.state(sale) == before


@commits
async def repeat_is_answered_when_the_sale_sells_no_more(bench: LedgerBench) -> None:
    """Whatever happened since, the order that was made is the answer; others are refused."""
    sale = await bench.sale()
    hold = bench.hold("ann")
    await bench.commit(sale, hold)
    await bench.sales.raise_epoch(sale.sale_id, 1, "lost")
    await bench.moved(sale, SaleStatus.ENDED)

    assert await bench.words(sale, hold, bench.hold("bob")) == [CommitWord.COMMITTED, CommitWord.STALE_EPOCH]


@commits
async def repeat_tells_how_the_order_ended(bench: LedgerBench) -> None:
    """COMMITTED says that the order was made; its status says what became of it (I12: it does not revive)."""
    sale = await bench.sale()
    hold = bench.hold("ann")
    await bench.commit(sale, hold)
    closed = await bench.orders.cancel(hold.hold_id, user_id="ann", actor=ACTOR)
    before = await bench.state(sale)

    [answer] = await bench.commit(sale, hold)

    assert (answer.word, answer.order) == (CommitWord.COMMITTED, closed)
    assert await bench.state(sale) == before


@commits
async def key_that_made_an_order_is_answered_with_it(bench: LedgerBench) -> None:
    """I5: another hold with the same key gets no second order, another body is refused."""
    sale = await bench.sale(per_user_limit=2)
    order = await bench.reserve(sale, "ann", key="k")
    before = await bench.state(sale)

    seen, mismatch = await bench.commit(
        sale, bench.hold("ann", key="k"), bench.hold("ann", key="k", digest="another body")
    )

    assert (seen.word, seen.order) == (CommitWord.SEEN, order)
    assert (mismatch.word, mismatch.order) == (CommitWord.MISMATCH, order)
    assert await bench.state(sale) == before


@commits
async def key_of_a_closed_order_goes_on_answering(bench: LedgerBench) -> None:
    """A new intent needs a new key, or a repeat would make a second order after the first ended."""
    sale = await bench.sale()
    order = await bench.cancelled(sale, "ann", key="k")

    [answer] = await bench.commit(sale, bench.hold("ann", key="k"))

    assert (answer.word, answer.order) == (CommitWord.SEEN, order)
    assert await bench.words(sale, bench.hold("ann", key="k2")) == [CommitWord.COMMITTED]


@commits
async def one_key_of_two_buyers_is_two_keys(bench: LedgerBench) -> None:
    """And of two sales."""
    sale, other = await bench.sale(), await bench.sale()

    said = await bench.words(sale, bench.hold("ann", key="k"), bench.hold("bob", key="k"))

    assert said == [CommitWord.COMMITTED, CommitWord.COMMITTED]
    assert await bench.words(other, bench.hold("ann", key="k")) == [CommitWord.COMMITTED]
    assert await bench.orders.by_key(other.sale_id, "bob", "k") is None


@commits
async def tombstoned_hold_is_never_committed(bench: LedgerBench) -> None:
    """I12: the committer that was paused meets the tombstone, whatever else holds (C11)."""
    sale = await bench.sale()
    hold = bench.hold("ann")
    await bench.orders.tombstone(sale.sale_id, [hold])
    before = await bench.state(sale)

    assert await bench.words(sale, hold) == [CommitWord.TOMBSTONED]

    assert await bench.state(sale) == before
    assert await bench.orders.by_key(sale.sale_id, "ann", hold.key) is None
    assert await bench.words(sale, bench.hold("ann", key=hold.key)) == [CommitWord.COMMITTED]


@commits
async def dead_epoch_commits_nothing(bench: LedgerBench) -> None:
    """I12: neither does one that has not come yet."""
    sale = await bench.sale()
    await bench.sales.raise_epoch(sale.sale_id, 1, "lost")
    before = await bench.state(sale)

    assert await bench.words(sale, bench.hold(), epoch=1) == [CommitWord.STALE_EPOCH]
    assert await bench.words(sale, bench.hold(), epoch=3) == [CommitWord.STALE_EPOCH]

    assert await bench.state(sale) == before
    assert await bench.words(sale, bench.hold(), epoch=2) == [CommitWord.COMMITTED]


@commits
async def limit_binds_held_and_bought_units_together(bench: LedgerBench) -> None:
    """I6: buying and paying does not make room for more; giving back does."""
    sale = await bench.sale(quantity_available=9, per_user_limit=2)
    await bench.paid(sale, "ann")
    second = await bench.reserve(sale, "ann")
    before = await bench.state(sale)

    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.LIMIT]
    assert await bench.state(sale) == before

    await bench.orders.cancel(second.order_id, user_id=None, actor=ACTOR)
    assert await bench.words(sale, bench.hold("ann", quantity=2), bench.hold("ann")) == [
        CommitWord.LIMIT,
        CommitWord.COMMITTED,
    ]


@commits
async def holds_of_a_batch_are_decided_one_after_the_other(bench: LedgerBench) -> None:
    """One buyer's allowance, one key and the last units are shared by the rows of one batch."""
    sale = await bench.sale(quantity_available=4, per_user_limit=3)
    twice = bench.hold("bob", key="k")

    said = await bench.words(
        sale,
        bench.hold("ann", quantity=2),
        bench.hold("ann", quantity=2),
        twice,
        twice,
        bench.hold("bob", key="k"),
        bench.hold("bob", key="k", digest="another body"),
        bench.hold("eve", quantity=2),
        bench.hold("eve"),
        bench.hold("max"),
    )

    assert said == [
        CommitWord.COMMITTED,
        CommitWord.LIMIT,
        CommitWord.COMMITTED,
        CommitWord.COMMITTED,
        CommitWord.SEEN,
        CommitWord.MISMATCH,
        CommitWord.NO_STOCK,
        CommitWord.COMMITTED,
        CommitWord.NO_STOCK,
    ]
    assert (await bench.current(sale)).quantity_sold == 4
    await bench.assert_in_step(sale)


@commits
async def bad_row_never_sinks_its_batch(bench: LedgerBench) -> None:
    """A row that cannot be stored is answered LIMIT, so that its hold is given back."""
    sale = await bench.sale(quantity_available=3)

    said = await bench.words(
        sale,
        bench.hold("ann"),
        bench.hold("eve", quantity=0),
        bench.hold("eve", quantity=-50),
        bench.hold("x" * 201),
        bench.hold(""),
        bench.hold("b"),
        bench.hold("x" * 200),
    )

    assert said == [CommitWord.COMMITTED, *[CommitWord.LIMIT] * 4, CommitWord.COMMITTED, CommitWord.COMMITTED]
    assert (await bench.current(sale)).quantity_sold == 3
    await bench.assert_in_step(sale)


@commits
async def last_unit_closes_the_sale_and_the_first_opens_it(bench: LedgerBench) -> None:
    """The stored status follows the stock in the same transaction (I14)."""
    sale = await bench.sale()

    await bench.reserve(sale, "ann")
    opened = await bench.current(sale)
    await bench.reserve(sale, "bob")
    closed = await bench.current(sale)

    assert (sale.status, opened.status, closed.status) == (
        SaleStatus.SCHEDULED,
        SaleStatus.ACTIVE,
        SaleStatus.SOLD_OUT,
    )


@commits
async def no_unit_is_sold_twice(bench: LedgerBench) -> None:
    """I1: more holds than units, in batches of any size."""
    sale = await bench.sale(quantity_available=3)

    said = await bench.words(sale, *(bench.hold(f"buyer {n}") for n in range(5)))
    later = await bench.words(sale, bench.hold("late"))

    assert said == [CommitWord.COMMITTED] * 3 + [CommitWord.NO_STOCK] * 2
    assert later == [CommitWord.NO_STOCK]
    assert (await bench.facts(sale)).units_reserved == 3
    await bench.assert_in_step(sale)


@commits
async def highest_tick_of_the_epoch_is_kept(bench: LedgerBench) -> None:
    """Also from a batch of which nothing was committed; never from another epoch."""
    sale = await bench.sale(quantity_available=1)

    await bench.commit(sale, bench.hold("ann"), tick=9)
    await bench.commit(sale, bench.hold("bob"), tick=4)
    await bench.commit(sale, bench.hold("eve"), tick=99, epoch=7)
    kept = (await bench.current(sale)).tick_seen
    await bench.commit(sale, bench.hold("max"), tick=12)

    assert (kept, (await bench.current(sale)).tick_seen) == (9, 12)


@commits
async def every_batch_writes_the_sale(bench: LedgerBench) -> None:
    """The barrier of R6: what a repeat reports is as durable as its own commit."""
    sale = await bench.sale()
    hold = bench.hold("ann")
    await bench.commit(sale, hold)
    await bench.ledger.advance_ms(SECOND)

    await bench.commit(sale, hold)

    assert (await bench.current(sale)).updated_ms == bench.now_ms()


@commits
async def empty_batch_is_answered_with_nothing(bench: LedgerBench) -> None:
    """Nobody waits for it."""
    sale = await bench.sale()
    before = await bench.state(sale)

    assert await bench.commit(sale) == []

    assert await bench.state(sale) == before
