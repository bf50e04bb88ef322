"""What the function says to each ask of a batch, and what it leaves behind."""

import pytest
from tests.valkey.images import ENDS, EPOCH, NOW, OPENS, SALE, Raw, ask, hold, image, publish, words

from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.engine.image import ImageChunk, ImageState
from doorbuster.engine.ports import (
    OutcomeUnknown,
    Release,
    TakeWord,
)


async def test_take_without_an_image_is_refused(store: ValkeyStockStore, raw: Raw) -> None:
    taken = await store.take(SALE, [ask(1), ask(2)], now_ms=NOW, epoch_min=0)

    assert [take.word for take in taken.takes] == [TakeWord.NO_IMAGE] * 2
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (0, 0, 0, 0)
    assert await raw.do("DBSIZE") == 0


@pytest.mark.parametrize("stock", ["", "many", "-1", "1.5", "1e3", " 5", "9" * 16])
async def test_stock_that_is_no_number_is_no_image(store: ValkeyStockStore, raw: Raw, stock: str) -> None:
    await publish(store)
    await raw.key("SET", "stock", stock)
    before = await raw.everything()

    assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]

    assert await store.summary(SALE) is None
    assert await raw.everything() == before


async def test_missing_stock_is_never_read_as_zero(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await raw.key("DEL", "stock")
    before = await raw.everything()

    assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]

    assert await store.set_available(SALE, 50, epoch=EPOCH) is False
    assert await store.release(SALE, [Release(hold_id="hold-1", user_id="buyer-1")], epoch=EPOCH) is None
    assert await raw.everything() == before


@pytest.mark.parametrize("field", ["epoch", "state", "opens", "ends", "limit", "available", "held", "tick"])
@pytest.mark.parametrize("value", [None, "?"])
async def test_garbled_meta_is_no_image(store: ValkeyStockStore, raw: Raw, field: str, value: str | None) -> None:
    await publish(store)
    await (raw.key("HSET", "meta", field, value) if value else raw.key("HDEL", "meta", field))
    before = await raw.everything()

    assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]

    assert await raw.everything() == before


@pytest.mark.parametrize("name", ["meta", "stock"])
async def test_head_of_a_wrong_type_is_no_image(store: ValkeyStockStore, raw: Raw, name: str) -> None:
    await publish(store)
    await raw.key("DEL", "meta" if name == "meta" else "stock")
    await raw.key("RPUSH", "meta" if name == "meta" else "stock", "x")

    assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]


@pytest.mark.parametrize("name", ["holds", "claims", "keys", "blocked", "pending"])
async def test_part_of_a_wrong_type_changes_nothing(store: ValkeyStockStore, raw: Raw, name: str) -> None:
    await publish(store)
    await raw.do("SET", f"sale:{{{SALE}}}:{name}", "x")
    before = await raw.everything()

    with pytest.raises(OutcomeUnknown):
        await words(store, ask(1))

    assert await raw.everything() == before


async def test_garbled_rows_do_not_sink_their_batch(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await raw.key("HSET", "claims", "ann", "rubbish")
    await raw.key("HSET", "keys", "bob\x1fk", "rubbish")

    said = await words(store, ask(1, "ann"), ask(2, "bob", key="k"), ask(3, "eve"))

    assert said == [TakeWord.LIMIT, TakeWord.MISMATCH, TakeWord.HELD]


async def test_image_older_than_the_caller_is_stale(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    before = await raw.everything()

    taken = await store.take(SALE, [ask(1)], now_ms=NOW, epoch_min=EPOCH + 1)

    assert [take.word for take in taken.takes] == [TakeWord.STALE_EPOCH]
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (EPOCH, 5, 5, 10)
    assert await raw.everything() == before


@pytest.mark.parametrize(
    ("state", "now_ms", "word"),
    [
        (ImageState.PAUSED, NOW, TakeWord.PAUSED),
        (ImageState.PAUSED, OPENS - 1, TakeWord.PAUSED),
        (ImageState.PAUSED, ENDS, TakeWord.PAUSED),
        (ImageState.SELLING, OPENS - 1, TakeWord.NOT_STARTED),
        (ImageState.SELLING, ENDS, TakeWord.OVER),
        (ImageState.OVER, NOW, TakeWord.OVER),
        (ImageState.OVER, OPENS - 1, TakeWord.OVER),
    ],
)
async def test_closed_sale_takes_nothing(
    store: ValkeyStockStore, raw: Raw, state: ImageState, now_ms: int, word: TakeWord
) -> None:
    await publish(store, image(state=state), ImageChunk(blocked=["buyer-1"]))
    before = await raw.everything()

    assert await words(store, ask(1), ask(2), now_ms=now_ms) == [word, word]

    assert await raw.everything() == before


@pytest.mark.parametrize("now_ms", [OPENS, ENDS - 1])
async def test_window_includes_its_start_and_not_its_end(store: ValkeyStockStore, now_ms: int) -> None:
    await publish(store)

    assert await words(store, ask(1), now_ms=now_ms) == [TakeWord.HELD]


async def test_blocked_buyer_gets_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=0), ImageChunk(blocked=["buyer-1"]))
    before = await raw.everything()

    assert await words(store, ask(1)) == [TakeWord.BLOCKED]

    assert await raw.everything() == before


async def test_limit_counts_what_the_buyer_has(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=5, held=1, limit=2), ImageChunk(holds=[hold(1, "ann")]))
    before = await raw.everything()

    assert await words(store, ask(2, "ann", quantity=2)) == [TakeWord.LIMIT]

    assert await raw.everything() == before


async def test_limit_is_said_before_no_stock(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=0, limit=2))

    assert await words(store, ask(1, quantity=3), ask(2)) == [TakeWord.LIMIT, TakeWord.NO_STOCK]


async def test_limit_holds_inside_one_batch(store: ValkeyStockStore) -> None:
    await publish(store, image(limit=2))

    said = await words(store, ask(1, "ann"), ask(2, "ann"), ask(3, "ann"), ask(4, "bob"))

    assert said == [TakeWord.HELD, TakeWord.HELD, TakeWord.LIMIT, TakeWord.HELD]
    assert await store.claims(SALE, ["ann", "bob", "eve"]) == {"ann": 2, "bob": 1}


async def test_batch_sells_what_there_is_and_no_more(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=3))

    taken = await store.take(
        SALE, [ask(1, quantity=2), ask(2, quantity=2), ask(3), ask(4)], now_ms=NOW, epoch_min=EPOCH
    )

    assert [take.word for take in taken.takes] == [TakeWord.HELD, TakeWord.NO_STOCK, TakeWord.HELD, TakeWord.NO_STOCK]
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (EPOCH, 3, 0, 11)
    summary = await store.summary(SALE)
    assert summary is not None
    assert (summary.stock, summary.held, summary.pending, summary.tick) == (0, 3, 2, 11)


async def test_key_seen_answers_with_its_first_hold(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1, "ann", key="k"))
    before = await raw.everything()

    taken = await store.take(SALE, [ask(2, "ann", key="k")], now_ms=NOW, epoch_min=EPOCH)

    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.SEEN, "hold-1")]
    assert await raw.everything() == before


async def test_key_twice_in_one_batch_makes_one_hold(store: ValkeyStockStore) -> None:
    await publish(store)

    taken = await store.take(
        SALE,
        [ask(1, "ann", key="k"), ask(2, "ann", key="k"), ask(3, "ann", key="k", digest="other")],
        now_ms=NOW,
        epoch_min=EPOCH,
    )

    assert [take.word for take in taken.takes] == [TakeWord.HELD, TakeWord.SEEN, TakeWord.MISMATCH]
    assert taken.takes[1].hold_id == "hold-1"
    assert taken.stock == 4


async def test_key_with_another_body_is_a_mismatch(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1, "ann", key="k"))
    before = await raw.everything()

    assert await words(store, ask(2, "ann", key="k", digest="other")) == [TakeWord.MISMATCH]

    assert await raw.everything() == before


async def test_key_of_another_buyer_is_another_key(store: ValkeyStockStore) -> None:
    await publish(store)

    assert await words(store, ask(1, "ann", key="k"), ask(2, "bob", key="k")) == [TakeWord.HELD, TakeWord.HELD]


@pytest.mark.parametrize("state", [ImageState.PAUSED, ImageState.OVER])
async def test_key_is_answered_while_the_sale_is_closed(store: ValkeyStockStore, state: ImageState) -> None:
    await publish(store, image(stock=4, held=1, state=state), ImageChunk(holds=[hold(1)]))

    assert await words(store, ask(9, "buyer-1", key="key-1")) == [TakeWord.SEEN]


async def test_key_of_a_closed_order_goes_on_answering(store: ValkeyStockStore) -> None:
    await publish(store, image(limit=1), ImageChunk(closed_keys=[hold(1)]))

    taken = await store.take(
        SALE, [ask(8, "buyer-1", key="key-1"), ask(9, "buyer-1", key="new")], now_ms=NOW, epoch_min=EPOCH
    )

    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.SEEN, "hold-1"), (TakeWord.HELD, "hold-9")]


async def test_hold_is_stored_as_it_was_asked(store: ValkeyStockStore) -> None:
    await publish(store)

    await words(store, ask(7, "jörg ⚡", quantity=2, key="ключ", digest="sha"))

    (found,) = await store.pending_before(SALE, NOW + 1, 10)
    assert (found.hold_id, found.user_id, found.quantity) == ("hold-7", "jörg ⚡", 2)
    assert (found.key, found.digest, found.since_ms) == ("ключ", "sha", NOW)


async def test_full_batch_is_decided_in_one_call(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=500))

    said = await words(store, *(ask(number) for number in range(limits.TAKE_BATCH_MAX)))

    assert said == [TakeWord.HELD] * 500 + [TakeWord.NO_STOCK] * (limits.TAKE_BATCH_MAX - 500)


async def test_empty_batch_reads_the_head(store: ValkeyStockStore) -> None:
    await publish(store)

    taken = await store.take(SALE, [], now_ms=NOW, epoch_min=EPOCH)

    assert (taken.epoch, taken.stock, list(taken.takes)) == (EPOCH, 5, [])


@pytest.mark.parametrize(
    "bad",
    [
        ask(1, quantity=0),
        ask(1, quantity=-50),
        ask(1, "a\x1fb"),
        ask(1, key="a\x1fb"),
        ask(1, digest="a\x1fb"),
        ask(1, "\ud800"),
    ],
)
async def test_ask_that_cannot_be_is_not_sent(store: ValkeyStockStore, raw: Raw, bad: object) -> None:
    await publish(store)
    before = await raw.everything()

    with pytest.raises(ValueError):  # noqa: PT011 - any of them
        await store.take(SALE, [ask(2), bad], now_ms=NOW, epoch_min=EPOCH)  # pyright: ignore[reportArgumentType]

    assert await raw.everything() == before


async def test_batch_above_the_bound_is_not_sent(store: ValkeyStockStore) -> None:
    asks = [ask(number) for number in range(limits.TAKE_BATCH_MAX + 1)]

    with pytest.raises(ValueError, match="at most 512"):
        await store.take(SALE, asks, now_ms=NOW, epoch_min=EPOCH)
