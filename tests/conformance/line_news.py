"""How readers of a line learn what has changed, without asking for every place."""

from conformance.line_bench import LineBench, line_head, line_image
from conformance.stock_bench import EPOCH, SALE, TICK
from conformance.suite import Suite
from doorbuster.domain import limits
from doorbuster.engine.line_ports import LineAsk, LineNews, NewsItem, NewsKind

news = Suite[LineBench]()


@news
async def there_are_no_news_of_no_image(bench: LineBench) -> None:
    """None, not an empty list."""
    assert await bench.line.news(SALE, 0, EPOCH) is None


@news
async def reader_begins_with_the_numbers_of_the_image(bench: LineBench) -> None:
    """Incomplete, so that it asks for every place once."""
    await bench.publish()
    await bench.join("ann", "bob")
    await bench.line.leave(SALE, "ann", 1, epoch=EPOCH)

    first = await bench.news(0, 0)

    assert first == LineNews(
        epoch=EPOCH,
        seq=1,
        complete=False,
        available=5,
        stock=5,
        waiting=1,
        tick=TICK + 2,
        run_id=await bench.stock.store.run_id(SALE),
        items=[],
    )


@news
async def news_say_who_was_granted_and_who_went(bench: LineBench) -> None:
    """In order, once; joins at the end are no news."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve", "max")
    granting = await bench.grant()
    await bench.settle(granting.grants[:1], granting.grants[1:])
    await bench.line.leave(SALE, "max", 4, epoch=EPOCH)

    told = await bench.news(0)
    rest = await bench.news(1)
    nothing = await bench.news(told.seq)

    assert told.complete
    assert list(told.items) == [
        NewsItem(NewsKind.GRANTED, 1, "ann", granting.grants[0].hold_id),
        NewsItem(NewsKind.GONE, 2, "bob"),
        NewsItem(NewsKind.GONE, 4, "max"),
    ]
    assert (told.seq, list(rest.items)) == (3, list(told.items)[1:])
    assert (nothing.complete, nothing.seq, list(nothing.items)) == (True, 3, [])


@news
async def place_says_which_news_it_knows(bench: LineBench) -> None:
    """So that a reader counts each change once: those of its own batch included, those after it not."""
    await bench.publish(line_image(line=line_head(number_next=9)))
    first = await bench.ask("ann", join=True)
    both = await bench.asks(LineAsk("bob", ticket=3), LineAsk("ann"))
    await bench.line.leave(SALE, "bob", 3, epoch=EPOCH)
    last = await bench.ask("ann")

    assert [spot.seq for spot in (first, *both, last)] == [0, 1, 1, 2]
    assert [spot.position for spot in (first, *both, last)] == [1, 1, 2, 1]
    assert (await bench.news(last.seq)).items == []


@news
async def dropped_heads_are_news(bench: LineBench) -> None:
    """Their buyers are to be told at once."""
    await bench.publish()
    await bench.join("max", "ann")
    assert await bench.stock.store.block(SALE, ["max"], epoch=EPOCH)

    await bench.grant()

    assert list((await bench.news()).items) == [NewsItem(NewsKind.GONE, 1, "max")]


@news
async def reader_of_another_image_begins_anew(bench: LineBench) -> None:
    """Its count belongs to the image it was told of."""
    await bench.publish()
    await bench.join("ann")
    await bench.line.leave(SALE, "ann", 1, epoch=EPOCH)
    epoch = await bench.rebuild(line_image(line=line_head(number_next=1)))

    stale = await bench.news(1, EPOCH)
    ahead = await bench.news(5, epoch)
    fresh = await bench.news(stale.seq, stale.epoch)

    assert (stale.complete, stale.epoch, stale.seq, list(stale.items)) == (False, epoch, 0, [])
    assert not ahead.complete
    assert (fresh.complete, list(fresh.items)) == (True, [])


@news
async def reading_changes_nothing(bench: LineBench) -> None:
    """Any number of readers."""
    await bench.publish()
    await bench.join("ann")
    before = await bench.state()

    await bench.news(0)
    await bench.news(7, EPOCH + 9)

    assert await bench.state() == before


@news
async def reader_too_far_behind_begins_anew(bench: LineBench) -> None:
    """As many changes are kept as the bound says; who knows of fewer has missed some."""
    batch, kept = 500, limits.NEWS_KEPT
    await bench.publish(line_image(line=line_head(number_next=kept + batch, number_high=kept + batch)))
    for start in range(1, kept + batch, batch):
        await bench.asks(*(LineAsk(f"buyer-{number}", ticket=number) for number in range(start, start + batch)))

    missed = await bench.news(batch - 1)
    numbers: list[int] = []
    since = batch
    while (told := await bench.news(since)).items:
        assert told.complete
        numbers += [item.number for item in told.items]
        since = told.seq

    assert (missed.complete, list(missed.items), missed.seq) == (False, [], kept + batch)
    assert numbers == list(range(batch + 1, kept + batch + 1))
