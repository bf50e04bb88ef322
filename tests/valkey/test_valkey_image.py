"""Building an image: who may, and that nothing half-built can be read."""

import msgspec
import pytest
from tests.valkey.images import EPOCH, SALE, Raw, ask, hold, image, publish, raw_at, store_at, words
from tests.valkey.servers import Server, running

from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.engine.image import ImageChunk
from doorbuster.engine.ports import (
    InvariantViolation,
    OutcomeUnknown,
    Release,
    StoreUnavailable,
    TakeWord,
)
from helpers.waiting import until


async def test_published_epoch_cannot_be_begun_again(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=4, held=1), ImageChunk(holds=[hold(1)], blocked=["eve"]))
    before = await raw.everything()

    assert await store.begin_image(SALE, EPOCH) is False
    assert await store.begin_image(SALE, EPOCH - 1) is False

    assert await raw.everything() == before


async def test_older_epoch_cannot_be_begun_during_a_build(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.begin_image(SALE, EPOCH)
    before = await raw.everything()

    assert await store.begin_image(SALE, EPOCH - 1) is False

    assert await raw.everything() == before


async def test_overtaken_builder_writes_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.begin_image(SALE, EPOCH)
    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    assert await store.begin_image(SALE, EPOCH + 1)
    before = await raw.everything()

    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(2)])) is False
    assert await store.publish_image(SALE, EPOCH, image()) is None

    assert await raw.everything() == before


async def test_builder_overtaken_by_a_published_image_writes_nothing(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.begin_image(SALE, EPOCH)
    await publish(store, epoch=EPOCH + 1)
    before = await raw.everything()

    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(2)])) is False
    assert await store.publish_image(SALE, EPOCH, image()) is None
    assert await store.begin_image(SALE, EPOCH) is False

    assert await raw.everything() == before


async def test_nothing_is_written_without_a_build(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)])) is False
    assert await store.publish_image(SALE, EPOCH, image()) is None

    assert await raw.do("DBSIZE") == 0


async def test_published_image_takes_no_more_rows(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    before = await raw.everything()

    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(2)])) is False

    assert await raw.everything() == before


async def test_half_built_image_is_never_readable(store: ValkeyStockStore) -> None:
    await publish(store)
    assert await store.begin_image(SALE, EPOCH + 1)
    assert await store.write_image(SALE, EPOCH + 1, ImageChunk(holds=[hold(1)]))

    assert await words(store, ask(2)) == [TakeWord.NO_IMAGE]
    assert await store.summary(SALE) is None
    assert await store.confirm(SALE, ["hold-1"], epoch=EPOCH + 1) == 0
    assert await store.release(SALE, [Release(hold_id="hold-1", user_id="buyer-1")], epoch=EPOCH + 1) is None


async def test_beginning_leaves_nothing_of_the_old_image(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=4, held=1), ImageChunk(holds=[hold(1)], closed_keys=[hold(2)], blocked=["eve"]))
    await words(store, ask(3))

    assert await store.begin_image(SALE, EPOCH + 1)

    assert await raw.do("KEYS", "*") == [f"sale:{{{SALE}}}:build".encode()]


async def test_building_again_after_a_crash_starts_clean(store: ValkeyStockStore) -> None:
    assert await store.begin_image(SALE, EPOCH)
    assert await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))

    await publish(store, image(stock=5))

    assert await store.claims(SALE, ["buyer-1"]) == {}


async def test_rows_written_twice_count_once(store: ValkeyStockStore, raw: Raw) -> None:
    chunk = ImageChunk(
        holds=[hold(1, "ann"), hold(2, "ann", quantity=2), hold(1, "ann")], closed_keys=[hold(3)], blocked=["eve"]
    )
    assert await store.begin_image(SALE, EPOCH)
    assert await store.write_image(SALE, EPOCH, chunk)
    before = await raw.everything()

    assert await store.write_image(SALE, EPOCH, chunk)

    assert await raw.everything() == before
    assert await store.claims(SALE, ["ann"]) == {"ann": 3}


async def test_rows_of_all_kinds_cross_call_boundaries(store: ValkeyStockStore, raw: Raw) -> None:
    holds = [hold(number) for number in range(1_500)]
    closed = [hold(number) for number in range(2_000, 3_200)]
    blocked = [f"user-{number}" for number in range(800)]

    await publish(
        store, image(stock=0, held=1_500), ImageChunk(holds=holds, closed_keys=closed, blocked=blocked), ImageChunk()
    )

    counts = [await raw.key("HLEN", "holds"), await raw.key("HLEN", "keys"), await raw.key("SCARD", "blocked")]
    assert counts == [1_500, 2_700, 800]
    assert await raw.key("HLEN", "claims") == 1_500


async def test_order_without_a_key_leaves_no_key(store: ValkeyStockStore, raw: Raw) -> None:
    keyless = [msgspec.structs.replace(hold(number), key="") for number in (1, 2)]

    await publish(store, image(stock=3, held=2), ImageChunk(holds=keyless))

    assert await raw.key("EXISTS", "keys") == 0
    assert await store.release(SALE, [Release(hold_id="hold-1", user_id="buyer-1", forget_key=True)], epoch=EPOCH) == 1


async def test_publishing_again_is_no_change(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await words(store, ask(1))
    before = await raw.everything()

    assert await store.publish_image(SALE, EPOCH, image(stock=99)) == await store.run_id(SALE)

    assert await raw.everything() == before


async def test_image_with_negative_stock_is_not_published(store: ValkeyStockStore, raw: Raw) -> None:
    assert await store.begin_image(SALE, EPOCH)
    before = await raw.everything()

    with pytest.raises(InvariantViolation):
        await store.publish_image(SALE, EPOCH, image(stock=-1))

    assert await raw.everything() == before


@pytest.mark.parametrize("name", ["meta", "build"])
async def test_rubbish_in_the_way_is_replaced(store: ValkeyStockStore, raw: Raw, name: str) -> None:
    await raw.do("RPUSH", f"sale:{{{SALE}}}:{name}", "x")

    await publish(store)

    assert await words(store, ask(1)) == [TakeWord.HELD]


async def test_dropped_image_leaves_no_key(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(), ImageChunk(blocked=["eve"]))
    await words(store, ask(1))
    await store.begin_image("other", 1)

    await store.drop_image(SALE)

    assert await raw.do("KEYS", "*") == [b"sale:{other}:build"]


async def test_no_key_has_a_time_to_live(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=4, held=1), ImageChunk(holds=[hold(1)], blocked=["eve"]))
    await words(store, ask(2))
    await store.begin_image("other", 1)

    keys = await raw.names("KEYS", "*")

    assert [await raw.do("TTL", key) for key in keys] == [-1] * 8


async def test_server_that_restarted_during_a_build_publishes_nothing() -> None:
    with running(appendonly="yes", appendfsync="always") as server:
        async with store_at(server.url) as store, raw_at(server.url) as raw:
            await store.begin_image(SALE, EPOCH)
            await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
            await _restart(server, store)
            await until(lambda: _has_build(raw))

            written = await store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(2)]))
            published = await store.publish_image(SALE, EPOCH, image())

            # The build key has survived in the file; rows before it may not have, on a disk that lies.
            assert (written, published) == (False, None)
            assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]


async def _restart(server: Server, store: ValkeyStockStore) -> None:
    before = await store.run_id(SALE)
    server.end()
    server.start()

    async def answers() -> bool:
        try:
            return await store.run_id(SALE) != before
        except (StoreUnavailable, OutcomeUnknown):
            return False

    await until(answers)


async def _has_build(raw: Raw) -> bool:
    try:
        return await raw.key("GET", "build") == str(EPOCH).encode()
    except (StoreUnavailable, OutcomeUnknown):
        return False
