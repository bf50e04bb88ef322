"""What becomes of a line when its image is built anew: kept, lost, brought back by tickets."""

from conformance.line_bench import LineBench, line_head, line_image
from conformance.stock_bench import EPOCH, NOW, SALE, TICK, image
from conformance.suite import Suite
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageState, ImageSummary, LineRow, SpentRow
from doorbuster.engine.line_ports import Grant, LineAsk, LineWord, NewsItem, NewsKind

rebuilds = Suite[LineBench]()


def order_of(grant: Grant) -> Hold:
    """The hold of a committed grant, as the ledger has it."""
    return Hold(
        hold_id=grant.hold_id,
        user_id=grant.user_id,
        quantity=1,
        key=f"line-{grant.number}",
        digest="line",
        since_ms=grant.since_ms,
    )


def spent_by(grant: Grant) -> SpentRow:
    return SpentRow(grant.user_id, grant.number, grant.hold_id)


@rebuilds
async def image_of_a_line_says_what_was_published(bench: LineBench) -> None:
    """The head of a line, read back."""
    head = line_head(number_next=7, number_high=50, moves_ms=1_234, ended_number=3)
    await bench.publish(line_image(4, standby_limit=9, line=head), ImageChunk(line=[LineRow("ann", 4)]))

    assert await bench.stock.store.summary(SALE) == ImageSummary(
        epoch=EPOCH,
        state=ImageState.SELLING,
        opens_ms=1_000,
        ends_ms=2_000,
        limit=1,
        available=4,
        stock=4,
        held=0,
        pending=0,
        tick=TICK,
        run_id=await bench.stock.store.run_id(SALE),
        standby_limit=9,
        waiting=1,
        line=head,
    )


@rebuilds
async def changed_standby_limit_is_a_change(bench: LineBench) -> None:
    """And the same again is none."""
    await bench.publish()
    await bench.set_terms(standby_limit=7)
    before = await bench.state()
    await bench.set_terms(standby_limit=7)

    assert await bench.state() == before
    summary = await bench.stock.store.summary(SALE)
    assert summary is not None
    assert (summary.standby_limit, summary.tick) == (7, TICK + 1)
    await bench.set_terms(standby_limit=None)
    summary = await bench.stock.store.summary(SALE)
    assert summary is not None
    assert summary.standby_limit is None


@rebuilds
async def queue_outlives_its_image(bench: LineBench) -> None:
    """Q3: same numbers, same order; new ones go on above the ledger's mark."""
    await bench.publish()
    await bench.join("ann", "bob")

    epoch = await bench.rebuild(line_image(line=line_head(number_next=100, number_high=200)))

    assert await bench.line.first_numbers(SALE, 10) == [("ann", 1), ("bob", 2)]
    assert await bench.join("eve", epoch_min=epoch) == [101]
    assert await bench.look("eve") == (LineWord.WAITING, 101, 3)


@rebuilds
async def unsettled_grants_go_back_to_their_places(bench: LineBench) -> None:
    """Their orders were never made; they are the head of the line again, with new holds."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve")
    old = await bench.grant()

    epoch = await bench.rebuild(line_image(2, line=line_head(number_next=3)))

    assert await bench.line.first_numbers(SALE, 10) == [("ann", 1), ("bob", 2), ("eve", 3)]
    assert not await bench.settle(old.grants)
    granting = await bench.grant(epoch=epoch)
    assert [(grant.user_id, grant.number) for grant in granting.grants] == [("ann", 1), ("bob", 2)]
    assert not {grant.hold_id for grant in granting.grants} & {grant.hold_id for grant in old.grants}
    before = await bench.state()
    assert await bench.settle(old.grants, epoch=epoch)
    assert await bench.state() == before


@rebuilds
async def grants_that_were_committed_do_not_come_back(bench: LineBench) -> None:
    """The admitter died between the commit and the settling: the ledger's rows say who waits no longer."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve")
    ann, _ = (await bench.grant()).grants

    chunk = ImageChunk(holds=[order_of(ann)], spent=[spent_by(ann)])
    epoch = await bench.rebuild(line_image(1, held=1, line=line_head(number_next=3)), chunk, chunk)

    assert await bench.order() == ["bob", "eve"]
    spot = await bench.ask("ann", ticket=1, epoch_min=epoch)
    assert (spot.word, spot.number, spot.hold_id) == (LineWord.GRANTED, 1, ann.hold_id)
    assert [grant.user_id for grant in (await bench.grant(epoch=epoch)).grants] == ["bob"]


@rebuilds
async def image_not_published_keeps_its_line(bench: LineBench) -> None:
    """A build begun and left, however often: what is in the queue stays there."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    await bench.grant()

    for epoch in (EPOCH + 1, EPOCH + 2, EPOCH + 2):
        assert await bench.stock.store.begin_image(SALE, epoch)

    assert await bench.line.first_numbers(SALE, 10) == [("ann", 1), ("bob", 2)]
    assert (await bench.ask("ann")).word is LineWord.NO_IMAGE
    assert await bench.line.news(SALE, 0, EPOCH) is None


@rebuilds
async def rows_of_a_line_may_come_twice(bench: LineBench) -> None:
    """Of two numbers of a buyer the lower waits, whichever is written first; what is spent waits not."""
    line = ImageChunk(line=[LineRow("ann", 3), LineRow("bob", 1), LineRow("eve", 2), LineRow("max", 9)])
    spent = ImageChunk(spent=[SpentRow("bob", 1, "hold-1"), SpentRow("eve", 2, ""), SpentRow("max", 4, "")])
    lower = ImageChunk(line=[LineRow("ann", 5)])
    head = line_image(line=line_head(number_next=20))

    for chunks in ((spent, line, lower), (spent, lower, line), (spent, spent, line, spent, line, lower)):
        await bench.rebuild(head, *chunks, lost=True)

        assert await bench.line.first_numbers(SALE, 10) == [("ann", 3), ("max", 9)]
        spots = await bench.asks(LineAsk("bob"), LineAsk("eve"), LineAsk("nobody"))
        assert [(spot.word, spot.number) for spot in spots] == [
            (LineWord.GRANTED, 1),
            (LineWord.LEFT, 2),
            (LineWord.ABSENT, 0),
        ]


@rebuilds
async def new_entry_of_a_buyer_keeps_its_number(bench: LineBench) -> None:
    """Drawn to 3, served, joined again: the ledger's row of the old number does not take the place of the new one."""
    count = 1_500
    drawn = [LineRow(f"buyer-{number}", number) for number in range(1, count + 1)]
    spent = [SpentRow("buyer-3", 3, "hold-3"), SpentRow("buyer-1400", 1_400, "")]
    head = line_image(line=line_head(number_next=count, number_high=count + 10))
    await bench.publish(head, ImageChunk(spent=spent))
    await bench.ask("buyer-3", join=True, done=3)
    await bench.join("buyer-1400")

    head = line_image(line=line_head(number_next=count + 10, number_high=count + 10))
    await bench.rebuild(head, ImageChunk(spent=spent, line=drawn))

    assert (await bench.look("buyer-3"))[:2] == (LineWord.WAITING, count + 1)
    assert (await bench.look("buyer-1400"))[:2] == (LineWord.WAITING, count + 2)
    assert len(await bench.order()) == count


@rebuilds
async def highest_spent_number_counts(bench: LineBench) -> None:
    """Of several rows of one buyer."""
    chunks = [ImageChunk(spent=[SpentRow("ann", number, f"hold-{number}")]) for number in (4, 6, 2)]
    await bench.publish(line_image(line=line_head(number_next=20)), *chunks)

    spot = await bench.ask("ann", ticket=5)

    assert (spot.word, spot.number, spot.hold_id) == (LineWord.GRANTED, 6, "hold-6")


@rebuilds
async def number_that_was_never_issued_waits_not(bench: LineBench) -> None:
    """A queue left by who knows whom; the ledger's mark is what counts."""
    await bench.publish(line_image(line=line_head(number_next=50)))
    await bench.join("ann")

    await bench.rebuild(line_image(line=line_head(number_next=40)))

    assert await bench.order() == []


@rebuilds
async def lost_line_comes_back_by_tickets(bench: LineBench) -> None:
    """Q3: in any order of coming, at the old numbers, before all who join now."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve", "max")
    (ann,) = await bench.serve(1)
    chunk = ImageChunk(holds=[order_of(ann)], spent=[spent_by(ann)])

    epoch = await bench.rebuild(line_image(1, held=1, line=line_head(number_next=50)), chunk, lost=True)
    late = await bench.join("new", epoch_min=epoch)
    spots = await bench.asks(
        LineAsk("max", ticket=4), LineAsk("ann", ticket=1), LineAsk("bob", ticket=2, join=True), epoch_min=epoch
    )

    assert late == [51]
    assert [(spot.word, spot.number, spot.position) for spot in spots] == [
        (LineWord.WAITING, 4, 2),
        (LineWord.GRANTED, 1, 0),
        (LineWord.WAITING, 2, 1),
    ]
    assert await bench.order() == ["bob", "max", "new"]
    news = await bench.news(0, epoch)
    assert news.items == [NewsItem(NewsKind.BACK, 4, "max"), NewsItem(NewsKind.BACK, 2, "bob")]
    before = await bench.state()
    assert (await bench.ask("max", ticket=4, epoch_min=epoch)).word is LineWord.WAITING
    assert await bench.state() == before


@rebuilds
async def ticket_brings_the_better_place_back(bench: LineBench) -> None:
    """One who joined anew before showing the ticket, and in the other order; twice in one batch."""
    await bench.publish(line_image(line=line_head(number_next=50)))
    await bench.join("new", "ann")

    spots = await bench.asks(LineAsk("ann", ticket=7), LineAsk("ann", ticket=9), LineAsk("new", ticket=8))
    worse = await bench.ask("ann", ticket=20)

    assert [(spot.word, spot.number, spot.position) for spot in spots] == [
        (LineWord.WAITING, 7, 1),
        (LineWord.WAITING, 7, 1),
        (LineWord.WAITING, 8, 2),
    ]
    assert (worse.word, worse.number) == (LineWord.WAITING, 7)


@rebuilds
async def ticket_of_a_number_never_issued_says_the_store_went_back(bench: LineBench) -> None:
    """S1: first of all words, also for a buyer who waits; and nothing is changed by it."""
    await bench.publish()
    await bench.join("ann")
    before = await bench.state()

    words = [(await bench.ask("ann", ticket=2)).word, (await bench.ask("bob", ticket=2, join=True)).word]

    assert words == [LineWord.AHEAD] * 2
    assert await bench.state() == before


@rebuilds
async def numbers_issued_in_a_batch_do_not_excuse_a_ticket_of_it(bench: LineBench) -> None:
    """Nobody can have a ticket of a number that is only now issued."""
    await bench.publish()

    spots = await bench.asks(LineAsk("ann", join=True), LineAsk("bob", ticket=1))

    assert [spot.word for spot in spots] == [LineWord.JOINED, LineWord.AHEAD]


@rebuilds
async def drawn_entries_wait_at_their_ranks(bench: LineBench) -> None:
    """10,000 rows, in however many calls; then they are granted in that order."""
    count = 10_000
    rows = [LineRow(f"buyer-{number}", count - number) for number in range(count)]
    chunk = ImageChunk(line=rows, blocked=["max"], spent=[SpentRow("buyer-9999", 1, "hold-1")])
    await bench.publish(line_image(3, line=line_head(number_next=count, number_high=count)), chunk)

    summary = await bench.stock.store.summary(SALE)

    assert summary is not None
    assert summary.waiting == count - 1
    assert await bench.look("buyer-0") == (LineWord.WAITING, count, count - 1)
    assert [grant.number for grant in await bench.serve()] == [2, 3, 4]


@rebuilds
async def race_that_follows_on_a_line_has_none(bench: LineBench) -> None:
    """An image without a line leaves nobody waiting."""
    await bench.publish()
    await bench.join("ann")

    epoch = await bench.rebuild(image())

    assert await bench.order() == []
    assert (await bench.grant(epoch=epoch)).grants == []


@rebuilds
async def grants_are_told_with_their_time(bench: LineBench) -> None:
    """The time of the call that took the unit, not of the one that asks."""
    await bench.publish(line_image(1))
    await bench.join("ann")
    await bench.grant(now_ms=NOW - 7)

    assert [grant.since_ms for grant in (await bench.grant(now_ms=NOW)).grants] == [NOW - 7]
