"""Who gets a unit: strict order, whoever grants, and whatever the ledger says to it."""

from conformance.line_bench import LineBench, line_head, line_image
from conformance.stock_bench import ENDS, EPOCH, NOW, OPENS, SALE, TICK, hold
from conformance.suite import Suite
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageState
from doorbuster.engine.line_ports import Grant, GrantWord, LineWord
from doorbuster.engine.ports import (
    Release,
)

grants = Suite[LineBench]()


@grants
async def line_without_an_image_grants_nothing(bench: LineBench) -> None:
    """Nor under another epoch (I12)."""
    assert (await bench.grant()).word is GrantWord.NO_IMAGE

    await bench.publish()
    await bench.join("ann")
    before = await bench.state()

    assert (await bench.grant(epoch=EPOCH - 1)).word is GrantWord.OTHER_EPOCH
    assert (await bench.grant(epoch=EPOCH + 1)).word is GrantWord.OTHER_EPOCH
    assert await bench.state() == before


@grants
async def closed_line_grants_nothing(bench: LineBench) -> None:
    """Paused, over, before the start, from the end."""
    await bench.publish()
    await bench.join("ann")

    words = [(await bench.grant(now_ms=now)).word for now in (OPENS - 1, ENDS)]
    for state in (ImageState.PAUSED, ImageState.OVER):
        await bench.set_terms(state=state)
        words.append((await bench.grant()).word)

    assert words == [GrantWord.CLOSED] * 4
    assert await bench.order() == ["ann"]


@grants
async def line_that_was_lost_moves_after_its_grace(bench: LineBench) -> None:
    """R9e: the old head has the time to come back."""
    await bench.publish(line_image(1, line=line_head(number_next=9, moves_ms=NOW + 100)))
    await bench.join("late")

    early = await bench.grant(now_ms=NOW + 99)
    assert (await bench.ask("head", ticket=1)).word is LineWord.WAITING
    moved = await bench.grant(now_ms=NOW + 100)

    assert early.word is GrantWord.CLOSED
    assert [(grant.user_id, grant.number) for grant in moved.grants] == [("head", 1)]


@grants
async def head_of_the_line_is_granted(bench: LineBench) -> None:
    """As many as there are units, in order of their numbers; a hold as a take makes it, but not an orphan."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve")

    granting = await bench.grant()

    assert granting.word is GrantWord.GRANTS
    assert list(granting.grants) == [Grant("grant-1", "ann", 1, NOW), Grant("grant-2", "bob", 2, NOW)]
    assert (granting.tick, granting.stock, granting.waiting, granting.dropped) == (TICK + 2, 0, 3, 0)
    assert granting.run_id == await bench.stock.store.run_id(SALE)
    assert await bench.stock.numbers() == (2, 0, 2, 0, TICK + 2)
    assert (await bench.stock.held())["grant-2"] == Hold(
        hold_id="grant-2", user_id="bob", quantity=1, key="line-2", digest="line", since_ms=NOW
    )


@grants
async def line_grants_no_more_than_ids_or_buyers(bench: LineBench) -> None:
    """Whatever is least."""
    await bench.publish(line_image(5))
    await bench.join("ann", "bob", "eve")

    assert [grant.user_id for grant in await bench.serve(2)] == ["ann", "bob"]
    assert [grant.user_id for grant in await bench.serve(2)] == ["eve"]

    assert (await bench.grant()).grants == []
    assert (await bench.stock.numbers())[:3] == (5, 2, 3)


@grants
async def empty_line_and_empty_stock_grant_nothing(bench: LineBench) -> None:
    """And change nothing, so the tick does not move."""
    await bench.publish(line_image(0, held=1), ImageChunk(holds=[hold(1)]))
    await bench.join("ann")
    before = await bench.state()

    granting = await bench.grant()
    without_ids = await bench.grant(0)

    assert (granting.word, list(granting.grants), granting.waiting) == (GrantWord.GRANTS, [], 1)
    assert list(without_ids.grants) == []
    assert await bench.state() == before


@grants
async def every_admitter_sees_the_same_head(bench: LineBench) -> None:
    """I10: what is not settled is answered first, and nothing new is taken beside it."""
    await bench.publish(line_image(3))
    await bench.join("ann", "bob", "eve")
    first = await bench.grant(1)
    before = await bench.state()

    second = await bench.grant(2, now_ms=NOW + 50)

    assert list(second.grants) == list(first.grants)
    assert await bench.state() == before
    assert (await bench.settle(second.grants), await bench.settle(first.grants)) == (True, True)
    assert [grant.user_id for grant in (await bench.grant()).grants] == ["bob", "eve"]


@grants
async def unsettled_grants_are_told_while_the_sale_is_paused(bench: LineBench) -> None:
    """Whoever died with them is finished by the next pass, whatever the sale does."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    first = await bench.grant()
    await bench.set_terms(state=ImageState.PAUSED)

    again = await bench.grant()

    assert (again.word, list(again.grants)) == (GrantWord.GRANTS, list(first.grants))
    assert await bench.settle(again.grants)
    assert (await bench.grant()).word is GrantWord.CLOSED


@grants
async def settling_again_changes_nothing(bench: LineBench) -> None:
    """The repeat after a lost answer, and the late copy of another admitter."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob")
    granting = await bench.grant()
    assert await bench.settle(granting.grants)
    before = await bench.state()

    assert await bench.settle(granting.grants)
    assert await bench.settle(dropped=granting.grants)

    assert await bench.state() == before
    assert await bench.stock.numbers() == (2, 0, 2, 0, TICK + 3)


@grants
async def grants_may_be_settled_in_parts(bench: LineBench) -> None:
    """What is left is still the head of the line."""
    await bench.publish(line_image(3))
    await bench.join("ann", "bob", "eve", "max")
    granting = await bench.grant()

    assert await bench.settle(granting.grants[1:2])
    again = await bench.grant()

    assert [grant.user_id for grant in again.grants] == ["ann", "eve"]
    assert await bench.look("max") == (LineWord.WAITING, 4, 3)
    assert await bench.settle(again.grants)
    assert await bench.look("max") == (LineWord.WAITING, 4, 1)


@grants
async def refused_grant_goes_to_the_next(bench: LineBench) -> None:
    """The unit and the claim go back, the key is forgotten, the entry ends."""
    await bench.publish(line_image(2))
    await bench.join("ann", "bob", "eve")
    granting = await bench.grant()

    assert await bench.settle(granting.grants[1:], granting.grants[:1])

    assert await bench.stock.numbers() == (2, 1, 1, 0, TICK + 3)
    assert await bench.stock.claims("ann", "bob") == {"bob": 1}
    spot = await bench.ask("ann", ticket=1)
    assert (spot.word, spot.number) == (LineWord.LEFT, 1)
    assert [grant.user_id for grant in await bench.serve()] == ["eve"]


@grants
async def refused_grant_whose_hold_is_gone_gives_nothing_back(bench: LineBench) -> None:
    """I2: its order was made and ended by others before the refusal came."""
    await bench.publish(line_image(3, limit=2))
    await bench.join("ann")
    await bench.serve()
    assert (await bench.ask("ann", join=True, done=1)).word is LineWord.JOINED
    (grant,) = (await bench.grant()).grants
    released = Release(hold_id=grant.hold_id, user_id="ann")
    assert await bench.stock.store.release(SALE, [released], epoch=EPOCH) == 1

    assert await bench.settle(dropped=[grant])

    assert (await bench.stock.numbers())[:3] == (3, 2, 1)
    assert await bench.stock.claims("ann") == {"ann": 1}


@grants
async def only_the_hold_of_the_grant_is_settled(bench: LineBench) -> None:
    """Compare-and-delete by hold id; a stranger's grant, too, and another image's."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    (grant,) = (await bench.grant()).grants
    before = await bench.state()
    others = [Grant("grant-77", "ann", 1, NOW), Grant(grant.hold_id, "bob", 2, NOW)]

    assert await bench.settle(others)
    assert await bench.settle(dropped=others)
    assert not await bench.settle([grant], epoch=EPOCH + 1)
    assert not await bench.settle(dropped=[grant], epoch=EPOCH - 1)

    assert await bench.state() == before


@grants
async def blocked_and_full_buyers_at_the_head_are_dropped(bench: LineBench) -> None:
    """Nobody behind waits for them; a ticket does not bring them back."""
    await bench.publish(line_image(3, limit=1))
    await bench.join("max", "ann", "eve", "bob")
    await bench.serve(0)
    assert await bench.stock.store.block(SALE, ["max", "eve"], epoch=EPOCH)

    granting = await bench.grant()

    assert [grant.user_id for grant in granting.grants] == ["ann", "bob"]
    assert granting.dropped == 2
    assert (await bench.ask("max", ticket=1)).word is LineWord.LEFT
    assert (await bench.ask("eve", join=True)).word is LineWord.BLOCKED


@grants
async def limit_cut_while_buyers_wait_drops_them(bench: LineBench) -> None:
    """I6: by the terms at the moment of the grant."""
    await bench.publish(line_image(3, limit=2))
    await bench.join("ann")
    await bench.serve()
    assert (await bench.ask("ann", join=True, done=1)).word is LineWord.JOINED
    await bench.join("bob")
    await bench.set_terms(limit=1)

    granting = await bench.grant()

    assert [grant.user_id for grant in granting.grants] == ["bob"]
    assert granting.dropped == 1
    assert await bench.stock.claims("ann", "bob") == {"ann": 1, "bob": 1}


@grants
async def long_row_of_blocked_buyers_is_dropped_in_bounded_passes(bench: LineBench) -> None:
    """Each pass goes on where the one before was; nobody is passed."""
    count = 200
    await bench.publish(line_image(1, line=line_head(number_high=1_000)))
    users = [f"buyer-{number}" for number in range(count)]
    await bench.join(*users, "ann")
    assert await bench.stock.store.block(SALE, users, epoch=EPOCH)

    dropped, passes = 0, 0
    while not (granting := await bench.grant()).grants:
        dropped, passes = dropped + granting.dropped, passes + 1
        assert granting.dropped > 0

    assert dropped + granting.dropped == count
    assert passes > 1
    assert [grant.user_id for grant in granting.grants] == ["ann"]


@grants
async def unit_that_comes_back_goes_to_the_head(bench: LineBench) -> None:
    """As soon as its release is there (R8)."""
    await bench.publish(line_image(1))
    await bench.join("ann", "bob")
    (grant,) = await bench.serve()
    assert list(await bench.serve()) == []

    await bench.end_order(grant)

    assert [served.user_id for served in await bench.serve()] == ["bob"]


@grants
async def large_pass_grants_in_order(bench: LineBench) -> None:
    """As many as one call may carry."""
    count = 1_000
    await bench.publish(line_image(count, line=line_head(number_high=count)))
    for start in range(0, count, 500):
        await bench.join(*(f"buyer-{number}" for number in range(start, start + 500)))

    granting = await bench.grant(count)
    settled = await bench.settle(granting.grants[: count // 2], granting.grants[count // 2 :])

    assert [grant.number for grant in granting.grants] == list(range(1, count + 1))
    assert settled
    assert (await bench.stock.numbers())[:3] == (count, count // 2, count // 2)
