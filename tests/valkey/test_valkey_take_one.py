"""Many callers, one call: how single asks become batches and what happens when one of them goes wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.valkey.images import EPOCH, NOW, OPENS, SALE, Raw, ask, image, publish, store_at
from tests.valkey.proxy import Proxy, proxy_to
from tests.valkey.servers import Server

from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.engine.image import ImageState
from doorbuster.engine.ports import (
    OutcomeUnknown,
    StoreUnavailable,
    TakenOne,
    TakeWord,
)
from helpers.waiting import until

OTHER = "0190a5b1-7c3e-7000-8000-000000000002"


@pytest.fixture
async def proxy(server: Server, raw: Raw) -> AsyncIterator[Proxy]:
    async with proxy_to(f"{server.folder}/socket") as proxy:
        yield proxy


async def all_of(store: ValkeyStockStore, numbers: range) -> list[TakenOne]:
    return await asyncio.gather(*(store.take_one(SALE, ask(number), NOW, EPOCH) for number in numbers))


async def test_ask_without_an_image_is_refused(store: ValkeyStockStore) -> None:
    taken = await store.take_one(SALE, ask(1), NOW, EPOCH)

    assert taken == TakenOne(0, 0, 0, 0, await store.run_id(SALE), TakeWord.NO_IMAGE, "")


async def test_ask_of_a_newer_epoch_is_stale(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    before = await raw.everything()

    taken = await store.take_one(SALE, ask(1), NOW, EPOCH + 1)

    assert (taken.word, taken.epoch, taken.stock) == (TakeWord.STALE_EPOCH, EPOCH, 5)
    assert await raw.everything() == before


async def test_asks_of_one_turn_are_one_batch(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=2))

    answers = await all_of(store, range(4))

    assert [taken.word for taken in answers] == [TakeWord.HELD, TakeWord.HELD, TakeWord.NO_STOCK, TakeWord.NO_STOCK]
    assert [taken.hold_id for taken in answers] == ["hold-0", "hold-1", "", ""]
    assert {(taken.epoch, taken.available, taken.stock, taken.tick) for taken in answers} == {(EPOCH, 2, 0, 11)}
    assert (store.statistics().batches, store.statistics().asks) == (1, 4)


async def test_crowd_is_cut_into_bounded_batches(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=700))

    answers = await all_of(store, range(limits.TAKE_BATCH_MAX * 2 + 1))

    assert [taken.word for taken in answers].count(TakeWord.HELD) == 700
    assert store.statistics().batches == 3


async def test_sales_do_not_share_a_batch(store: ValkeyStockStore) -> None:
    await publish(store)

    one, other = await asyncio.gather(
        store.take_one(SALE, ask(1), NOW, EPOCH), store.take_one(OTHER, ask(1), NOW, EPOCH)
    )

    assert (one.word, other.word) == (TakeWord.HELD, TakeWord.NO_IMAGE)


async def test_batch_is_judged_by_its_latest_instant(store: ValkeyStockStore) -> None:
    await publish(store, image(state=ImageState.SELLING))

    answers = await asyncio.gather(
        store.take_one(SALE, ask(1), OPENS - 1, EPOCH), store.take_one(SALE, ask(2), OPENS, EPOCH)
    )

    assert [taken.word for taken in answers] == [TakeWord.HELD, TakeWord.HELD]


async def test_repeated_key_finds_its_first_hold(store: ValkeyStockStore) -> None:
    await publish(store)
    await store.take_one(SALE, ask(1, "ann", key="k"), NOW, EPOCH)

    taken = await store.take_one(SALE, ask(2, "ann", key="k"), NOW, EPOCH)

    assert (taken.word, taken.hold_id) == (TakeWord.SEEN, "hold-1")


async def test_bad_ask_does_not_sink_its_batch(store: ValkeyStockStore) -> None:
    await publish(store, image(stock=9))

    answers = await asyncio.gather(
        store.take_one(SALE, ask(1), NOW, EPOCH),
        store.take_one(SALE, ask(2, "\ud800"), NOW, EPOCH),
        store.take_one(SALE, ask(3, key="a\x1fb"), NOW, EPOCH),
        store.take_one(SALE, ask(4, quantity=0), NOW, EPOCH),
        store.take_one(SALE, ask(5), NOW, EPOCH),
        return_exceptions=True,
    )

    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, True, True, False]
    assert [answer.word for answer in answers if isinstance(answer, TakenOne)] == [TakeWord.HELD] * 2


async def test_cancelled_ask_does_not_disturb_the_others(store: ValkeyStockStore) -> None:
    await publish(store)
    asks = [store.take_one(SALE, ask(number), NOW, EPOCH) for number in range(3)]

    asks[1].cancel()

    answers = [await asks[0], await asks[2]]
    assert [taken.hold_id for taken in answers] == ["hold-0", "hold-2"]
    assert answers[0].stock == 3, "an ask cancelled before its batch left takes nothing"


async def test_ask_cancelled_in_flight_leaves_an_orphan(proxy: Proxy) -> None:
    async with store_at(proxy.url) as store:
        await publish(store)
        proxy.hold_replies()
        asks = [store.take_one(SALE, ask(number), NOW, EPOCH) for number in range(2)]
        while b"hold-1" not in await proxy.requests.get():
            pass

        asks[0].cancel()
        proxy.pass_replies()

        assert (await asks[1]).stock == 3
        assert [hold.hold_id for hold in await store.pending_before(SALE, NOW + 1, 10)] == ["hold-0", "hold-1"]


async def test_lost_connection_leaves_every_ask_unknown(proxy: Proxy) -> None:
    async with store_at(proxy.url) as store:
        await publish(store)
        proxy.hold_replies()
        asks = [store.take_one(SALE, ask(number), NOW, EPOCH) for number in range(3)]
        while b"hold-2" not in await proxy.requests.get():
            pass

        proxy.cut()

        answers = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [OutcomeUnknown] * 3
        assert len({id(answer) for answer in answers}) == 3
        assert store.statistics().calls.unknown == 1


async def test_ask_without_a_connection_is_known_not_to_have_happened(proxy: Proxy) -> None:
    async with store_at(proxy.url) as store:
        proxy.cut()
        await until(lambda: store.statistics().calls.connected == 0)

        with pytest.raises(StoreUnavailable):
            await store.take_one(SALE, ask(1), NOW, EPOCH)


async def test_library_lost_in_the_middle_is_loaded_once(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=3))
    loads = store.statistics().calls.library_loads
    await raw.do("FUNCTION", "FLUSH")

    first = [store.take_one(SALE, ask(number), NOW, EPOCH) for number in range(2)]
    await asyncio.sleep(0)
    second = [store.take_one(SALE, ask(number), NOW, EPOCH) for number in range(2, 4)]

    answers = await asyncio.gather(*first, *second)
    assert sorted(taken.word for taken in answers) == ["held", "held", "held", "no_stock"]
    assert store.statistics().calls.library_loads == loads + 1


async def test_function_that_stops_half_way_is_never_sent_again(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await raw.key("SET", "claims", "x")
    before = await raw.everything()

    with pytest.raises(OutcomeUnknown, match="half-way"):
        await store.take_one(SALE, ask(1), NOW, EPOCH)

    assert await raw.everything() == before
    assert store.statistics().calls.calls == 3


async def test_sale_id_that_breaks_the_hash_tag_is_refused(store: ValkeyStockStore) -> None:
    with pytest.raises(ValueError, match="hash tag"):
        store.take_one("a}b", ask(1), NOW, EPOCH)
