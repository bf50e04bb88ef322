"""What becomes of holds: confirmed, released, listed."""

from conformance.stock_bench import EPOCH, NOW, SALE, TICK, StockBench, ask, hold, image, release
from conformance.suite import Suite
from doorbuster.engine.image import ImageChunk
from doorbuster.engine.ports import (
    TakeWord,
)

holds = Suite[StockBench]()


@holds
async def confirmed_hold_is_no_longer_pending(bench: StockBench) -> None:
    """It stays a hold; only the orphan sweep does not look at it any more. Confirming again does nothing."""
    await bench.publish()
    await bench.take(ask(1), ask(2))

    first = await bench.store.confirm(SALE, ["hold-1", "nobody's", "hold-1"], epoch=EPOCH)
    before = await bench.state()
    second = await bench.store.confirm(SALE, ["hold-1"], epoch=EPOCH)

    assert (first, second) == (1, 0)
    assert await bench.state() == before
    assert await bench.numbers() == (5, 3, 2, 1, TICK + 2)
    assert await bench.store.pending_before(SALE, NOW + 1, 10) == [hold(2)]


@holds
async def released_units_go_back_once(bench: StockBench) -> None:
    """Compare-and-delete by hold id: a second release, from whomever, does nothing (A4)."""
    await bench.publish()
    await bench.take(ask(1, "ann", quantity=2), ask(2, "bob"))

    first = await bench.store.release(SALE, [release(1, "ann")], epoch=EPOCH)
    before = await bench.state()
    second = await bench.store.release(SALE, [release(1, "ann")], epoch=EPOCH)

    assert (first, second) == (2, 0)
    assert await bench.state() == before
    assert await bench.numbers() == (5, 4, 1, 1, TICK + 2)
    assert await bench.claims("ann", "bob") == {"bob": 1}
    assert list(await bench.held()) == ["hold-2"]


@holds
async def hold_named_twice_in_one_release_counts_once(bench: StockBench) -> None:
    """Two outbox rows, one hold."""
    await bench.publish()
    await bench.take(ask(1, "ann"), ask(2, "ann"))

    units = await bench.store.release(SALE, [release(1, "ann"), release(1, "ann")], epoch=EPOCH)

    assert units == 1
    assert (await bench.numbers())[:3] == (5, 4, 1)
    assert await bench.claims("ann") == {"ann": 1}


@holds
async def several_holds_of_one_buyer_are_released_together(bench: StockBench) -> None:
    """The claims fall by all of them."""
    await bench.publish()
    await bench.take(ask(1, "ann"), ask(2, "ann"), ask(3, "bob"))

    units = await bench.store.release(SALE, [release(1, "ann"), release(3, "bob"), release(2, "ann")], epoch=EPOCH)

    assert units == 3
    assert (await bench.numbers())[:4] == (5, 5, 0, 0)
    assert await bench.claims("ann", "bob") == {}


@holds
async def what_was_never_held_is_never_released(bench: StockBench) -> None:
    """An unknown hold, or somebody else's, moves nothing (Vendure #1557)."""
    await bench.publish()
    await bench.take(ask(1, "ann"))
    before = await bench.state()

    assert await bench.store.release(SALE, [release(7), release(1, "bob")], epoch=EPOCH) == 0

    assert await bench.state() == before


@holds
async def released_unit_is_sold_again(bench: StockBench) -> None:
    """And a late copy of the release takes it from nobody (C15)."""
    await bench.publish(image(1))
    await bench.take(ask(1, "ann"))
    await bench.store.release(SALE, [release(1, "ann")], epoch=EPOCH)

    assert await bench.words(ask(2, "bob")) == [TakeWord.HELD]

    assert await bench.store.release(SALE, [release(1, "ann")], epoch=EPOCH) == 0
    assert await bench.words(ask(3, "eve")) == [TakeWord.NO_STOCK]


@holds
async def key_of_a_released_hold_goes_on_answering(bench: StockBench) -> None:
    """The buyer had an order; a repeat has to find it (I5)."""
    await bench.publish()
    await bench.take(ask(1, "ann", key="k"))
    await bench.store.release(SALE, [release(1, "ann")], epoch=EPOCH)

    taken = await bench.take(ask(2, "ann", key="k"))

    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.SEEN, "hold-1")]


@holds
async def key_of_a_forgotten_hold_is_free(bench: StockBench) -> None:
    """The buyer never had an order; the same key tries again."""
    await bench.publish()
    await bench.take(ask(1, "ann", key="k"))
    await bench.store.release(SALE, [release(1, "ann", forget_key=True)], epoch=EPOCH)

    assert await bench.words(ask(2, "ann", key="k", digest="other")) == [TakeWord.HELD]


@holds
async def key_is_forgotten_only_by_its_own_hold(bench: StockBench) -> None:
    """A key that answers with another hold by now is left alone."""
    await bench.publish(
        image(4, held=1),
        ImageChunk(holds=[hold(1, "ann", key="k")]),
        ImageChunk(closed_keys=[hold(2, "ann", key="k")]),
    )

    assert await bench.store.release(SALE, [release(1, "ann", forget_key=True)], epoch=EPOCH) == 1

    taken = await bench.take(ask(3, "ann", key="k"))
    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.SEEN, "hold-2")]


@holds
async def release_without_its_image_is_told_to_wait(bench: StockBench) -> None:
    """Also while an image is being built: it is written from what the ledger has by then (A6)."""
    assert await bench.store.release(SALE, [release(1)], epoch=EPOCH) is None

    await bench.publish()
    await bench.take(ask(1))
    assert await bench.store.begin_image(SALE, EPOCH + 1)

    assert await bench.store.release(SALE, [release(1)], epoch=EPOCH) is None
    assert await bench.store.release(SALE, [release(1)], epoch=EPOCH + 1) is None


@holds
async def pending_holds_come_oldest_first(bench: StockBench) -> None:
    """Those taken before the given moment, and no more than asked for."""
    await bench.publish()
    await bench.take(ask(1), now_ms=1_300)
    await bench.take(ask(2), now_ms=1_100)
    await bench.take(ask(3), now_ms=1_200)
    await bench.take(ask(4), now_ms=1_400)
    await bench.store.confirm(SALE, ["hold-3"], epoch=EPOCH)

    found = await bench.store.pending_before(SALE, 1_400, 10)
    first = await bench.store.pending_before(SALE, 1_400, 1)

    assert [pending.hold_id for pending in found] == ["hold-2", "hold-1"]
    assert [pending.since_ms for pending in found] == [1_100, 1_300]
    assert [pending.hold_id for pending in first] == ["hold-2"]
    assert await bench.store.pending_before(SALE, 1_100, 10) == []


@holds
async def released_hold_is_pending_no_more(bench: StockBench) -> None:
    """Nothing is left for the orphan sweep."""
    await bench.publish()
    await bench.take(ask(1))
    await bench.store.release(SALE, [release(1)], epoch=EPOCH)

    assert await bench.store.pending_before(SALE, NOW + 1, 10) == []
    assert (await bench.numbers())[3] == 0


@holds
async def all_holds_are_listed(bench: StockBench) -> None:
    """In however many chunks."""
    count = 2_500
    rows = [hold(number, quantity=1 + number % 2) for number in range(count)]
    await bench.publish(image(0), ImageChunk(holds=rows))

    found = await bench.held()

    assert found == {row.hold_id: row for row in rows}


@holds
async def claims_name_only_those_who_have_some(bench: StockBench) -> None:
    """Buyers without any are absent."""
    await bench.publish()
    await bench.take(ask(1, "ann", quantity=2))

    assert await bench.claims("bob", "ann", "eve") == {"ann": 2}
    assert await bench.claims() == {}
