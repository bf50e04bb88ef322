"""Writes Valkey's image of a sale from PostgreSQL, and notices when it has to (R0, R9).

Owns: the one way an image comes to be, and the list of what counts as divergence. Keeps: I1, I10, I12, I16.
There is no leader and no lock: raising the epoch is a compare-and-set, so every build has an epoch of its own, and
the function refuses to let an overtaken builder write. Read next: `ports.StockStore.begin_image`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER, SALE_SELLS, SaleStatus
from doorbuster.engine.image import ImageChunk, ImageHead, ImageState, ImageSummary, ImageTerms, LineHead
from doorbuster.engine.line_ports import LineLedger, LineStore
from doorbuster.engine.ports import (
    KEEPER,
    Clock,
    SaleStore,
    StockStore,
)

_BUILD_GRACE_MS = 2_000
"""How long an unpublished epoch is taken for a build under way."""
_BUILD_UNITS_PER_MS = 20
"""Rows a slow machine still writes per millisecond; a big image is given the time it needs before it is overtaken."""
_SETTLE_MS = 2_000
"""A stock change touches both stores in turn; a difference is a drift only when it outlives this."""


def image_state(status: SaleStatus) -> ImageState:
    """What the function lets through in this status; the window is its own business."""
    if status in SALE_SELLS:
        return ImageState.SELLING
    return ImageState.OVER if status in SALE_OVER else ImageState.PAUSED


def image_terms(sale: Sale) -> ImageTerms:
    return ImageTerms(
        state=image_state(sale.status),
        opens_ms=sale.start_ms,
        ends_ms=sale.end_ms,
        limit=sale.per_user_limit,
        standby_limit=sale.standby_limit,
    )


def _terms_of(image: ImageSummary) -> ImageTerms:
    return ImageTerms(
        state=image.state,
        opens_ms=image.opens_ms,
        ends_ms=image.ends_ms,
        limit=image.limit,
        standby_limit=image.standby_limit,
    )


class Rebuilder:
    """Builds images. A crash at any line leaves no readable image, and the next build starts clean.

    `line` and `ledger` are needed for sales with a line; an engine that only holds races does without.
    """

    def __init__(
        self, sales: SaleStore, stock: StockStore, line: LineStore | None = None, ledger: LineLedger | None = None
    ) -> None:
        self._sales = sales
        self._stock = stock
        self._line = line
        self._ledger = ledger
        self.built = 0

    async def rebuild(self, sale: Sale, reason: str, by: str = KEEPER) -> int | None:
        """Throw the image away and write it again. Returns the new epoch, or None if another builder was first
        (then there is nothing to do). May raise StoreUnavailable or OutcomeUnknown: call again."""
        epoch = await self._sales.raise_epoch(sale.sale_id, sale.epoch, reason, by)  # R9a
        if epoch is None:
            return None
        if not await self._stock.begin_image(sale.sale_id, epoch):
            return None
        available = held = 0
        async for rows in read_ahead(self._sales.image_rows(sale.sale_id, limits.IMAGE_CHUNK)):  # R9b
            held += sum(hold.quantity for hold in rows.holds)
            if not await self._stock.write_image(sale.sale_id, epoch, rows):  # R9c
                return None
        line = None if sale.mode is SaleMode.RACE else await self._line_head(sale.sale_id, epoch)
        # Read after the rows: whatever changed since the epoch was raised is a release or a stock change, and both
        # find this epoch only once it is published.
        current = await self._sales.get(sale.sale_id)
        if current is None or current.epoch != epoch:
            return None
        available = current.quantity_available
        head = ImageHead(
            **msgspec.structs.asdict(image_terms(current)),
            available=available,
            stock=available - held,
            held=held,
            tick=current.tick_seen + 1,
            line=line,
        )
        run_id = await self._stock.publish_image(sale.sale_id, epoch, head)  # R9d
        if run_id is None:
            return None
        self.built += 1
        await self._sales.image_published(sale.sale_id, epoch, run_id)
        return epoch

    async def _line_head(self, sale_id: str, epoch: int) -> LineHead:
        """Where numbers go on: above every number that may have been issued (Q2, A15). A line of which nothing is
        left waits a moment for the tickets of those near its head (R9e)."""
        assert self._line is not None, "a sale with a line needs a store for it"
        assert self._ledger is not None, "a sale with a line needs a ledger of its numbers"
        block = await self._ledger.reserve_numbers(sale_id, limits.NUMBER_BLOCK, epoch=epoch)
        sale = await self._sales.get(sale_id)
        if block is None or sale is None:
            return LineHead(number_next=0, number_high=0, moves_ms=0)  # a draw whose list is open has no numbers yet
        issued, high = block
        lost = issued > max(sale.draw_size or 0, sale.ended_number)
        moves_ms = 0
        if lost and not await self._line.first_numbers(sale_id, 1):
            moves_ms = await self._sales.time_ms() + limits.LINE_GRACE_MS
        return LineHead(number_next=issued, number_high=high, moves_ms=moves_ms, ended_number=sale.ended_number)


async def read_ahead(rows: AsyncIterator[ImageChunk]) -> AsyncIterator[ImageChunk]:
    """The same rows; the next are read from the ledger while the last are written to the stock counter."""
    pending = asyncio.ensure_future(_next_of(rows))
    try:
        while (chunk := await pending) is not None:
            pending = asyncio.ensure_future(_next_of(rows))
            yield chunk
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)


async def _next_of(rows: AsyncIterator[ImageChunk]) -> ImageChunk | None:
    return await anext(rows, None)


class _Seen(msgspec.Struct):
    """Since when something about a sale is not as it should be."""

    what: str
    epoch: int
    since_ms: int


class Keeper:
    """Looks at the image of every live sale several times a second and mends what is not as the ledger has it.

    Immediate: no image, another server, an older image, a broken sum, a rebuild someone asked for.
    After a moment: an epoch nobody publishes.
    Without a rebuild: terms (pause, resume, end, a moved window), a stock change that reached one side only.
    """

    def __init__(self, sales: SaleStore, stock: StockStore, rebuilder: Rebuilder, clock: Clock) -> None:
        self._sales = sales
        self._stock = stock
        self._rebuilder = rebuilder
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def run_once(self, sales: Sequence[Sale]) -> int:
        """Mend the images of these sales (rows just read). Returns how many images were rebuilt."""
        rebuilt = 0
        for sale in sales:
            rebuilt += await self._keep(sale)
        return rebuilt

    async def _keep(self, sale: Sale) -> bool:
        if sale.status in SALE_OVER:
            return await self._keep_over(sale)
        image = await self._stock.summary(sale.sale_id)
        reason = self._reason(sale, image)
        if not reason:
            if image is not None and image.epoch == sale.epoch:
                await self._mend(sale, image)
            return False
        self._seen.pop(sale.sale_id, None)
        return await self._rebuilder.rebuild(sale, reason) is not None

    async def _keep_over(self, sale: Sale) -> bool:
        image = await self._stock.summary(sale.sale_id)
        if image is not None and image.epoch == sale.epoch and image.state is not ImageState.OVER:
            await self._stock.set_terms(sale.sale_id, image_terms(sale), epoch=sale.epoch)
        return False

    def _reason(self, sale: Sale, image: ImageSummary | None) -> str:
        """Why this image has to be built anew; empty if it does not."""
        if sale.rebuild_reason and sale.image_run_id:
            return sale.rebuild_reason
        if image is None or image.epoch != sale.epoch:
            if sale.epoch == 0:
                return "first image"
            if sale.image_run_id:
                return "the image is gone" if image is None else "the image has another epoch"
            grace = _BUILD_GRACE_MS + sale.quantity_sold // _BUILD_UNITS_PER_MS
            return "an image was begun and never published" if self._lasts(sale, "unpublished", grace) else ""
        if sale.image_run_id and image.run_id != sale.image_run_id:
            return "another server holds the image"
        if image.tick < sale.tick_seen:  # the row was read first: what it saw had happened before
            return "the image went back in time"
        if image.stock + image.held != image.available or image.stock < 0:
            return "the image's units do not add up"
        return ""

    async def _mend(self, sale: Sale, image: ImageSummary) -> None:
        """Bring to a sound image what has not reached it: terms, a stock change, the note of who published it (C19)."""
        if _terms_of(image) != image_terms(sale):
            await self._stock.set_terms(sale.sale_id, image_terms(sale), epoch=sale.epoch)
        if not sale.image_run_id:
            await self._sales.image_published(sale.sale_id, sale.epoch, image.run_id)
        if image.available == sale.quantity_available:
            self._seen.pop(sale.sale_id, None)
        elif self._lasts(sale, "available", _SETTLE_MS):
            await self._stock.set_available(sale.sale_id, sale.quantity_available, epoch=sale.epoch)

    def _lasts(self, sale: Sale, what: str, for_ms: int) -> bool:
        now = self._clock.now_ms()
        seen = self._seen.get(sale.sale_id)
        if seen is None or seen.what != what or seen.epoch != sale.epoch:
            self._seen[sale.sale_id] = _Seen(what, sale.epoch, now)
            return False
        return now - seen.since_ms >= for_ms
