"""The line in a real Valkey: forged keys, lost keys, one call for a turn, and a line that changes servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import pytest
from tests.valkey.images import EPOCH, NOW, SALE, Raw, image, publish, store_at
from tests.valkey.servers import Server, running

from doorbuster.adapters.valkey.keys import Name
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.engine.image import ImageHead, LineHead
from doorbuster.engine.line_ports import Grant, Granting, GrantWord, LineAsk, LineWord
from doorbuster.engine.ports import (
    InvariantViolation,
    OutcomeUnknown,
    StoreUnavailable,
)
from helpers.waiting import until

LINE = LineHead(number_next=0, number_high=100, moves_ms=0)


def line_image(stock: int = 2, line: LineHead = LINE) -> ImageHead:
    return msgspec.structs.replace(image(stock, limit=1), line=line)


@pytest.fixture
async def line(store: ValkeyStockStore) -> AsyncIterator[ValkeyLineStore]:
    line = ValkeyLineStore(store)
    yield line
    await line.close()


async def join(line: ValkeyLineStore, *users: str) -> Sequence[LineWord]:
    spots = await line.ask(SALE, [LineAsk(user, join=True) for user in users], now_ms=NOW, epoch_min=EPOCH, paid=0)
    return [spot.word for spot in spots]


async def grant(line: ValkeyLineStore, *hold_ids: str) -> Granting:
    return await line.grant(SALE, hold_ids, now_ms=NOW, epoch=EPOCH)


async def unsettled(store: ValkeyStockStore, line: ValkeyLineStore) -> Sequence[Grant]:
    """Three wait, the first two are being granted, and there are news."""
    await publish(store, line_image())
    await join(line, "gone", "ann", "bob", "eve", "max")
    await line.leave(SALE, "gone", 1, epoch=EPOCH)
    return (await grant(line, "hold-1", "hold-2")).grants


async def no_image(store: ValkeyStockStore, line: ValkeyLineStore, grants: Sequence[Grant]) -> None:
    """Every call says that there is none."""
    assert await store.summary(SALE) is None
    assert await join(line, "new") == [LineWord.NO_IMAGE]
    assert (await grant(line, "hold-3")).word is GrantWord.NO_IMAGE
    assert await line.settle(SALE, grants, (), mark=3, epoch=EPOCH) is False
    assert await line.leave(SALE, "eve", 4, epoch=EPOCH) is LineWord.NO_IMAGE
    assert await line.news(SALE, 0, EPOCH) is None
    assert await line.issue(SALE, 500, epoch=EPOCH) is False
    assert await line.end_line(SALE, 4, epoch=EPOCH) == 0


Call = Callable[[ValkeyLineStore, Sequence[Grant]], Awaitable[object]]
CALLS: dict[str, tuple[Call, tuple[Name, ...]]] = {
    "ask": (
        lambda line, _: line.ask(
            SALE, [LineAsk("new", join=True), LineAsk("gone", join=True)], now_ms=NOW, epoch_min=EPOCH, paid=0
        ),
        ("claims", "blocked", "queue", "granting", "spent"),
    ),
    "ticket": (
        lambda line, _: line.ask(SALE, [LineAsk("new", ticket=1)], now_ms=NOW, epoch_min=EPOCH, paid=0),
        ("news",),
    ),
    "leave": (lambda line, _: line.leave(SALE, "eve", 4, epoch=EPOCH), ("queue", "granting", "spent", "news")),
    "settle granted": (
        lambda line, grants: line.settle(SALE, grants, (), mark=3, epoch=EPOCH),
        ("granting", "grants", "spent", "news", "holds", "claims", "keys"),
    ),
    "settle dropped": (
        lambda line, grants: line.settle(SALE, (), grants, mark=0, epoch=EPOCH),
        ("granting", "grants", "spent", "news", "holds", "claims", "keys"),
    ),
    "end_line": (lambda line, _: line.end_line(SALE, 4, epoch=EPOCH), ("queue", "news")),
    "news": (lambda line, _: line.news(SALE, 0, EPOCH), ("queue", "granting", "news")),
    "again": (lambda line, _: grant(line, "hold-3"), ("queue", "granting", "grants")),
}
FORGED = [(call, name) for call, (_, names) in CALLS.items() for name in names]


@pytest.mark.parametrize(("call", "name"), FORGED)
async def test_part_of_a_wrong_type_changes_nothing(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore, call: str, name: Name
) -> None:
    grants = await unsettled(store, line)
    await raw.key("SET", name, "x")
    before = await raw.everything()

    with pytest.raises(OutcomeUnknown):
        await CALLS[call][0](line, grants)

    assert await raw.everything() == before


@pytest.mark.parametrize("name", ["holds", "claims", "keys", "blocked", "queue", "granting", "grants", "spent", "news"])
async def test_heads_are_not_taken_with_a_part_of_a_wrong_type(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore, name: Name
) -> None:
    await publish(store, line_image())
    await join(line, "max", "ann")
    await store.block(SALE, ["max"], epoch=EPOCH)
    await raw.key("SET", name, "x")
    before = await raw.everything()

    with pytest.raises(OutcomeUnknown):
        await grant(line, "hold-1")

    assert await raw.everything() == before


@pytest.mark.parametrize("name", ["meta", "stock"])
async def test_head_of_a_wrong_type_is_no_image(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore, name: Name
) -> None:
    grants = await unsettled(store, line)
    await raw.key("DEL", name)
    await raw.key("RPUSH", name, "x")
    before = await raw.everything()

    await no_image(store, line, grants)

    assert await raw.everything() == before


@pytest.mark.parametrize("field", ["standby", "next", "high", "moves", "ended", "news", "mark"])
@pytest.mark.parametrize("value", [None, "?"])
async def test_garbled_line_of_a_head_is_no_image(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore, field: str, value: str | None
) -> None:
    """A count that is gone is never read as 0: a number would be issued twice."""
    grants = await unsettled(store, line)
    await (raw.key("HSET", "meta", field, value) if value else raw.key("HDEL", "meta", field))
    before = await raw.everything()

    await no_image(store, line, grants)

    assert await raw.everything() == before


@pytest.mark.parametrize("name", ["queue", "granting", "spent", "claims", "blocked", "build"])
async def test_next_image_replaces_rubbish(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore, name: Name
) -> None:
    await publish(store, line_image())
    await raw.key("SET", name, "x")

    await publish(store, line_image(), epoch=EPOCH + 1)

    assert await join(line, "ann") == [LineWord.JOINED]


async def test_rubbish_among_grants_is_left_to_the_rebuild(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore
) -> None:
    """An entry whose record is unreadable is nobody's: no order is made of it, and nothing new is taken beside it."""
    grants = await unsettled(store, line)
    await raw.key("HSET", "grants", "ann", "rubbish")
    await raw.key("HSET", "spent", "max", "rubbish")

    again = await grant(line, "hold-3")

    assert list(again.grants) == list(grants[1:])
    assert await line.settle(SALE, grants[1:], (), mark=3, epoch=EPOCH)
    assert list((await grant(line, "hold-3")).grants) == []
    assert await join(line, "max") == [LineWord.WAITING]


async def test_lost_news_send_readers_back_to_the_beginning(
    store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore
) -> None:
    await unsettled(store, line)
    await raw.key("DEL", "news")

    told = await line.news(SALE, 0, EPOCH)

    assert told is not None
    assert (told.complete, told.seq, list(told.items)) == (False, 1, [])


async def test_news_are_kept_up_to_their_bound(store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore) -> None:
    high = limits.NEWS_KEPT + 500
    await publish(store, line_image(line=LineHead(number_next=high, number_high=high, moves_ms=0)))
    for first in range(1, high, 500):
        asks = [LineAsk(f"buyer-{number}", ticket=number) for number in range(first, first + 500)]
        await line.ask(SALE, asks, now_ms=NOW, epoch_min=EPOCH, paid=0)

    assert await raw.key("LLEN", "news") == limits.NEWS_KEPT


async def test_asks_of_one_turn_are_one_call(store: ValkeyStockStore, line: ValkeyLineStore) -> None:
    await publish(store, line_image())
    before = store.statistics().calls.calls

    spots = await asyncio.gather(
        *(line.ask_one(SALE, LineAsk(f"buyer-{number}", join=True), NOW, EPOCH, 0) for number in range(50))
    )

    assert [spot.number for spot in spots] == list(range(1, 51))
    assert store.statistics().calls.calls == before + 1


async def test_ask_of_a_cancelled_buyer_is_not_sent(store: ValkeyStockStore, line: ValkeyLineStore) -> None:
    await publish(store, line_image())
    first = line.ask_one(SALE, LineAsk("ann", join=True), NOW, EPOCH, 0)
    second = line.ask_one(SALE, LineAsk("bob", join=True), NOW, EPOCH, 0)

    first.cancel()

    assert (await second).number == 1
    assert await line.first_numbers(SALE, 10) == [("bob", 1)]


async def test_highest_paid_of_a_turn_counts(store: ValkeyStockStore, line: ValkeyLineStore) -> None:
    """What one caller knows of the ledger, all of the batch know."""
    await publish(store, line_image(1))
    await join(line, "ann")
    (taken,) = (await grant(line, "hold-1")).grants
    await line.settle(SALE, [taken], (), mark=1, epoch=EPOCH)

    spots = await asyncio.gather(
        line.ask_one(SALE, LineAsk("bob", join=True), NOW, EPOCH, 0),
        line.ask_one(SALE, LineAsk("eve", join=True), NOW, EPOCH, 1),
    )

    assert [spot.word for spot in spots] == [LineWord.SOLD_OUT] * 2


async def test_lost_library_is_loaded_by_the_next_ask(store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore) -> None:
    await publish(store, line_image())
    await raw.do("FUNCTION", "FLUSH")

    assert (await line.ask_one(SALE, LineAsk("ann", join=True), NOW, EPOCH, 0)).word is LineWord.JOINED


async def test_too_many_hold_ids_are_a_bad_call(store: ValkeyStockStore, raw: Raw, line: ValkeyLineStore) -> None:
    await publish(store, line_image())
    await join(line, "ann")
    before = await raw.everything()

    with pytest.raises(InvariantViolation, match="BADCALL grant"):
        await grant(line, *(f"hold-{number}" for number in range(limits.GRANT_BATCH + 1)))

    assert await raw.everything() == before


async def test_line_of_a_killed_server_is_lost_and_found_by_tickets() -> None:
    """The store comes back empty: no image, then the old places at their old numbers."""
    with running() as server:
        async with store_at(server.url) as store:
            line = ValkeyLineStore(store)
            await publish(store, line_image())
            await join(line, "ann", "bob")
            _restart(server)
            await _publish_when_back(store)

            spots = await line.ask(
                SALE, [LineAsk("bob", ticket=2), LineAsk("ann", ticket=1)], now_ms=NOW, epoch_min=EPOCH, paid=0
            )

            assert [(spot.word, spot.number, spot.position) for spot in spots] == [
                (LineWord.WAITING, 2, 2),
                (LineWord.WAITING, 1, 1),
            ]
            await line.close()


def _restart(server: Server) -> None:
    server.end()
    server.start()


async def _publish_when_back(store: ValkeyStockStore) -> None:
    async def back() -> bool:
        try:
            return await store.begin_image(SALE, EPOCH)
        except (StoreUnavailable, OutcomeUnknown):
            return False

    await until(back)
    head = line_image(line=LineHead(number_next=100, number_high=200, moves_ms=0))
    assert await store.publish_image(SALE, EPOCH, head)
