"""What every ledger of draws does (`engine.line_ports.DrawLedger`)."""

import hashlib
import uuid

import msgspec
import pytest

from conformance.draw_bench import BEFORE_MS, DrawBench
from conformance.ledger_bench import ACTOR, HOUR, MINUTE
from conformance.suite import Suite
from doorbuster.domain.draw import commitment_of, entry_id_of, numbers_of, rules_text
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.line_ports import EntryWord
from doorbuster.engine.ports import StoreUnavailable

exercise_draw_ledger: Suite[DrawBench] = Suite()
NOWHERE = str(uuid.UUID(int=7))


@exercise_draw_ledger
async def draw_is_promised_with_its_sale(bench: DrawBench) -> None:
    sale = await bench.open_draw(beacon_round=4711)
    plain = await bench.open_draw()

    record, other = await bench.record(sale), await bench.record(plain)

    assert record.rules == rules_text(sale.sale_id, 4711)
    assert other.rules == rules_text(plain.sale_id, None)
    assert record.commitment == commitment_of(record.seed, record.rules)
    assert len({record.seed, record.entry_secret, other.seed, other.entry_secret}) == 4
    assert {len(record.seed), len(record.entry_secret)} == {32}
    assert (record.closed_ms, record.size, record.root, record.ranks, record.drawn_ms) == (None,) * 5


@exercise_draw_ledger
async def what_is_no_draw_has_no_record(bench: DrawBench) -> None:
    race = await bench.sale()

    for sale_id in (race.sale_id, NOWHERE, "no id"):
        assert await bench.draws.record(sale_id) is None
        assert await bench.draws.close(sale_id) is None
        assert await bench.draws.entry_ids(sale_id) == b""
        assert await bench.draws.entry_count(sale_id) == 0
        assert [entry.word for entry in await bench.draws.enter(sale_id, ["ann"])] == [EntryWord.NO_SALE]
        assert await bench.draws.entered(sale_id, ["ann"]) == [None]


@exercise_draw_ledger
async def buyer_has_one_entry(bench: DrawBench) -> None:
    """However often, and together with whomever, they ask (Q1)."""
    sale = await bench.open_draw()
    [first] = await bench.enter(sale, "ann")
    await bench.ledger.advance_ms(MINUTE)

    again = await bench.enter(sale, "bob", "ann", "bob", "ann")

    assert again == [again[0], first, again[0], first]
    assert first.entered_ms == again[0].entered_ms - MINUTE
    assert await bench.draws.entry_count(sale.sale_id) == 2
    assert await bench.draws.entered(sale.sale_id, ["bob", "nobody", "ann"]) == [again[0], None, first]


@exercise_draw_ledger
async def entry_id_follows_from_the_secret(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "Ünïcödé 🎟")
    secret = (await bench.record(sale)).entry_secret

    for user in ("ann", "Ünïcödé 🎟"):
        assert await bench.entry_id(sale, user) == entry_id_of(secret, user).hex()
    assert await bench.entry_id(sale, "ann") != await bench.entry_id(await bench.open_draw("ann"), "ann")


@exercise_draw_ledger
async def name_that_cannot_be_stored_sinks_nobody(bench: DrawBench) -> None:
    sale = await bench.open_draw()

    words = await bench.entry_words(sale, "ann", "", "u" * 201, "bob")

    assert words == [EntryWord.ENTERED, EntryWord.BLOCKED, EntryWord.BLOCKED, EntryWord.ENTERED]
    assert await bench.draws.entered(sale.sale_id, ["", "u" * 201]) == [None, None]
    assert await bench.draws.entry_count(sale.sale_id) == 2


@exercise_draw_ledger
async def entries_are_taken_from_their_time(bench: DrawBench) -> None:
    sale = await bench.open_draw(entry_opens_ms=bench.now_ms() + MINUTE)
    assert await bench.entry_words(sale, "ann") == [EntryWord.NOT_OPEN]
    await bench.ledger.advance_ms(MINUTE - 1)
    assert await bench.entry_words(sale, "ann") == [EntryWord.NOT_OPEN]
    assert await bench.draws.entry_count(sale.sale_id) == 0

    await bench.ledger.advance_ms(1)

    assert await bench.entry_words(sale, "ann") == [EntryWord.ENTERED]


@exercise_draw_ledger
async def entry_at_the_start_is_too_late(bench: DrawBench) -> None:
    """Whether or not somebody has closed the list by then; who entered before still is told so."""
    sale = await bench.open_draw()
    await bench.ledger.advance_ms(BEFORE_MS - 1)
    assert await bench.entry_words(sale, "ann") == [EntryWord.ENTERED]

    await bench.ledger.advance_ms(1)

    assert await bench.entry_words(sale, "bob", "ann") == [EntryWord.CLOSED, EntryWord.ENTERED]
    record = await bench.draws.close(sale.sale_id)
    assert record is not None
    assert record.size == 1
    assert await bench.entry_words(sale, "bob", "ann") == [EntryWord.CLOSED, EntryWord.ENTERED]


@exercise_draw_ledger
async def blocked_account_cannot_enter(bench: DrawBench) -> None:
    sale = await bench.open_draw("bob")
    await bench.sales.set_blocked(sale.sale_id, ["ann", "bob"], ACTOR)

    assert await bench.entry_words(sale, "ann", "bob", "cid") == [
        EntryWord.BLOCKED,
        EntryWord.BLOCKED,
        EntryWord.ENTERED,
    ]

    assert await bench.entry_id(sale, "ann") is None
    assert await bench.draws.entry_count(sale.sale_id) == 2


@exercise_draw_ledger
async def draw_that_is_over_takes_no_entries(bench: DrawBench) -> None:
    over = await bench.open_draw("ann")
    assert isinstance(await bench.sales.move(over.sale_id, SaleStatus.CANCELLED, ACTOR), Sale)

    assert await bench.entry_words(over, "bob") == [EntryWord.CLOSED]

    await bench.start()
    assert await bench.draws.close(over.sale_id) is None
    assert not await bench.draws.withdraw(over.sale_id, "ann")


@exercise_draw_ledger
async def entry_can_be_taken_back_until_the_start(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "bob")
    before = await bench.entry_id(sale, "ann")

    assert await bench.draws.withdraw(sale.sale_id, "ann")
    assert await bench.draws.withdraw(sale.sale_id, "ann")

    assert await bench.entry_id(sale, "ann") is None
    assert await bench.draws.entry_count(sale.sale_id) == 1
    await bench.enter(sale, "ann")
    assert await bench.entry_id(sale, "ann") == before
    await bench.start()
    assert not await bench.draws.withdraw(sale.sale_id, "ann")
    assert await bench.draws.withdraw(sale.sale_id, "nobody")
    assert await bench.entry_id(sale, "ann") == before


@exercise_draw_ledger
async def list_is_not_closed_before_the_start(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann")
    await bench.ledger.advance_ms(BEFORE_MS - 1)

    assert await bench.draws.close(sale.sale_id) is None

    assert (await bench.record(sale)).closed_ms is None
    assert await bench.draws.entry_ids(sale.sale_id) == b""
    assert (await bench.current(sale)).draw_size is None
    assert await bench.entry_words(sale, "bob") == [EntryWord.ENTERED]


@exercise_draw_ledger
async def closing_fixes_list_and_numbers(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "bob", "cid")
    ids = sorted([str(await bench.entry_id(sale, user)) for user in ("ann", "bob", "cid")])

    record = await bench.closed(sale)

    assert (record.size, record.closed_ms, list(record.removed)) == (3, bench.now_ms(), [])
    assert await bench.entry_ids(sale) == ids
    current = await bench.current(sale)
    assert (current.draw_size, current.number_high, current.drawn_ms) == (3, 3, None)
    await bench.ledger.advance_ms(MINUTE)
    assert await bench.draws.close(sale.sale_id) == record
    assert await bench.draws.entry_count(sale.sale_id) == 3


@exercise_draw_ledger
async def blocked_accounts_are_off_the_list_and_named(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "bob", "cid", "dan")
    gone = sorted([str(await bench.entry_id(sale, user)) for user in ("ann", "dan")])
    kept = sorted([str(await bench.entry_id(sale, user)) for user in ("bob", "cid")])
    await bench.sales.set_blocked(sale.sale_id, ["ann", "dan", "eve"], ACTOR)

    record = await bench.closed(sale)

    assert (record.size, list(record.removed), await bench.entry_ids(sale)) == (2, gone, kept)
    await bench.sales.set_blocked(sale.sale_id, ["bob"], ACTOR)  # too late for the list
    again = await bench.draws.close(sale.sale_id)
    assert again == record
    assert await bench.entry_words(sale, "ann") == [EntryWord.CLOSED]


@exercise_draw_ledger
async def steps_are_taken_in_their_order(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann")
    race = await bench.sale()

    for sale_id in (sale.sale_id, race.sale_id):
        with pytest.raises(StoreUnavailable):
            await bench.draws.store_root(sale_id, bytes(32))
        with pytest.raises(StoreUnavailable):
            await bench.draws.store_order(sale_id, beacon_value=None, beacon_note="", ranks=bytes(4))
    await bench.closed(sale)
    with pytest.raises(StoreUnavailable):
        await bench.draws.store_order(sale.sale_id, beacon_value=None, beacon_note="", ranks=bytes(4))

    record = await bench.record(sale)
    assert (record.root, record.ranks, record.drawn_ms) == (None, None, None)


@exercise_draw_ledger
async def order_has_a_number_for_everybody(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "bob")
    record = await bench.rooted(sale)

    for ranks in (b"", bytes(4), bytes(12)):
        with pytest.raises(StoreUnavailable):
            await bench.draws.store_order(sale.sale_id, beacon_value=None, beacon_note="", ranks=ranks)

    assert await bench.record(sale) == record


@exercise_draw_ledger
async def first_root_and_first_order_stay(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann", "bob")
    record = await bench.rooted(sale)
    assert (await bench.draws.store_root(sale.sale_id, bytes(32))).root == record.root
    value = hashlib.sha256(b"round").hexdigest()
    ranks = await bench.ranks(record, value)

    first = await bench.draws.store_order(sale.sale_id, beacon_value=value, beacon_note="", ranks=ranks)
    await bench.ledger.advance_ms(MINUTE)
    second = await bench.draws.store_order(
        sale.sale_id, beacon_value=None, beacon_note="none", ranks=ranks[4:] + ranks[:4]
    )

    assert second == first
    assert (first.ranks, first.beacon_value, first.beacon_note) == (ranks, value, "")
    current = await bench.current(sale)
    assert current.drawn_ms == first.drawn_ms == bench.now_ms() - MINUTE
    assert current.rebuild_reason == "the draw was held"


@exercise_draw_ledger
async def line_is_written_by_rank(bench: DrawBench) -> None:
    users = [f"buyer {number}" for number in range(20)]
    sale = await bench.open_draw(*users)
    assert await bench.drawn_line(sale) == []
    record = await bench.rooted(sale)
    assert await bench.drawn_line(sale) == []

    record = await bench.drawn(sale)

    assert record.ranks is not None
    by_id = dict(zip(await bench.entry_ids(sale), numbers_of(record.ranks), strict=True))
    expected = [(by_id[str(await bench.entry_id(sale, user))], user) for user in users]
    assert [(row.number, row.user_id) for row in await bench.drawn_line(sale)] == sorted(expected)
    assert [row.number for row in await bench.drawn_line(sale)] == list(range(1, 21))


@exercise_draw_ledger
async def line_ends_with_the_standby(bench: DrawBench) -> None:
    users = [f"buyer {number}" for number in range(9)]
    sale = await bench.open_draw(*users, quantity_available=2, standby_limit=3)

    await bench.drawn(sale)

    assert [row.number for row in await bench.drawn_line(sale)] == [1, 2, 3, 4, 5]


@exercise_draw_ledger
async def draw_without_entries_is_held(bench: DrawBench) -> None:
    sale = await bench.open_draw()

    record = await bench.drawn(sale)

    assert (record.size, record.ranks) == (0, b"")
    current = await bench.current(sale)
    assert (current.draw_size, current.number_high, current.drawn_ms) == (0, 0, bench.now_ms())
    assert await bench.drawn_line(sale) == []


@exercise_draw_ledger
async def start_that_is_moved_moves_the_closing(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann")
    terms = bench.terms(mode=SaleMode.DRAW, start_ms=sale.start_ms + HOUR, end_ms=sale.end_ms + HOUR)
    moved = await bench.sales.change(sale.sale_id, terms, await bench.current(sale), ACTOR)
    assert isinstance(moved, Sale), moved

    await bench.start()

    assert await bench.draws.close(sale.sale_id) is None
    assert await bench.entry_words(sale, "bob") == [EntryWord.ENTERED]


@exercise_draw_ledger
async def secrets_are_in_no_sale(bench: DrawBench) -> None:
    sale = await bench.open_draw("ann")
    record = await bench.drawn(sale)

    shown = repr(msgspec.to_builtins(await bench.current(sale))) + repr(await bench.image_rows(sale))

    for secret in (record.seed, record.entry_secret):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
