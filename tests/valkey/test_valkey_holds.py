"""Holds after they were taken: confirmed, released, listed."""

import pytest
from tests.valkey.images import EPOCH, NOW, SALE, Raw, ask, hold, image, publish, words

from doorbuster.adapters.valkey.functions import ROWS_MAX
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk
from doorbuster.engine.ports import (
    OutcomeUnknown,
    Release,
    TakeWord,
)


def release(number: int, user: str = "", *, forget_key: bool = False) -> Release:
    return Release(hold_id=f"hold-{number}", user_id=user or f"buyer-{number}", forget_key=forget_key)


async def pending(store: ValkeyStockStore) -> int:
    summary = await store.summary(SALE)
    assert summary is not None
    return summary.pending


async def test_confirming_without_an_image_counts_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.confirm(SALE, ["hold-1"], epoch=EPOCH) == 0

    assert await raw.do("DBSIZE") == 0


async def test_confirming_under_another_epoch_changes_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    before = await raw.everything()

    assert await store.confirm(SALE, ["hold-1"], epoch=EPOCH - 1) == 0

    assert await raw.everything() == before


async def test_confirming_twice_counts_once(store: ValkeyStockStore) -> None:
    await publish(store)
    await words(store, ask(1), ask(2))

    first = await store.confirm(SALE, ["hold-1", "hold-x"], epoch=EPOCH)
    second = await store.confirm(SALE, ["hold-1", "hold-x"], epoch=EPOCH)

    assert (first, second) == (1, 0)
    assert await pending(store) == 1


async def test_confirming_nothing_is_no_call(store: ValkeyStockStore) -> None:
    assert await store.confirm(SALE, [], epoch=EPOCH) == 0


async def test_releasing_without_an_image_says_try_later(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.release(SALE, [release(1)], epoch=EPOCH) is None

    assert await raw.do("DBSIZE") == 0


async def test_releasing_under_another_epoch_changes_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    before = await raw.everything()

    assert await store.release(SALE, [release(1)], epoch=EPOCH + 1) is None

    assert await raw.everything() == before


async def test_unknown_hold_gives_nothing_back(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    before = await raw.everything()

    assert await store.release(SALE, [release(1, forget_key=True)], epoch=EPOCH) == 0

    assert await raw.everything() == before


async def test_hold_of_somebody_else_is_left_alone(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    before = await raw.everything()

    assert await store.release(SALE, [release(1, "eve")], epoch=EPOCH) == 0

    assert await raw.everything() == before


async def test_release_gives_units_back_once(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=5, limit=3))
    await words(store, ask(1, "ann", quantity=2), ask(2, "ann"))

    first = await store.release(SALE, [release(1, "ann"), release(1, "ann")], epoch=EPOCH)
    after_first = await raw.everything()
    second = await store.release(SALE, [release(1, "ann")], epoch=EPOCH)

    assert (first, second) == (2, 0)
    assert await raw.everything() == after_first
    summary = await store.summary(SALE)
    assert summary is not None
    assert (summary.stock, summary.held, summary.pending) == (4, 1, 1)
    assert await store.claims(SALE, ["ann"]) == {"ann": 1}


async def test_late_release_moves_nothing_after_resale(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=1))
    await words(store, ask(1))
    await store.release(SALE, [release(1)], epoch=EPOCH)
    assert await words(store, ask(2)) == [TakeWord.HELD]

    assert await store.release(SALE, [release(1)], epoch=EPOCH) == 0

    assert await words(store, ask(3)) == [TakeWord.NO_STOCK]


async def test_last_unit_returned_leaves_no_claim(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))

    await store.release(SALE, [release(1)], epoch=EPOCH)

    assert await store.claims(SALE, ["buyer-1"]) == {}
    assert await raw.key("EXISTS", "claims") == 0


async def test_released_key_goes_on_answering(store: ValkeyStockStore) -> None:
    await publish(store)
    await words(store, ask(1))

    await store.release(SALE, [release(1)], epoch=EPOCH)

    assert await words(store, ask(9, "buyer-1", key="key-1")) == [TakeWord.SEEN]


async def test_forgotten_key_may_be_used_again(store: ValkeyStockStore) -> None:
    await publish(store)
    await words(store, ask(1))

    await store.release(SALE, [release(1, forget_key=True)], epoch=EPOCH)

    assert await words(store, ask(9, "buyer-1", key="key-1")) == [TakeWord.HELD]


async def test_key_of_a_newer_hold_is_not_forgotten(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    await raw.key("HSET", "keys", "buyer-1\x1fkey-1", "hold-2\x1fbody")

    assert await store.release(SALE, [release(1, forget_key=True)], epoch=EPOCH) == 1

    assert await words(store, ask(9, "buyer-1", key="key-1")) == [TakeWord.SEEN]


async def test_garbled_hold_is_left_alone(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    await raw.key("HSET", "holds", "hold-1", "rubbish")
    before = await raw.everything()

    assert await store.release(SALE, [release(1)], epoch=EPOCH) == 0

    assert await raw.everything() == before


async def test_release_from_holds_of_a_wrong_type_is_unknown(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await raw.key("SET", "holds", "x")
    before = await raw.everything()

    with pytest.raises(OutcomeUnknown, match="WRONGTYPE"):
        await store.release(SALE, [release(1)], epoch=EPOCH)

    assert await raw.everything() == before


async def test_long_lists_are_cut_into_bounded_calls(store: ValkeyStockStore) -> None:
    count = ROWS_MAX * 2 + 5
    holds = [hold(number) for number in range(count)]
    await publish(store, image(stock=0, held=count), ImageChunk(holds=holds))

    claims = await store.claims(SALE, [row.user_id for row in holds])
    confirmed = await store.confirm(SALE, [row.hold_id for row in holds], epoch=EPOCH)
    units = await store.release(SALE, [release(number) for number in range(count)], epoch=EPOCH)

    assert len(claims) == count
    assert (confirmed, units) == (0, count)
    summary = await store.summary(SALE)
    assert summary is not None
    assert (summary.stock, summary.held) == (count, 0)


async def test_pending_holds_come_oldest_first(store: ValkeyStockStore) -> None:
    await publish(store)
    for number, at in ((3, NOW + 2), (1, NOW), (2, NOW + 1)):
        await words(store, ask(number), now_ms=at)
    await store.confirm(SALE, ["hold-2"], epoch=EPOCH)

    every = await store.pending_before(SALE, NOW + 3, 10)
    early = await store.pending_before(SALE, NOW + 2, 10)
    first = await store.pending_before(SALE, NOW + 3, 1)

    assert [found.hold_id for found in every] == ["hold-1", "hold-3"]
    assert [found.hold_id for found in early] == ["hold-1"]
    assert [found.hold_id for found in first] == ["hold-1"]


async def test_pending_hold_without_a_record_is_passed_over(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1), ask(2))
    await raw.key("HDEL", "holds", "hold-1")

    found = await store.pending_before(SALE, NOW + 1, 10)

    assert [row.hold_id for row in found] == ["hold-2"]


async def test_pending_of_a_sale_without_image_is_empty(store: ValkeyStockStore) -> None:
    assert list(await store.pending_before(SALE, NOW, 10)) == []


async def test_all_holds_are_listed_in_chunks(store: ValkeyStockStore) -> None:
    holds = [hold(number) for number in range(3_500)]
    await publish(store, image(stock=0, held=len(holds)), ImageChunk(holds=holds))

    chunks = [chunk async for chunk in store.holds(SALE)]

    found: dict[str, Hold] = {row.hold_id: row for chunk in chunks for row in chunk}
    assert found == {row.hold_id: row for row in holds}
    assert len(chunks) > 1


async def test_holds_of_a_sale_without_image_are_none(store: ValkeyStockStore) -> None:
    assert [chunk async for chunk in store.holds(SALE)] == []
