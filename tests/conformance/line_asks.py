"""What the line says to one who asks: every word, and which comes first."""

import asyncio

import pytest

from conformance.line_bench import LineBench, line_head, line_image
from conformance.stock_bench import ENDS, EPOCH, NOW, OPENS, SALE, hold, image
from conformance.suite import Suite
from doorbuster.domain import limits
from doorbuster.engine.image import ImageChunk, ImageState
from doorbuster.engine.line_ports import LineAsk, LineWord, Spot

asks = Suite[LineBench]()


@asks
async def line_without_an_image_has_no_places(bench: LineBench) -> None:
    """Nothing is read as 0, and nothing is written."""
    spots = await bench.asks(LineAsk("ann", join=True), LineAsk("bob", ticket=7))

    run_id = await bench.stock.store.run_id(SALE)
    assert list(spots) == [Spot(0, 0, 0, 0, 0, run_id, LineWord.NO_IMAGE)] * 2
    assert await bench.order() == []


@asks
async def line_of_an_older_epoch_takes_nobody(bench: LineBench) -> None:
    """I12: the caller knows better."""
    await bench.publish()
    before = await bench.state()

    spot = await bench.ask("ann", join=True, epoch_min=EPOCH + 1)

    assert (spot.word, spot.epoch, spot.number) == (LineWord.STALE_EPOCH, EPOCH, 0)
    assert await bench.state() == before


@asks
async def joiners_stand_in_the_order_of_their_asks(bench: LineBench) -> None:
    """Numbers and positions of one batch; the numbers of the image are those after it."""
    await bench.publish()

    spots = await bench.asks(*(LineAsk(user, join=True) for user in ("ann", "bob", "eve")))

    assert [(spot.word, spot.number, spot.position) for spot in spots] == [
        (LineWord.JOINED, 1, 1),
        (LineWord.JOINED, 2, 2),
        (LineWord.JOINED, 3, 3),
    ]
    assert {(spot.epoch, spot.available, spot.stock, spot.waiting, spot.tick) for spot in spots} == {(3, 5, 5, 3, 11)}


@asks
async def joining_again_gives_the_same_place(bench: LineBench) -> None:
    """Q1: the repeat of a join whose answer was lost, in one batch or the next."""
    await bench.publish()
    first = await bench.asks(LineAsk("ann", join=True), LineAsk("ann", join=True), LineAsk("bob", join=True))
    before = await bench.state()

    second = await bench.asks(LineAsk("ann", join=True), LineAsk("bob"))

    assert [(spot.word, spot.number) for spot in first] == [
        (LineWord.JOINED, 1),
        (LineWord.WAITING, 1),
        (LineWord.JOINED, 2),
    ]
    assert [(spot.word, spot.number, spot.position) for spot in second] == [
        (LineWord.WAITING, 1, 1),
        (LineWord.WAITING, 2, 2),
    ]
    assert await bench.state() == before


@asks
async def who_never_joined_is_absent(bench: LineBench) -> None:
    """To ask is not to join."""
    await bench.publish()
    before = await bench.state()

    assert await bench.look("ann") == (LineWord.ABSENT, 0, 0)

    assert await bench.state() == before


@asks
async def nobody_joins_before_the_start_or_after_the_end(bench: LineBench) -> None:
    """Not started, over by the clock, over by decision; a place from before is still told."""
    await bench.publish()
    await bench.join("ann")

    words = [(await bench.ask("bob", join=True, now_ms=now)).word for now in (OPENS - 1, OPENS, ENDS - 1, ENDS)]
    await bench.set_terms(state=ImageState.OVER)
    over = [(await bench.ask("eve", join=True, now_ms=now)).word for now in (OPENS - 1, NOW)]

    assert words == [LineWord.NOT_STARTED, LineWord.JOINED, LineWord.WAITING, LineWord.WAITING]
    assert (await bench.ask("eve", join=True, now_ms=ENDS)).word is LineWord.OVER
    assert over == [LineWord.OVER] * 2
    assert await bench.look("ann") == (LineWord.WAITING, 1, 1)


@asks
async def line_grows_while_the_sale_is_paused(bench: LineBench) -> None:
    """Nothing is granted meanwhile; whoever comes takes a place."""
    await bench.publish(line_image(state=ImageState.PAUSED))

    assert await bench.join("ann", "bob") == [1, 2]


@asks
async def blocked_buyer_may_not_join(bench: LineBench) -> None:
    """But is told of a place from before the block, until a pass drops it."""
    await bench.publish(None, ImageChunk(blocked=["max"]))
    await bench.join("ann")
    assert await bench.stock.store.block(SALE, ["ann"], epoch=EPOCH)

    assert (await bench.ask("max", join=True)).word is LineWord.BLOCKED
    assert await bench.look("ann") == (LineWord.WAITING, 1, 1)
    assert await bench.order() == ["ann"]


@asks
async def buyer_who_has_all_a_buyer_may_have_may_not_join(bench: LineBench) -> None:
    """I6, with the units of a race's holds counted, too."""
    await bench.publish(line_image(3, held=3, limit=2), ImageChunk(holds=[hold(1, "ann", quantity=2), hold(2, "bob")]))

    spots = await bench.asks(LineAsk("ann", join=True), LineAsk("bob", join=True))

    assert [spot.word for spot in spots] == [LineWord.LIMIT, LineWord.JOINED]


@asks
async def line_of_what_is_paid_for_takes_nobody(bench: LineBench) -> None:
    """I14: sold out only when every unit is paid for and none is being granted."""
    await bench.publish(line_image(1))
    await bench.join("ann")
    granting = await bench.grant()

    during = await bench.ask("bob", join=True, paid=1)
    await bench.settle(granting.grants)
    unpaid = await bench.ask("eve", join=True, paid=0)
    paid = await bench.ask("max", join=True, paid=1)

    assert [spot.word for spot in (during, unpaid, paid)] == [LineWord.JOINED, LineWord.JOINED, LineWord.SOLD_OUT]
    assert await bench.order() == ["bob", "eve"]


@asks
async def line_is_full_at_its_limit(bench: LineBench) -> None:
    """As many as there are free units, and so many more; also within one batch, and a place is never lost by it."""
    await bench.publish(line_image(2, standby_limit=1))

    spots = await bench.asks(*(LineAsk(user, join=True) for user in ("ann", "bob", "eve", "max", "ann")))
    await bench.serve(1)

    assert [spot.word for spot in spots] == [
        *[LineWord.JOINED] * 3,
        LineWord.FULL,
        LineWord.WAITING,
    ]
    assert (await bench.ask("max", join=True)).word is LineWord.FULL
    await bench.set_terms(standby_limit=2)
    assert (await bench.ask("max", join=True)).word is LineWord.JOINED


@asks
async def line_of_no_standby_takes_as_many_as_units(bench: LineBench) -> None:
    """A limit of 0 is a limit."""
    await bench.publish(line_image(1, standby_limit=0))

    spots = await bench.asks(LineAsk("ann", join=True), LineAsk("bob", join=True))

    assert [spot.word for spot in spots] == [LineWord.JOINED, LineWord.FULL]


@asks
async def numbers_end_with_their_block(bench: LineBench) -> None:
    """Q2: none is issued above the mark; more may be let out, and the mark never falls."""
    await bench.publish(line_image(line=line_head(number_high=2)))
    spots = await bench.asks(*(LineAsk(user, join=True) for user in ("ann", "bob", "eve")))

    assert [spot.word for spot in spots] == [LineWord.JOINED, LineWord.JOINED, LineWord.NO_NUMBERS]
    assert not await bench.line.issue(SALE, 9, epoch=EPOCH + 1)
    assert (await bench.ask("eve", join=True)).word is LineWord.NO_NUMBERS
    assert await bench.line.issue(SALE, 3, epoch=EPOCH)
    before = await bench.state()
    assert await bench.line.issue(SALE, 3, epoch=EPOCH)
    assert await bench.line.issue(SALE, 1, epoch=EPOCH)
    assert await bench.state() == before
    assert await bench.join("eve") == [3]


@asks
async def race_has_no_line(bench: LineBench) -> None:
    """Its image has no numbers to give."""
    await bench.publish(image())

    assert (await bench.ask("ann", join=True)).word is LineWord.NO_NUMBERS
    assert (await bench.ask("ann")).word is LineWord.ABSENT
    assert (await bench.ask("ann", ticket=1)).word is LineWord.AHEAD


@asks
async def grant_under_way_is_told_as_such(bench: LineBench) -> None:
    """Those being granted are the first of the positions."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve")
    await bench.grant()

    assert [await bench.look(user) for user in ("ann", "bob", "eve")] == [
        (LineWord.GRANTING, 1, 1),
        (LineWord.GRANTING, 2, 2),
        (LineWord.WAITING, 3, 3),
    ]
    spot = await bench.ask("ann", join=True, ticket=1)
    assert (spot.word, spot.number, spot.waiting) == (LineWord.GRANTING, 1, 3)


@asks
async def granted_buyer_is_told_the_order(bench: LineBench) -> None:
    """Asking, joining or with the ticket; nothing new is made of it."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    (grant,) = await bench.serve()
    before = await bench.state()

    spots = await bench.asks(
        LineAsk("ann"), LineAsk("ann", join=True), LineAsk("ann", ticket=1), LineAsk("ann", join=True, ticket=1)
    )

    assert {(spot.word, spot.number, spot.position, spot.hold_id) for spot in spots} == {
        (LineWord.GRANTED, 1, 0, grant.hold_id)
    }
    assert await bench.look("bob") == (LineWord.WAITING, 2, 1)
    assert await bench.state() == before


@asks
async def buyer_whose_order_ended_may_join_again(bench: LineBench) -> None:
    """At the end of the line, once the caller has seen what became of the order; whoever asks is told of it first."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    (grant,) = await bench.serve()
    await bench.end_order(grant)

    looked = await bench.ask("ann")
    again = await bench.ask("ann", join=True, ticket=1)
    joined = await bench.ask("ann", join=True, ticket=1, done=1)

    assert (looked.word, looked.hold_id) == (LineWord.GRANTED, grant.hold_id)
    assert (again.word, again.hold_id) == (LineWord.GRANTED, grant.hold_id)
    assert (joined.word, joined.number, joined.position) == (LineWord.JOINED, 3, 2)


@asks
async def buyer_of_several_units_joins_once_for_each(bench: LineBench) -> None:
    """With the number of the grant that is done; up to the limit."""
    await bench.publish(line_image(5, limit=2))
    await bench.join("ann")
    await bench.serve()

    again = await bench.ask("ann", join=True)
    second = await bench.ask("ann", join=True, done=1)
    await bench.serve()
    third = await bench.ask("ann", join=True, done=2)

    assert [spot.word for spot in (again, second, third)] == [LineWord.GRANTED, LineWord.JOINED, LineWord.LIMIT]
    assert await bench.stock.claims("ann") == {"ann": 2}


@asks
async def asks_of_one_turn_are_decided_together(bench: LineBench) -> None:
    """In the order they came, whoever asks with what; the highest epoch and clock of the batch count."""
    await bench.publish()

    spots = await asyncio.gather(
        bench.line.ask_one(SALE, LineAsk("ann", join=True), OPENS - 1, 0, 0),
        bench.line.ask_one(SALE, LineAsk("bob", join=True), NOW, EPOCH, 0),
        bench.line.ask_one(SALE, LineAsk("ann"), NOW, EPOCH, 0),
    )
    stale = await bench.line.ask_one(SALE, LineAsk("eve", join=True), NOW, EPOCH + 1, 0)

    assert [spot.number for spot in spots][1:] == [spots[1].number, spots[0].number]
    assert stale.word is LineWord.STALE_EPOCH


@asks
async def ask_that_cannot_be_sent_sinks_no_other(bench: LineBench) -> None:
    """A separator in an id, half a character, a batch too long: refused before anything happens."""
    await bench.publish()
    before = await bench.state()
    many = [LineAsk(f"buyer-{number}", join=True) for number in range(limits.TAKE_BATCH_MAX + 1)]

    for bad in ([LineAsk("a\x1fb", join=True)], [LineAsk("\ud800", join=True)], many):
        with pytest.raises(ValueError, match=r"U\+001F|surrogates|in one batch"):
            await bench.asks(*bad)
    assert await bench.state() == before
    assert list(await bench.asks()) == []
    answers = await asyncio.gather(
        bench.line.ask_one(SALE, LineAsk("ann", join=True), NOW, EPOCH, 0),
        bench.line.ask_one(SALE, LineAsk("a\x1fb", join=True), NOW, EPOCH, 0),
        bench.line.ask_one(SALE, LineAsk("bob", join=True), NOW, EPOCH, 0),
        return_exceptions=True,
    )

    assert isinstance(answers[1], ValueError)
    assert await bench.order() == ["ann", "bob"]


@asks
async def largest_batch_is_answered_whole(bench: LineBench) -> None:
    """One step, numbers without a gap."""
    count = limits.TAKE_BATCH_MAX
    await bench.publish(line_image(line=line_head(number_high=2 * count)))

    numbers = await bench.join(*(f"buyer-{number}" for number in range(count)))

    assert numbers == list(range(1, count + 1))
    assert (await bench.ask("buyer-99")).waiting == count
