"""Giving a place up, in every state; and the end of a whole line."""

from conformance.line_bench import HIGH, LineBench, line_head, line_image
from conformance.stock_bench import EPOCH, SALE
from conformance.suite import Suite
from doorbuster.engine.line_ports import LineAsk, LineWord, NewsItem, NewsKind

leaving = Suite[LineBench]()


async def leave(bench: LineBench, user: str, number: int, *, epoch: int = EPOCH) -> LineWord:
    return await bench.line.leave(SALE, user, number, epoch=epoch)


@leaving
async def place_given_up_is_gone(bench: LineBench) -> None:
    """Everybody behind moves up; again is no change; a ticket brings it not back."""
    await bench.publish()
    await bench.join("ann", "bob", "eve")

    first = await leave(bench, "bob", 2)
    before = await bench.state()
    second = await leave(bench, "bob", 2)

    assert (first, second) == (LineWord.LEFT, LineWord.LEFT)
    assert await bench.state() == before
    assert await bench.look("eve") == (LineWord.WAITING, 3, 2)
    spot = await bench.ask("bob", ticket=2)
    assert (spot.word, spot.number, spot.position) == (LineWord.LEFT, 2, 0)
    assert (await bench.news()).items == [NewsItem(NewsKind.GONE, 2, "bob")]


@leaving
async def who_gave_a_place_up_joins_at_the_end(bench: LineBench) -> None:
    """Also with the old ticket, and the old number leaves no more."""
    await bench.publish()
    await bench.join("ann", "bob")
    await leave(bench, "ann", 1)

    spot = await bench.ask("ann", join=True, ticket=1)

    assert (spot.word, spot.number, spot.position) == (LineWord.JOINED, 3, 2)
    assert await leave(bench, "ann", 1) is LineWord.LEFT
    assert await bench.order() == ["bob", "ann"]


@leaving
async def only_the_named_number_is_given_up(bench: LineBench) -> None:
    """An old tab of the browser, a stranger, nobody."""
    await bench.publish()
    await bench.join("ann", "bob")
    before = await bench.state()

    words = [await leave(bench, *who) for who in (("ann", 2), ("bob", 1), ("eve", 1), ("ann", 0))]

    assert words == [LineWord.ABSENT] * 4
    assert await bench.state() == before


@leaving
async def grant_is_too_late_to_give_up(bench: LineBench) -> None:
    """While it is made, and after: then it is an order to be cancelled."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    granting = await bench.grant()
    before = await bench.state()

    during = await leave(bench, "ann", 1)
    unchanged = await bench.state() == before
    await bench.settle(granting.grants)
    before = await bench.state()
    after = await leave(bench, "ann", 1)

    assert (during, after) == (LineWord.GRANTING, LineWord.GRANTED)
    assert unchanged
    assert await bench.state() == before


@leaving
async def place_of_no_image_or_another_is_not_given_up(bench: LineBench) -> None:
    """I12."""
    assert await leave(bench, "ann", 1) is LineWord.NO_IMAGE

    await bench.publish()
    await bench.join("ann")
    before = await bench.state()

    assert await leave(bench, "ann", 1, epoch=EPOCH - 1) is LineWord.STALE_EPOCH
    assert await leave(bench, "ann", 1, epoch=EPOCH + 1) is LineWord.STALE_EPOCH
    assert await bench.state() == before


@leaving
async def line_ends_up_to_a_number(bench: LineBench) -> None:
    """Those behind go on waiting; again is no change; tickets of ended numbers bring nothing back."""
    await bench.publish()
    await bench.join("ann", "bob", "eve")

    ended = await bench.line.end_line(SALE, 2, epoch=EPOCH)
    before = await bench.state()
    again = await bench.line.end_line(SALE, 2, epoch=EPOCH)

    assert (ended, again) == (2, 0)
    assert await bench.state() == before
    assert await bench.order() == ["eve"]
    assert (await bench.ask("ann", ticket=1)).word is LineWord.ABSENT
    assert (await bench.news()).items == [NewsItem(NewsKind.ENDED, 2)]


@leaving
async def whole_line_ends_and_issues_no_number_that_has_ended(bench: LineBench) -> None:
    """Q6: the ledger ends all it has let out; who comes later, for units added, waits with a number above."""
    await bench.publish()
    await bench.join("ann", "bob")

    assert await bench.line.end_line(SALE, HIGH, epoch=EPOCH) == 2

    assert await bench.order() == []
    assert (await bench.ask("eve", join=True)).word is LineWord.NO_NUMBERS
    assert await bench.line.issue(SALE, HIGH + 10, epoch=EPOCH)
    assert await bench.join("eve") == [HIGH + 1]
    assert await bench.line.end_line(SALE, HIGH, epoch=EPOCH) == 0
    assert await bench.order() == ["eve"]


@leaving
async def ended_line_is_over_until_a_unit_is_free(bench: LineBench) -> None:
    """Whoever asks is told, also by a caller who does not know yet what is paid for; then the line begins anew."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    (grant,) = await bench.serve()
    await bench.line.end_line(SALE, HIGH, epoch=EPOCH)
    await bench.line.issue(SALE, HIGH + 10, epoch=EPOCH)
    before = await bench.state()

    looks = await bench.asks(LineAsk("ann"), LineAsk("bob", ticket=2), LineAsk("eve"))
    joined = await bench.ask("eve", join=True, paid=0)
    unchanged = await bench.state() == before
    await bench.end_order(grant)

    assert [spot.word for spot in looks] == [LineWord.GRANTED, LineWord.OVER, LineWord.OVER]
    assert joined.word is LineWord.SOLD_OUT
    assert unchanged
    assert (await bench.ask("bob", ticket=2)).word is LineWord.ABSENT
    assert await bench.join("eve") == [HIGH + 1]
    await bench.serve()
    assert (await bench.ask("bob", ticket=2)).word is LineWord.ABSENT


@leaving
async def line_ends_but_not_for_a_unit_already_taken(bench: LineBench) -> None:
    """The order is being made; only the rest waits for nothing."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    granting = await bench.grant()

    assert await bench.line.end_line(SALE, 2, epoch=EPOCH) == 1

    assert (await bench.look("ann"))[0] is LineWord.GRANTING
    assert await bench.settle(granting.grants)
    assert (await bench.look("ann"))[0] is LineWord.GRANTED


@leaving
async def line_of_another_image_does_not_end(bench: LineBench) -> None:
    """I12; and there is nothing to end without one."""
    assert await bench.line.end_line(SALE, 2, epoch=EPOCH) == 0
    assert not await bench.line.issue(SALE, 5, epoch=EPOCH)

    await bench.publish()
    await bench.join("ann")
    before = await bench.state()

    assert await bench.line.end_line(SALE, 2, epoch=EPOCH - 1) == 0
    assert await bench.line.end_line(SALE, 2, epoch=EPOCH + 1) == 0
    assert await bench.state() == before


@leaving
async def image_remembers_what_has_ended(bench: LineBench) -> None:
    """Q6 across a rebuild: whoever is left in the old queue waits no longer."""
    await bench.publish()
    await bench.join("ann", "bob", "eve")

    epoch = await bench.rebuild(line_image(line=line_head(number_next=50, ended_number=2)))

    assert await bench.order() == ["eve"]
    assert (await bench.ask("bob", ticket=2, epoch_min=epoch)).word is LineWord.ABSENT
