"""How an image comes to be, changes its terms, and goes."""

from collections.abc import Awaitable, Callable

from conformance.stock_bench import ENDS, EPOCH, NOW, SALE, TICK, StockBench, ask, hold, image, release, terms
from conformance.suite import Suite
from doorbuster.engine.image import ImageChunk, ImageState, ImageSummary
from doorbuster.engine.ports import (
    TakeWord,
)

images = Suite[StockBench]()


@images
async def image_that_is_not_published_cannot_be_read(bench: StockBench) -> None:
    """Half an image is none (C2)."""
    assert await bench.store.begin_image(SALE, EPOCH)
    assert await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))

    assert await bench.store.summary(SALE) is None
    assert await bench.words(ask(2)) == [TakeWord.NO_IMAGE]


@images
async def published_image_is_what_was_written(bench: StockBench) -> None:
    """Head as told; holds claim their units and are not pending; keys answer; blocked buyers are refused."""
    live = [hold(1, "ann", quantity=2), hold(2, "bob")]
    chunks = ImageChunk(holds=live), ImageChunk(closed_keys=[hold(3, "eve")]), ImageChunk(blocked=["max"])

    await bench.publish(image(4, held=3, limit=3), *chunks)

    assert await bench.store.summary(SALE) == ImageSummary(
        epoch=EPOCH,
        state=ImageState.SELLING,
        opens_ms=1_000,
        ends_ms=2_000,
        limit=3,
        available=7,
        stock=4,
        held=3,
        pending=0,
        tick=TICK,
        run_id=await bench.store.run_id(SALE),
        blocked=1,
    )
    assert await bench.held() == {row.hold_id: row for row in live}
    assert await bench.claims("ann", "bob", "eve") == {"ann": 2, "bob": 1}
    assert await bench.store.pending_before(SALE, NOW * 2, 10) == []
    taken = await bench.take(ask(7, "ann", key="key-1"), ask(8, "eve", key="key-3"), ask(9, "max"))
    assert [(take.word, take.hold_id) for take in taken.takes] == [
        (TakeWord.SEEN, "hold-1"),
        (TakeWord.SEEN, "hold-3"),
        (TakeWord.BLOCKED, ""),
    ]


@images
async def rows_written_twice_count_once(bench: StockBench) -> None:
    """A builder may repeat a chunk whose answer was lost."""
    chunk = ImageChunk(holds=[hold(1, "ann"), hold(2, "ann"), hold(1, "ann")], blocked=["max"])

    await bench.publish(image(3, held=2), chunk, chunk)

    assert await bench.claims("ann") == {"ann": 2}
    assert sorted(await bench.held()) == ["hold-1", "hold-2"]


@images
async def beginning_takes_the_old_image_away(bench: StockBench) -> None:
    """From the first step of a rebuild nothing is sold until the last."""
    await bench.publish(image(), ImageChunk(blocked=["max"]))
    await bench.take(ask(1))

    assert await bench.store.begin_image(SALE, EPOCH + 1)

    assert await bench.store.summary(SALE) is None
    assert await bench.held() == {}
    assert await bench.claims("buyer-1") == {}
    assert await bench.store.pending_before(SALE, NOW * 2, 10) == []
    assert await bench.store.publish_image(SALE, EPOCH + 1, image())
    assert await bench.words(ask(2, "max"), ask(1)) == [TakeWord.HELD, TakeWord.HELD]


@images
async def image_that_is_published_is_not_begun_again(bench: StockBench) -> None:
    """I12: neither its own epoch nor an older one takes it away."""
    await bench.publish()
    before = await bench.state()

    assert not await bench.store.begin_image(SALE, EPOCH)
    assert not await bench.store.begin_image(SALE, EPOCH - 1)

    assert await bench.state() == before
    assert await bench.words(ask(1)) == [TakeWord.HELD]


@images
async def older_builder_is_overtaken(bench: StockBench) -> None:
    """I12: a builder that was paused writes nothing, whenever it wakes up (C17, C18)."""
    assert await bench.store.begin_image(SALE, EPOCH)
    assert await bench.store.begin_image(SALE, EPOCH + 1)

    assert not await bench.store.begin_image(SALE, EPOCH)
    assert not await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    assert await bench.store.publish_image(SALE, EPOCH, image()) is None

    assert await bench.held() == {}
    assert await bench.store.summary(SALE) is None
    assert await bench.store.publish_image(SALE, EPOCH + 1, image())
    assert not await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    assert await bench.store.publish_image(SALE, EPOCH, image()) is None
    assert (await bench.numbers())[:3] == (5, 5, 0)


@images
async def builder_may_begin_again(bench: StockBench) -> None:
    """The same epoch, after a lost answer: what was written before is gone."""
    assert await bench.store.begin_image(SALE, EPOCH)
    assert await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)], blocked=["ann"]))

    await bench.publish()

    assert await bench.held() == {}
    assert await bench.words(ask(1, "ann")) == [TakeWord.HELD]


@images
async def nobody_writes_without_beginning(bench: StockBench) -> None:
    """Neither to nothing nor to an image that is published."""
    assert not await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    assert await bench.store.publish_image(SALE, EPOCH, image()) is None
    assert await bench.state() == (None, {}, {}, [])

    await bench.publish()
    before = await bench.state()
    assert not await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    assert await bench.state() == before


@images
async def publishing_again_changes_nothing(bench: StockBench) -> None:
    """A repeat after a lost answer is told the same, also when units have been taken since."""
    await bench.publish()
    await bench.take(ask(1))
    before = await bench.state()

    again = await bench.store.publish_image(SALE, EPOCH, image())

    assert again == await bench.store.run_id(SALE)
    assert await bench.state() == before


@images
async def dropped_image_is_gone(bench: StockBench) -> None:
    """With everything that belongs to it, a build under way included."""
    await bench.publish(image(), ImageChunk(closed_keys=[hold(9, "ann", key="k")]))
    await bench.take(ask(1))
    await bench.store.drop_image(SALE)
    assert await bench.state() == (None, {}, {}, [])
    assert await bench.words(ask(2, "ann", key="k")) == [TakeWord.NO_IMAGE]

    assert await bench.store.begin_image(SALE, EPOCH)
    await bench.store.drop_image(SALE)
    assert not await bench.store.write_image(SALE, EPOCH, ImageChunk(holds=[hold(1)]))
    await bench.store.drop_image(SALE)


@images
async def write_of_another_epoch_does_nothing(bench: StockBench) -> None:
    """I12: every write names its epoch; neither a dead one nor one to come has an effect."""
    store = bench.store
    writes: list[Callable[[int], Awaitable[object]]] = [
        lambda epoch: store.confirm(SALE, ["hold-1"], epoch=epoch),
        lambda epoch: store.release(SALE, [release(1)], epoch=epoch),
        lambda epoch: store.set_available(SALE, 9, epoch=epoch),
        lambda epoch: store.set_terms(SALE, terms(state=ImageState.OVER), epoch=epoch),
        lambda epoch: store.block(SALE, ["ann"], epoch=epoch),
        lambda epoch: store.unblock(SALE, ["max"], epoch=epoch),
    ]
    refusals = [0, None, False, False, False, False]
    await bench.publish(image(), ImageChunk(blocked=["max"]))
    await bench.take(ask(1))
    before = await bench.state()

    for epoch in (EPOCH - 1, EPOCH + 1):
        assert [await write(epoch) for write in writes] == refusals

    assert await bench.state() == before
    assert await bench.words(ask(2, "ann"), ask(3, "max")) == [TakeWord.HELD, TakeWord.BLOCKED]
    await store.drop_image(SALE)
    assert [await write(EPOCH) for write in writes] == refusals
    assert await bench.state() == (None, {}, {}, [])


@images
async def units_on_sale_move_the_free_units(bench: StockBench) -> None:
    """By the difference to the image's own number, so that a repeat or a late copy does no harm."""
    await bench.publish()
    await bench.take(ask(1, quantity=2))

    assert await bench.store.set_available(SALE, 8, epoch=EPOCH)
    assert await bench.numbers() == (8, 6, 2, 1, TICK + 2)
    assert await bench.store.set_available(SALE, 8, epoch=EPOCH)
    assert await bench.numbers() == (8, 6, 2, 1, TICK + 2)
    assert await bench.store.set_available(SALE, 2, epoch=EPOCH)
    assert await bench.numbers() == (2, 0, 2, 1, TICK + 3)


@images
async def units_that_are_held_are_never_withdrawn(bench: StockBench) -> None:
    """I1: a cut that would take more than is free is refused whole."""
    await bench.publish()
    await bench.take(ask(1, quantity=2))
    before = await bench.state()

    assert not await bench.store.set_available(SALE, 1, epoch=EPOCH)
    assert not await bench.store.set_available(SALE, 0, epoch=EPOCH)

    assert await bench.state() == before


@images
async def new_terms_are_followed_at_once(bench: StockBench) -> None:
    """Pause, resume, a moved window, another limit; a repeat changes nothing."""
    await bench.publish()
    steps = [
        (terms(state=ImageState.PAUSED), TakeWord.PAUSED),
        (terms(opens_ms=NOW + 1), TakeWord.NOT_STARTED),
        (terms(ends_ms=NOW), TakeWord.OVER),
        (terms(limit=0), TakeWord.LIMIT),
        (terms(ends_ms=ENDS + 1), TakeWord.HELD),
    ]

    for number, (wanted, word) in enumerate(steps):
        assert await bench.store.set_terms(SALE, wanted, epoch=EPOCH)
        before = await bench.state()
        assert await bench.store.set_terms(SALE, wanted, epoch=EPOCH)
        assert await bench.state() == before
        assert await bench.words(ask(number)) == [word]

    assert await bench.numbers() == (5, 4, 1, 1, TICK + len(steps) + 1)


@images
async def blocked_buyer_gets_nothing_until_unblocked(bench: StockBench) -> None:
    """Holds they have stay as they are; a repeat changes nothing."""
    await bench.publish()
    await bench.take(ask(1, "ann"))

    assert await bench.store.block(SALE, ["ann", "bob"], epoch=EPOCH)
    assert await bench.store.block(SALE, ["bob"], epoch=EPOCH)
    assert await bench.words(ask(2, "ann"), ask(3, "bob")) == [TakeWord.BLOCKED, TakeWord.BLOCKED]
    assert await bench.numbers() == (5, 4, 1, 1, TICK + 2)

    assert await bench.store.unblock(SALE, ["ann", "nobody"], epoch=EPOCH)
    assert await bench.store.unblock(SALE, ["ann"], epoch=EPOCH)
    assert await bench.numbers() == (5, 4, 1, 1, TICK + 3)
    assert await bench.words(ask(2, "ann"), ask(3, "bob")) == [TakeWord.HELD, TakeWord.BLOCKED]


@images
async def server_has_one_name_for_all_answers(bench: StockBench) -> None:
    """What answers is the same process until it is another."""
    run_id = await bench.store.run_id(SALE)
    assert run_id
    assert await bench.store.begin_image(SALE, EPOCH)

    assert await bench.store.publish_image(SALE, EPOCH, image()) == run_id

    assert (await bench.take(ask(1))).run_id == run_id
    assert await bench.store.run_id("another sale") == run_id
