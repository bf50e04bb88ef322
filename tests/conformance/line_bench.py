"""A line under test: images to put it in, and everything that has to be true of one whatever happened."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from conformance.stock_bench import EPOCH, FOR_EVER, NOW, SALE, StockBench, image
from doorbuster.engine.image import ImageChunk, ImageHead, ImageTerms, LineHead
from doorbuster.engine.line_ports import Grant, Granting, GrantWord, LineAsk, LineNews, LineStore, LineWord, Spot
from doorbuster.engine.ports import (
    Release,
    StockStore,
)

HIGH = 100


class LineBench:
    """One line and the stock it is in, which starts empty."""

    def __init__(self, stock: StockStore, line: LineStore) -> None:
        self.stock = StockBench(stock)
        self.line = line
        self._ids = 0

    async def publish(self, head: ImageHead | None = None, *chunks: ImageChunk, epoch: int = EPOCH) -> None:
        """An image as a rebuild makes it."""
        await self.stock.publish(head or line_image(), *chunks, epoch=epoch)

    async def asks(self, *asks: LineAsk, now_ms: int = NOW, epoch_min: int = EPOCH, paid: int = 0) -> Sequence[Spot]:
        return await self.line.ask(SALE, asks, now_ms=now_ms, epoch_min=epoch_min, paid=paid)

    async def ask(self, user: str, **changes: Any) -> Spot:
        """One ask; `changes` are those of the ask and of the call."""
        call = {name: changes.pop(name) for name in ("now_ms", "epoch_min", "paid") if name in changes}
        return (await self.asks(LineAsk(user, **changes), **call))[0]

    async def join(self, *users: str, **call: Any) -> list[int]:
        """These buyers, one after the other; their numbers."""
        spots = await self.asks(*(LineAsk(user, join=True) for user in users), **call)
        assert [spot.word for spot in spots] == [LineWord.JOINED] * len(users), spots
        return [spot.number for spot in spots]

    async def look(self, user: str) -> tuple[LineWord, int, int]:
        """Word, number and position."""
        spot = await self.ask(user)
        return spot.word, spot.number, spot.position

    async def order(self) -> list[str]:
        """Who waits and is not being granted, in order."""
        return [user for user, _ in await self.line.first_numbers(SALE, 100_000)]

    async def grant(self, count: int = 10, *, now_ms: int = NOW, epoch: int = EPOCH) -> Granting:
        """With ids that were never used."""
        ids = [f"grant-{self._ids + number}" for number in range(1, count + 1)]
        self._ids += count
        return await self.line.grant(SALE, ids, now_ms=now_ms, epoch=epoch)

    async def settle(self, granted: Sequence[Grant] = (), dropped: Sequence[Grant] = (), *, epoch: int = EPOCH) -> bool:
        mark = max((grant.number for grant in granted), default=0)
        return await self.line.settle(SALE, granted, dropped, mark=mark, epoch=epoch)

    async def serve(self, count: int = 10) -> Sequence[Grant]:
        """One whole pass of an admitter; whom it served."""
        granting = await self.grant(count)
        assert await self.settle(granting.grants)
        return granting.grants

    async def end_order(self, grant: Grant) -> None:
        """The order of this grant was cancelled or ran out: its unit comes back (R8)."""
        released = Release(hold_id=grant.hold_id, user_id=grant.user_id)
        assert await self.stock.store.release(SALE, [released], epoch=EPOCH) == 1

    async def news(self, since: int = 0, epoch: int = EPOCH) -> LineNews:
        news = await self.line.news(SALE, since, epoch)
        assert news is not None
        return news

    async def rebuild(self, head: ImageHead | None = None, *chunks: ImageChunk, lost: bool = False) -> int:
        """A newer image: as after `raise_epoch`. `lost`: nothing of the old one is left. Its epoch."""
        summary = await self.stock.store.summary(SALE)
        epoch = (summary.epoch if summary else EPOCH) + 1
        if lost:
            await self.stock.store.drop_image(SALE)
        await self.publish(head, *chunks, epoch=epoch)
        return epoch

    async def set_terms(self, **changes: Any) -> None:
        head = line_image(**changes)
        terms = ImageTerms(**{name: getattr(head, name) for name in ImageTerms.__struct_fields__})
        assert await self.stock.store.set_terms(SALE, terms, epoch=EPOCH)

    async def state(self) -> object:
        """All that can be seen: equal before and after means that nothing was changed."""
        summary = await self.stock.store.summary(SALE)
        unsettled: object = None
        if summary is not None:
            unsettled = await self.line.grant(SALE, (), now_ms=NOW, epoch=summary.epoch)
        return (
            await self.stock.state(),
            list(await self.line.first_numbers(SALE, 100_000)),
            unsettled,
            await self.line.news(SALE, 0, summary.epoch if summary else 0),
        )

    async def exact(self) -> None:
        """What has to be true of every image at every moment."""
        queue = list(await self.line.first_numbers(SALE, 100_000))
        numbers = [number for _, number in queue]
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers), "two wait with one number"  # Q2
        assert len({user for user, _ in queue}) == len(queue), "one waits twice"  # Q1
        summary = await self.stock.store.summary(SALE)
        if summary is None:
            return
        holds = await self.stock.held()
        claimed = Counter[str]()
        for hold in holds.values():
            claimed[hold.user_id] += hold.quantity
        assert summary.stock + claimed.total() == summary.available  # I1
        assert summary.held == claimed.total()
        users = {*claimed, *(user for user, _ in queue), *(f"buyer-{number}" for number in range(20))}
        assert await self.stock.claims(*users) == dict(claimed)  # I6
        granting = await self.line.grant(SALE, (), now_ms=FOR_EVER, epoch=summary.epoch)
        if granting.word is GrantWord.GRANTS:
            both = numbers + [grant.number for grant in granting.grants]
            assert len(set(both)) == len(both)
        assert summary.waiting == len(queue) + len(granting.grants)
        assert summary.line is None or all(number <= summary.line.number_next for number in numbers)
        assert summary.line is None or summary.line.number_next <= summary.line.number_high


def line_image(stock: int = 5, *, line: LineHead | None = None, limit: int = 1, **changes: Any) -> ImageHead:
    """An image whose line has issued nothing yet: a unit to a buyer, within the window around NOW."""
    return image(stock, line=line or line_head(), limit=limit, **changes)


def line_head(**changes: Any) -> LineHead:
    return msgspec.structs.replace(LineHead(number_next=0, number_high=HIGH, moves_ms=0), **changes)
