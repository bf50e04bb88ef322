"""What a stock store says to an ask, and what it leaves behind (R2)."""

import asyncio
from typing import Any

import pytest

from conformance.stock_bench import ENDS, EPOCH, NOW, OPENS, OTHER_SALE, SALE, TICK, StockBench, ask, hold, image
from conformance.suite import Suite
from doorbuster.domain import limits
from doorbuster.engine.image import ImageChunk, ImageState
from doorbuster.engine.ports import (
    Ask,
    TakeWord,
)

takes = Suite[StockBench]()


@takes
async def nothing_is_taken_without_an_image(bench: StockBench) -> None:
    """A missing image is refused, never read as a stock of 0 (A8)."""
    taken = await bench.take(ask(1), ask(2))

    assert [take.word for take in taken.takes] == [TakeWord.NO_IMAGE, TakeWord.NO_IMAGE]
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (0, 0, 0, 0)
    assert taken.run_id == await bench.store.run_id(SALE)
    assert await bench.store.summary(SALE) is None
    assert await bench.held() == {}


@takes
async def image_older_than_the_caller_is_stale(bench: StockBench) -> None:
    """I12: a caller that knows a newer epoch takes nothing from an old image, and learns its numbers."""
    await bench.publish()
    before = await bench.state()

    taken = await bench.take(ask(1), epoch_min=EPOCH + 1)

    assert [take.word for take in taken.takes] == [TakeWord.STALE_EPOCH]
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (EPOCH, 5, 5, TICK)
    assert await bench.state() == before


@takes
async def image_newer_than_the_caller_decides(bench: StockBench) -> None:
    """The caller learns the new epoch from the answer."""
    await bench.publish()

    taken = await bench.take(ask(1), epoch_min=EPOCH - 1)

    assert [take.word for take in taken.takes] == [TakeWord.HELD]
    assert taken.epoch == EPOCH


@takes
async def first_word_in_precedence_is_said(bench: StockBench) -> None:
    """Everything is wrong with one ask; what is wrong is mended word by word, in the order of `TakeWord`."""
    wrong: dict[str, Any] = {"state": ImageState.PAUSED, "opens_ms": NOW + 1, "ends_ms": NOW, "limit": 0, "stock": 0}
    key_used = hold(9, "ann", key="k", digest="another body")
    said: list[TakeWord] = []

    async def decide(*, epoch: int, digest: str = "body", key: str = "k", blocked: str = "ann") -> None:
        chunk = ImageChunk(closed_keys=[key_used], blocked=[blocked])
        await bench.publish(image(**wrong), chunk, epoch=epoch)
        before = await bench.state()
        said.extend(await bench.words(ask(1, "ann", key=key, digest=digest), epoch_min=4))
        if said[-1] is not TakeWord.HELD:
            assert await bench.state() == before

    said.extend(await bench.words(ask(1, "ann", key="k"), epoch_min=4))
    await decide(epoch=3)
    await decide(epoch=4)
    await decide(epoch=5, digest="another body")
    await decide(epoch=6, key="fresh")
    wrong["state"] = ImageState.SELLING
    await decide(epoch=7, key="fresh")
    wrong["opens_ms"] = OPENS
    await decide(epoch=8, key="fresh")
    wrong["ends_ms"] = ENDS
    await decide(epoch=9, key="fresh")
    await decide(epoch=10, key="fresh", blocked="bob")
    wrong["limit"] = 1
    await decide(epoch=11, key="fresh", blocked="bob")
    wrong["stock"] = 1
    await decide(epoch=12, key="fresh", blocked="bob")

    assert said == list(TakeWord)


@takes
async def sale_that_is_over_does_not_start_any_more(bench: StockBench) -> None:
    """An end or an abort before the start is final: there is nothing to wait for."""
    await bench.publish(image(state=ImageState.OVER))

    assert await bench.words(ask(1), now_ms=OPENS - 1) == [TakeWord.OVER]


@takes
async def window_includes_its_start_and_not_its_end(bench: StockBench) -> None:
    """The clock opens and ends a sale to the millisecond; no job has to fire."""
    await bench.publish()

    said = [(await bench.words(ask(at), now_ms=at))[0] for at in (OPENS - 1, OPENS, ENDS - 1, ENDS)]

    assert said == [TakeWord.NOT_STARTED, TakeWord.HELD, TakeWord.HELD, TakeWord.OVER]


@takes
async def held_unit_is_written_in_every_place(bench: StockBench) -> None:
    """Stock, hold, claim and pending move in the same step (I2)."""
    await bench.publish()

    taken = await bench.take(ask(1, "ann", quantity=2))

    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.HELD, "hold-1")]
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (EPOCH, 5, 3, TICK + 1)
    assert await bench.numbers() == (5, 3, 2, 1, TICK + 1)
    assert await bench.held() == {"hold-1": hold(1, "ann", quantity=2)}
    assert await bench.claims("ann", "bob") == {"ann": 2}
    assert await bench.store.pending_before(SALE, NOW + 1, 10) == [hold(1, "ann", quantity=2)]


@takes
async def batch_counts_one_tick(bench: StockBench) -> None:
    """`tick` counts the batches that changed the image, not the units."""
    await bench.publish()

    await bench.take(ask(1), ask(2), ask(3))

    assert (await bench.numbers())[-1] == TICK + 1


@takes
async def refused_batch_counts_no_tick(bench: StockBench) -> None:
    """What changes nothing is no change of the image."""
    await bench.publish(image(0))

    taken = await bench.take(ask(1), ask(2))

    assert [take.word for take in taken.takes] == [TakeWord.NO_STOCK, TakeWord.NO_STOCK]
    assert taken.tick == TICK


@takes
async def empty_batch_answers_the_numbers(bench: StockBench) -> None:
    """Nobody asks, nobody gets; the numbers are those of the image."""
    await bench.publish()

    taken = await bench.take()

    assert list(taken.takes) == []
    assert (taken.epoch, taken.available, taken.stock, taken.tick) == (EPOCH, 5, 5, TICK)


@takes
async def asks_of_a_batch_are_decided_one_after_the_other(bench: StockBench) -> None:
    """Each ask sees what those before it have left; a smaller one fits where a larger did not."""
    await bench.publish(image(3))

    said = await bench.words(
        ask(1, quantity=2), ask(2, quantity=2), ask(3, quantity=1), ask(4, quantity=1), ask(5, quantity=2)
    )

    assert said == [TakeWord.HELD, TakeWord.NO_STOCK, TakeWord.HELD, TakeWord.NO_STOCK, TakeWord.NO_STOCK]
    assert (await bench.numbers())[:4] == (3, 0, 3, 2)


@takes
async def buyers_claims_never_pass_the_limit(bench: StockBench) -> None:
    """I6, within a batch, over batches, and with units the buyer had before."""
    await bench.publish(image(9, held=1), ImageChunk(holds=[hold(90, "bob")]))

    said = await bench.words(
        ask(1, "ann"),
        ask(2, "ann", quantity=2),
        ask(3, "ann"),
        ask(4, "ann"),
        ask(5, "bob", quantity=2),
        ask(6, "bob"),
    )
    later = await bench.words(ask(7, "ann"), ask(8, "bob"))

    held, limit = TakeWord.HELD, TakeWord.LIMIT
    assert said == [held, limit, held, limit, limit, held]
    assert later == [limit, limit]
    assert await bench.claims("ann", "bob") == {"ann": 2, "bob": 2}


@takes
async def one_key_makes_one_hold(bench: StockBench) -> None:
    """I5: a repeat meets the hold of the first, in the same batch and in a later one."""
    await bench.publish()

    first = await bench.take(ask(1, "ann", key="k"), ask(2, "ann", key="k"), ask(3, "ann", key="k", digest="other"))
    before = await bench.state()
    again = await bench.take(ask(4, "ann", key="k"), ask(5, "ann", key="k", digest="other"))

    seen = (TakeWord.SEEN, "hold-1")
    assert [(take.word, take.hold_id) for take in first.takes] == [
        (TakeWord.HELD, "hold-1"),
        seen,
        (TakeWord.MISMATCH, ""),
    ]
    assert [(take.word, take.hold_id) for take in again.takes] == [seen, (TakeWord.MISMATCH, "")]
    assert await bench.state() == before


@takes
async def one_key_of_two_buyers_is_two_keys(bench: StockBench) -> None:
    """A key belongs to the buyer who sends it; nobody meets another's hold by guessing a key."""
    await bench.publish()

    assert await bench.words(ask(1, "ann", key="k"), ask(2, "bob", key="k")) == [TakeWord.HELD, TakeWord.HELD]


@takes
async def parts_of_a_key_are_never_mixed_up(bench: StockBench) -> None:
    """Buyer and key that read the same when written one after the other are two different pairs (I5)."""
    await bench.publish()

    assert await bench.words(ask(1, "ann", key="a b"), ask(2, "ann a", key="b")) == [TakeWord.HELD, TakeWord.HELD]


@takes
async def key_is_answered_whatever_the_sale_does(bench: StockBench) -> None:
    """Who has a hold learns of it also when nothing is sold any more."""
    await bench.publish(image(0, state=ImageState.OVER), ImageChunk(closed_keys=[hold(1, "ann")], blocked=["ann"]))

    taken = await bench.take(ask(7, "ann", key="key-1"), ask(8, "ann"))

    assert [(take.word, take.hold_id) for take in taken.takes] == [(TakeWord.SEEN, "hold-1"), (TakeWord.OVER, "")]


@takes
async def texts_are_kept_as_they_are(bench: StockBench) -> None:
    """Ids and keys are anybody's text: spaces, quotes, other alphabets."""
    await bench.publish()
    odd = Ask("hold: 1", "Žofie 'O' \\ 東", 1, 'k"e|y', "d{}")

    assert await bench.words(odd) == [TakeWord.HELD]

    found = (await bench.held())["hold: 1"]
    assert (found.user_id, found.key, found.digest) == (odd.user_id, odd.key, odd.digest)
    assert await bench.claims(odd.user_id) == {odd.user_id: 1}


@takes
async def ask_that_cannot_be_sent_is_an_error(bench: StockBench) -> None:
    """No honest caller asks for no units, or uses the separator of the records; nothing of the batch happens."""
    await bench.publish()
    before = await bench.state()

    for bad in (ask(2, quantity=0), ask(2, quantity=-50), ask(2, "a\x1fb"), ask(2, key="\x1f"), ask(2, "\ud800")):
        with pytest.raises(ValueError):  # noqa: PT011 - the kind is the promise, the words are not
            await bench.take(ask(1), bad)

    assert await bench.state() == before


@takes
async def batch_that_is_too_large_is_an_error(bench: StockBench) -> None:
    """The server's one thread is never kept for longer than a full batch takes; a full one is taken."""
    await bench.publish(image(1_000))
    before = await bench.state()
    asks = [ask(number) for number in range(limits.TAKE_BATCH_MAX + 1)]

    with pytest.raises(ValueError, match="at most"):
        await bench.take(*asks)

    assert await bench.state() == before
    assert await bench.words(*asks[:-1]) == [TakeWord.HELD] * limits.TAKE_BATCH_MAX


@takes
async def asks_of_one_turn_are_one_batch(bench: StockBench) -> None:
    """`take_one`: all get the numbers of the whole batch, and the image changed once."""
    await bench.publish(image(2))

    answers = await asyncio.gather(*(bench.store.take_one(SALE, ask(n), NOW, EPOCH) for n in range(3)))

    assert [answer.word for answer in answers] == [TakeWord.HELD, TakeWord.HELD, TakeWord.NO_STOCK]
    assert [answer.hold_id for answer in answers] == ["hold-0", "hold-1", ""]
    assert {(answer.epoch, answer.available, answer.stock, answer.tick) for answer in answers} == {
        (EPOCH, 2, 0, TICK + 1)
    }
    assert {answer.run_id for answer in answers} == {await bench.store.run_id(SALE)}


@takes
async def asks_of_one_turn_about_two_sales_are_two_batches(bench: StockBench) -> None:
    """Each sale answers for itself."""
    await bench.publish()

    ours, others = await asyncio.gather(
        bench.store.take_one(SALE, ask(1), NOW, EPOCH), bench.store.take_one(OTHER_SALE, ask(1), NOW, EPOCH)
    )

    assert (ours.word, others.word) == (TakeWord.HELD, TakeWord.NO_IMAGE)


@takes
async def more_asks_than_a_batch_may_have_are_all_answered(bench: StockBench) -> None:
    """A crowd in one turn is cut into batches; no unit is lost or sold twice between them."""
    count = limits.TAKE_BATCH_MAX + 10
    await bench.publish(image(count - 5))

    answers = await asyncio.gather(*(bench.store.take_one(SALE, ask(n), NOW, EPOCH) for n in range(count)))

    words = [answer.word for answer in answers]
    assert (words.count(TakeWord.HELD), words.count(TakeWord.NO_STOCK)) == (count - 5, 5)
    assert (await bench.numbers())[:3] == (count - 5, 0, count - 5)


@takes
async def buyer_who_leaves_disturbs_nobody(bench: StockBench) -> None:
    """An ask may be cancelled at any time. What it took, if anything, is pending: an orphan for R7."""
    await bench.publish()
    first, left, last = (asyncio.ensure_future(bench.store.take_one(SALE, ask(n), NOW, EPOCH)) for n in range(3))

    left.cancel()

    assert (await first).word is TakeWord.HELD
    assert (await last).word is TakeWord.HELD
    _, stock, held, pending, _ = await bench.numbers()
    assert stock + held == 5
    assert pending == held in (2, 3)


@takes
async def ask_that_cannot_be_sent_sinks_nobody_else(bench: StockBench) -> None:
    """In one turn of the loop strangers share a batch."""
    await bench.publish()

    good, bad, late = await asyncio.gather(
        bench.store.take_one(SALE, ask(1), NOW, EPOCH),
        bench.store.take_one(SALE, ask(2, "a\x1fb"), NOW, EPOCH),
        bench.store.take_one(SALE, ask(3), NOW, EPOCH),
        return_exceptions=True,
    )

    assert isinstance(bad, ValueError)
    assert not isinstance(good, BaseException)
    assert not isinstance(late, BaseException)
    assert (good.word, late.word) == (TakeWord.HELD, TakeWord.HELD)
