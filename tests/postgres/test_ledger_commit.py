"""Every word the ledger can say to a hold, and that a word of refusal leaves everything as it was."""

import msgspec
import pytest

from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import CommitBatch, CommitWord
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, holds_of

pytestmark = pytest.mark.filterwarnings("error")
BARRIER = {"updated_at", "tick_seen"}
"""What every batch writes on the sale's row, a refused one too."""


async def rows_but_barrier(ledger: Ledger) -> object:
    everything = await ledger.everything()
    for sale in everything["flash_sales"]:
        for column in BARRIER:
            del sale[column]
    return everything


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ("update flash_sales set epoch = 7", CommitWord.STALE_EPOCH),
        ("update flash_sales set status = 'PAUSED'", CommitWord.PAUSED),
        ("update flash_sales set start_time = now() + interval '1 minute'", CommitWord.NOT_STARTED),
        ("update flash_sales set end_time = now() - interval '1 second'", CommitWord.OVER),
        ("update flash_sales set status = 'ENDED'", CommitWord.OVER),
        ("update flash_sales set status = 'CANCELLED', start_time = now() + interval '1 minute'", CommitWord.OVER),
        (
            "insert into blocklist_pages select sale_id, blocklist_page('ann'), array['ann'] from flash_sales",
            CommitWord.BLOCKED,
        ),
        ("update flash_sales set quantity_available = 0, status = 'SOLD_OUT'", CommitWord.NO_STOCK),
    ],
)
async def test_refused_hold_changes_nothing(ledger: Ledger, spoil: str, word: CommitWord) -> None:
    sale = await ledger.sale()
    await ledger.sql.execute(spoil)
    before = await rows_but_barrier(ledger)

    said = await ledger.commit(sale, a_hold("ann"))

    assert said == [word]
    assert await rows_but_barrier(ledger) == before


async def test_hold_of_unknown_sale_is_over(ledger: Ledger) -> None:
    sale = await ledger.sale()

    said = await ledger.commit(msgspec.structs.replace(sale, sale_id=an_id()), a_hold(), a_hold("bob"))

    assert said == [CommitWord.OVER, CommitWord.OVER]


@pytest.mark.parametrize("quantity", [0, -1, 2, 2**31, 10**12])
async def test_quantity_outside_the_allowance_is_refused(ledger: Ledger, quantity: int) -> None:
    sale = await ledger.sale(quantity_available=1_000)
    before = await rows_but_barrier(ledger)

    said = await ledger.commit(sale, a_hold(quantity=quantity))

    assert said == [CommitWord.LIMIT]
    assert await rows_but_barrier(ledger) == before


@pytest.mark.parametrize("user", ["", "x" * 201, "nul\0", "half \ud800"])
async def test_bad_row_never_sinks_its_batch(ledger: Ledger, user: str) -> None:
    sale = await ledger.sale()

    said = await ledger.commit(sale, a_hold("ann"), a_hold(user), a_hold("bob"))

    assert said == [CommitWord.COMMITTED, CommitWord.LIMIT, CommitWord.COMMITTED]
    assert (await ledger.now(sale)).quantity_sold == 2


async def test_hold_id_that_is_no_id_never_sinks_its_batch(ledger: Ledger) -> None:
    sale = await ledger.sale()

    said = await ledger.commit(sale, a_hold("eve", hold_id="not an id"), a_hold("ann"))

    assert said == [CommitWord.LIMIT, CommitWord.COMMITTED]


async def test_key_with_another_body_is_a_mismatch(ledger: Ledger) -> None:
    sale = await ledger.sale(per_user_limit=2)
    await ledger.reserve(sale, "ann", key="k", digest="one")
    before = await rows_but_barrier(ledger)

    said = await ledger.commit(sale, a_hold("ann", key="k", digest="two"))

    assert said == [CommitWord.MISMATCH]
    assert await rows_but_barrier(ledger) == before


async def test_key_with_the_same_body_finds_its_order(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale, "ann", key="k")
    before = await rows_but_barrier(ledger)

    [answer] = await ledger.orders.commit(
        CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=[a_hold("ann", key="k")])
    )

    assert (answer.word, answer.order) == (CommitWord.SEEN, order)
    assert await rows_but_barrier(ledger) == before


async def test_keys_of_two_buyers_are_two_keys(ledger: Ledger) -> None:
    sale = await ledger.sale()

    said = await ledger.commit(sale, a_hold("ann", key="k"), a_hold("bob", key="k"))

    assert said == [CommitWord.COMMITTED, CommitWord.COMMITTED]


async def test_tombstoned_hold_is_never_committed(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    await ledger.orders.tombstone(sale.sale_id, [hold])
    before = await rows_but_barrier(ledger)

    said = await ledger.commit(sale, hold)

    assert said == [CommitWord.TOMBSTONED]
    assert await rows_but_barrier(ledger) == before


async def test_committed_hold_becomes_an_order(ledger: Ledger) -> None:
    sale = await ledger.sale(per_user_limit=2, checkout_ttl_seconds=90)
    hold = a_hold("ann", quantity=2, key="k", digest="d")

    [answer] = await ledger.orders.commit(CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=[hold]))

    order = answer.order
    assert order is not None
    assert order == await ledger.orders.get(hold.hold_id)
    assert (order.status, order.amount_cents, order.currency) == (OrderStatus.RESERVED, 3_000, "USD")
    assert order.expires_ms == order.reserved_ms + 90_000
    assert (order.idempotency_key, order.body_digest) == ("k", "d")


async def test_repeat_answers_the_same_and_changes_nothing(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=5)
    batch = CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=holds_of(3))
    first = await ledger.orders.commit(batch)
    before = await rows_but_barrier(ledger)

    again = await ledger.orders.commit(batch)

    assert list(again) == list(first)
    assert await rows_but_barrier(ledger) == before


async def test_repeat_is_answered_when_the_sale_sells_no_more(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    await ledger.commit(sale, hold)
    await ledger.sales.raise_epoch(sale.sale_id, 1, "lost")
    await ledger.sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)

    said = await ledger.commit(sale, hold, a_hold("bob"))

    assert said == [CommitWord.COMMITTED, CommitWord.STALE_EPOCH]


async def test_repeat_writes_the_sale_row_as_a_barrier(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    await ledger.commit(sale, hold)
    written = await ledger.sql.fetchval("select xmin::text from flash_sales")

    await ledger.commit(sale, hold)

    assert await ledger.sql.fetchval("select xmin::text from flash_sales") != written


async def test_repeat_tells_how_the_order_ended(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    await ledger.commit(sale, hold)
    await ledger.orders.cancel(hold.hold_id, user_id=None, actor=ACTOR)

    [answer] = await ledger.orders.commit(CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=[hold]))

    assert answer.word is CommitWord.COMMITTED
    assert answer.order is not None
    assert answer.order.status is OrderStatus.CANCELLED


async def test_one_buyer_twice_in_a_batch_gets_the_allowance(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=10, per_user_limit=3)

    said = await ledger.commit(
        sale,
        a_hold("ann", quantity=2, key="1"),
        a_hold("ann", quantity=2, key="2"),
        a_hold("bob", quantity=3, key="1"),
        a_hold("ann", quantity=1, key="3"),
        a_hold("ann", quantity=1, key="4"),
    )

    assert said == ["committed", "limit", "committed", "committed", "limit"]
    assert await ledger.sql.fetchval("select max(quantity_purchased) from user_sale_eligibility") == 3


async def test_one_key_twice_in_a_batch_is_one_order(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=10, per_user_limit=3)
    hold = a_hold("ann", key="k")

    said = await ledger.commit(sale, hold, hold, a_hold("ann", key="k"), a_hold("ann", key="k", digest="other"))

    assert said == ["committed", "committed", "seen", "mismatch"]
    assert (await ledger.now(sale)).quantity_sold == 1


async def test_hold_id_of_two_buyers_is_one_order(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold("ann")

    await ledger.commit(sale, hold, a_hold("bob", hold_id=hold.hold_id))

    assert (await ledger.now(sale)).quantity_sold == 1
    assert (await ledger.audit(sale)).drifts == ()


async def test_smaller_hold_fits_where_a_larger_did_not(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=3, per_user_limit=3)

    said = await ledger.commit(
        sale, a_hold("a", quantity=2), a_hold("b", quantity=2), a_hold("c", quantity=1), a_hold("d", quantity=1)
    )

    assert said == ["committed", "no_stock", "committed", "no_stock"]
    assert (await ledger.now(sale)).status is SaleStatus.SOLD_OUT


async def test_answers_come_in_the_order_of_the_holds(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=300)
    holds = holds_of(300)

    answers = await ledger.orders.commit(CommitBatch(sale_id=sale.sale_id, epoch=1, tick=1, holds=holds))

    assert [answer.order.order_id for answer in answers if answer.order] == [hold.hold_id for hold in holds]


async def test_first_unit_opens_the_sale_and_the_last_closes_it(ledger: Ledger) -> None:
    sale = await ledger.sale()

    await ledger.commit(sale, a_hold("ann"))
    opened = await ledger.now(sale)
    await ledger.commit(sale, a_hold("bob"))
    closed = await ledger.now(sale)

    assert (sale.status, opened.status, closed.status) == ("SCHEDULED", "ACTIVE", "SOLD_OUT")


async def test_highest_tick_of_the_epoch_is_kept(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=10)

    await ledger.commit(sale, a_hold("a"), tick=9)
    await ledger.commit(sale, a_hold("b"), tick=4)
    await ledger.commit(sale, a_hold("c"), tick=99, epoch=0)

    assert (await ledger.now(sale)).tick_seen == 9


async def test_empty_batch_is_answered_with_nothing(ledger: Ledger) -> None:
    sale = await ledger.sale()

    said = await ledger.commit(sale)

    assert said == []


async def test_order_is_durable_even_where_the_session_says_otherwise(ledger: Ledger) -> None:
    sale = await ledger.sale()
    async with ledger.connection() as connection:
        await connection.execute("set synchronous_commit = off")
        async with connection.transaction():
            await connection.execute(
                "select commit_holds($1, 1, 1, '{}', '{}', '{}', '{}', '{}')".replace("$1", f"'{sale.sale_id}'")
            )
            during = await connection.fetchval("show synchronous_commit")

    assert during == "on"
