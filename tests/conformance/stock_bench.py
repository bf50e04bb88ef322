"""A stock store under test: images to put in it, and everything that can be seen of them."""

from typing import Any

import msgspec

from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead, ImageState, ImageTerms
from doorbuster.engine.ports import (
    Ask,
    Release,
    StockStore,
    Taken,
    TakeWord,
)

SALE = "0190a5b1-7c3e-7000-8000-000000000001"
OTHER_SALE = "0190a5b1-7c3e-7000-8000-000000000002"
OPENS, NOW, ENDS = 1_000, 1_500, 2_000
EPOCH, TICK = 3, 10
FOR_EVER = 10**12


class StockBench:
    """One store, which starts empty."""

    def __init__(self, store: StockStore) -> None:
        self.store = store

    async def publish(
        self, head: ImageHead | None = None, *chunks: ImageChunk, epoch: int = EPOCH, sale: str = SALE
    ) -> None:
        """An image as a rebuild makes it."""
        assert await self.store.begin_image(sale, epoch)
        for chunk in chunks:
            assert await self.store.write_image(sale, epoch, chunk)
        assert await self.store.publish_image(sale, epoch, head or image())

    async def take(self, *asks: Ask, now_ms: int = NOW, epoch_min: int = EPOCH) -> Taken:
        return await self.store.take(SALE, asks, now_ms=now_ms, epoch_min=epoch_min)

    async def words(self, *asks: Ask, now_ms: int = NOW, epoch_min: int = EPOCH) -> list[TakeWord]:
        return [take.word for take in (await self.take(*asks, now_ms=now_ms, epoch_min=epoch_min)).takes]

    async def numbers(self) -> tuple[int, int, int, int, int]:
        """Available, stock, held, pending and tick of the published image."""
        summary = await self.store.summary(SALE)
        assert summary is not None
        return summary.available, summary.stock, summary.held, summary.pending, summary.tick

    async def held(self) -> dict[str, Hold]:
        chunks = [chunk async for chunk in self.store.holds(SALE)]
        return {hold.hold_id: hold for chunk in chunks for hold in chunk}

    async def claims(self, *users: str) -> dict[str, int]:
        return await self.store.claims(SALE, users)

    async def state(self) -> object:
        """All that can be seen without taking: equal before and after means that nothing was changed."""
        holds = await self.held()
        users = sorted({"ann", "bob", *(hold.user_id for hold in holds.values())})
        return (
            await self.store.summary(SALE),
            holds,
            await self.claims(*users),
            list(await self.store.pending_before(SALE, FOR_EVER, 10_000)),
        )


def ask(number: int, user: str = "", *, quantity: int = 1, key: str = "", digest: str = "body") -> Ask:
    return Ask(f"hold-{number}", user or f"buyer-{number}", quantity, key or f"key-{number}", digest)


def hold(
    number: int, user: str = "", *, quantity: int = 1, key: str = "", digest: str = "body", since_ms: int = NOW
) -> Hold:
    """What `ask` of the same number becomes."""
    return Hold(
        hold_id=f"hold-{number}",
        user_id=user or f"buyer-{number}",
        quantity=quantity,
        key=key or f"key-{number}",
        digest=digest,
        since_ms=since_ms,
    )


def release(number: int, user: str = "", *, forget_key: bool = False) -> Release:
    return Release(hold_id=f"hold-{number}", user_id=user or f"buyer-{number}", forget_key=forget_key)


def image(stock: int = 5, *, held: int = 0, **changes: Any) -> ImageHead:
    """An image that sells: two units to a buyer, within the window around NOW."""
    head = ImageHead(
        state=ImageState.SELLING,
        opens_ms=OPENS,
        ends_ms=ENDS,
        limit=2,
        available=stock + held,
        stock=stock,
        held=held,
        tick=TICK,
    )
    return msgspec.structs.replace(head, **changes)


def terms(**changes: Any) -> ImageTerms:
    return msgspec.structs.replace(
        ImageTerms(state=ImageState.SELLING, opens_ms=OPENS, ends_ms=ENDS, limit=2), **changes
    )
