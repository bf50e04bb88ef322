"""Steering an image: units on sale, terms, blocked accounts, and reading it in numbers."""

import msgspec
import pytest
from tests.valkey.images import ENDS, EPOCH, NOW, OPENS, SALE, Raw, ask, hold, image, publish, words

from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.engine.image import ImageChunk, ImageState, ImageTerms
from doorbuster.engine.ports import (
    TakeWord,
)

PAUSED = ImageTerms(state=ImageState.PAUSED, opens_ms=OPENS, ends_ms=ENDS, limit=2)


async def tick(store: ValkeyStockStore) -> int:
    summary = await store.summary(SALE)
    assert summary is not None
    return summary.tick


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
async def test_image_of_another_epoch_cannot_be_steered(store: ValkeyStockStore, raw: Raw, epoch: int) -> None:
    await publish(store, image(), ImageChunk(blocked=["eve"]))
    before = await raw.everything()

    assert await store.set_available(SALE, 50, epoch=epoch) is False
    assert await store.set_terms(SALE, PAUSED, epoch=epoch) is False
    assert await store.block(SALE, ["ann"], epoch=epoch) is False
    assert await store.unblock(SALE, ["eve"], epoch=epoch) is False

    assert await raw.everything() == before


async def test_sale_without_image_cannot_be_steered(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.set_available(SALE, 50, epoch=EPOCH) is False
    assert await store.set_terms(SALE, PAUSED, epoch=EPOCH) is False
    assert await store.block(SALE, ["ann"], epoch=EPOCH) is False
    assert await store.unblock(SALE, ["ann"], epoch=EPOCH) is False

    assert await raw.do("DBSIZE") == 0


async def test_cut_below_what_is_free_is_refused(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=3, held=2), ImageChunk(holds=[hold(1, quantity=2)]))
    before = await raw.everything()

    assert await store.set_available(SALE, 1, epoch=EPOCH) is False

    assert await raw.everything() == before


async def test_cut_to_what_is_held_leaves_nothing_free(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=3, held=2), ImageChunk(holds=[hold(1, quantity=2)]))

    assert await store.set_available(SALE, 2, epoch=EPOCH) is True

    assert await words(store, ask(2)) == [TakeWord.NO_STOCK]


async def test_top_up_twice_adds_once(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=5))
    await words(store, ask(1))

    first = await store.set_available(SALE, 8, epoch=EPOCH)
    after_first = await raw.everything()
    second = await store.set_available(SALE, 8, epoch=EPOCH)

    assert (first, second) == (True, True)
    assert await raw.everything() == after_first
    summary = await store.summary(SALE)
    assert summary is not None
    assert (summary.available, summary.stock, summary.held, summary.tick) == (8, 7, 1, 12)


async def test_new_terms_decide_the_next_ask(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)

    assert await store.set_terms(SALE, PAUSED, epoch=EPOCH) is True
    after_first = await raw.everything()
    assert await store.set_terms(SALE, PAUSED, epoch=EPOCH) is True

    assert await raw.everything() == after_first
    assert await words(store, ask(1)) == [TakeWord.PAUSED]
    moved = ImageTerms(state=ImageState.SELLING, opens_ms=NOW + 1, ends_ms=ENDS, limit=1)
    assert await store.set_terms(SALE, moved, epoch=EPOCH) is True
    assert await words(store, ask(1)) == [TakeWord.NOT_STARTED]
    assert await words(store, ask(1, quantity=2), now_ms=NOW + 1) == [TakeWord.LIMIT]


async def test_blocked_account_is_refused_until_unblocked(store: ValkeyStockStore) -> None:
    await publish(store)

    assert await store.block(SALE, ["ann", "bob"], epoch=EPOCH) is True
    assert await words(store, ask(1, "ann"), ask(2, "eve")) == [TakeWord.BLOCKED, TakeWord.HELD]
    assert await store.unblock(SALE, ["ann"], epoch=EPOCH) is True
    assert await words(store, ask(3, "ann"), ask(4, "bob")) == [TakeWord.HELD, TakeWord.BLOCKED]


async def test_blocking_again_is_no_change(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await store.block(SALE, ["ann"], epoch=EPOCH)
    before = await raw.everything()

    assert await store.block(SALE, ["ann"], epoch=EPOCH) is True
    assert await store.unblock(SALE, ["nobody"], epoch=EPOCH) is True

    assert await raw.everything() == before


async def test_long_block_list_is_cut_into_bounded_calls(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)

    assert await store.block(SALE, [f"user-{number}" for number in range(2_500)], epoch=EPOCH) is True

    assert await raw.key("SCARD", "blocked") == 2_500


async def test_every_change_raises_the_tick(store: ValkeyStockStore) -> None:
    await publish(store)
    seen = [await tick(store)]

    await words(store, ask(1), ask(2))
    seen.append(await tick(store))
    await store.confirm(SALE, ["hold-1"], epoch=EPOCH)
    seen.append(await tick(store))
    await store.set_terms(SALE, PAUSED, epoch=EPOCH)
    seen.append(await tick(store))
    await store.block(SALE, ["ann"], epoch=EPOCH)
    seen.append(await tick(store))
    await store.unblock(SALE, ["ann"], epoch=EPOCH)
    seen.append(await tick(store))
    await store.set_available(SALE, 9, epoch=EPOCH)
    seen.append(await tick(store))

    assert seen == list(range(10, 17))


async def test_summary_of_no_image_is_none(store: ValkeyStockStore) -> None:
    assert await store.summary(SALE) is None


async def test_summary_has_what_was_published(store: ValkeyStockStore) -> None:
    head = image(stock=3, held=1)
    await publish(store, head, ImageChunk(holds=[hold(1)]))

    summary = await store.summary(SALE)

    assert summary is not None
    assert msgspec.structs.asdict(summary) == {
        **msgspec.structs.asdict(head),
        "epoch": EPOCH,
        "pending": 0,
        "waiting": 0,
        "blocked": 0,
        "run_id": await store.run_id(SALE),
    }
