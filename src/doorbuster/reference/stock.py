"""The stock store in memory: implements `engine.ports.StockStore`, and says what a server can lose.

Owns: which image a call may touch (I12), the tick, the identity of the server. Never waits, so every call is one step.
Read next: `image.py`, which decides; `turns.py`, which makes batches.
"""

import copy
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Self

from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead, ImageSummary, ImageTerms, LineHead
from doorbuster.engine.ports import (
    Ask,
    Release,
    Take,
    Taken,
    TakenOne,
    TakeWord,
)
from doorbuster.reference.image import Head, Image, LineState
from doorbuster.reference.turns import Turns

_SEPARATOR = "\x1f"
_CHUNK = 1_000


class _Runs:
    """How often the server was started. Not part of what it can forget, so a copy of a store shares it."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"server-{self.count}"

    def __deepcopy__(self, memo: object) -> Self:
        return self


class ReferenceStockStore:
    """One server that holds every sale, and its client. What a server does besides answering is at the end."""

    def __init__(self) -> None:
        self._runs = _Runs()
        self._turns = Turns(self.take)
        self._run = self._runs.next()
        self._images: dict[str, Image] = {}

    # ------------------------------------------------------------------------------------------------ taking

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        """ValueError, and nothing happens, if an ask cannot be sent or there are too many in one batch."""
        _check(asks)
        image, head = self.read(sale_id)
        if head is None:
            takes = [Take(TakeWord.NO_IMAGE)] * len(asks)
            return Taken(epoch=0, available=0, stock=0, tick=0, run_id=self._run, takes=takes)
        if head.epoch < epoch_min:  # I12
            takes = [Take(TakeWord.STALE_EPOCH)] * len(asks)
        else:
            takes = [image.decide(head, ask, now_ms) for ask in asks]
        if any(take.word is TakeWord.HELD for take in takes):
            head.tick += 1
        return Taken(
            epoch=head.epoch,
            available=head.available,
            stock=head.stock,
            tick=head.tick,
            run_id=self._run,
            takes=takes,
        )

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> Awaitable[TakenOne]:
        return self._turns.take_one(sale_id, ask, now_ms, epoch_min)

    async def confirm(self, sale_id: str, hold_ids: Sequence[str], *, epoch: int) -> int:
        image, head = self.read(sale_id, epoch)
        if head is None:
            return 0
        confirmed = image.pending & set(hold_ids)
        image.pending -= confirmed
        head.tick += bool(confirmed)
        return len(confirmed)

    async def release(self, sale_id: str, releases: Sequence[Release], *, epoch: int) -> int | None:
        image, head = self.read(sale_id, epoch)
        if head is None:
            return None
        units = sum(image.give_back(head, release) for release in releases)
        head.tick += bool(units)
        return units

    # ------------------------------------------------------------------------------------------------ steering

    async def set_available(self, sale_id: str, available: int, *, epoch: int) -> bool:
        _, head = self.read(sale_id, epoch)
        if head is None or head.stock + available - head.available < 0:  # I1
            return False
        head.tick += available != head.available
        head.stock += available - head.available
        head.available = available
        return True

    async def set_terms(self, sale_id: str, terms: ImageTerms, *, epoch: int) -> bool:
        _, head = self.read(sale_id, epoch)
        if head is None:
            return False
        head.tick += terms != head.terms
        head.terms = terms
        return True

    async def block(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool:
        image, head = self.read(sale_id, epoch)
        if head is None:
            return False
        head.tick += not image.blocked.issuperset(user_ids)
        image.blocked.update(user_ids)
        return True

    async def unblock(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool:
        image, head = self.read(sale_id, epoch)
        if head is None:
            return False
        head.tick += not image.blocked.isdisjoint(user_ids)
        image.blocked.difference_update(user_ids)
        return True

    # ------------------------------------------------------------------------------------------------ reading

    async def summary(self, sale_id: str) -> ImageSummary | None:
        image, head = self.read(sale_id)
        if head is None:
            return None
        return ImageSummary(
            epoch=head.epoch,
            state=head.terms.state,
            opens_ms=head.terms.opens_ms,
            ends_ms=head.terms.ends_ms,
            limit=head.terms.limit,
            available=head.available,
            stock=head.stock,
            held=head.held,
            pending=len(image.pending),
            tick=head.tick,
            run_id=self._run,
            standby_limit=head.terms.standby_limit,
            waiting=image.waiting(),
            line=_line_head(head.line),
            blocked=len(image.blocked),
        )

    async def pending_before(self, sale_id: str, before_ms: int, limit: int) -> Sequence[Hold]:
        image = self.image(sale_id)
        return [hold for hold in image.pending_holds() if hold.since_ms < before_ms][:limit]

    async def holds(self, sale_id: str) -> AsyncIterator[Sequence[Hold]]:
        holds = list(self.image(sale_id).holds.values())
        for start in range(0, len(holds), _CHUNK):
            yield holds[start : start + _CHUNK]

    async def claims(self, sale_id: str, user_ids: Sequence[str]) -> dict[str, int]:
        claims = self.image(sale_id).claims
        return {user_id: claims[user_id] for user_id in user_ids if user_id in claims}

    async def run_id(self, sale_id: str) -> str:
        del sale_id  # one server holds them all
        return self._run

    # ------------------------------------------------------------------------------------------------ building

    async def begin_image(self, sale_id: str, epoch: int) -> bool:
        image = self.image(sale_id)
        published = image.head.epoch if image.head else 0
        building = image.build[0] if image.build else 0
        if published >= epoch or building > epoch:  # I12
            return False
        kept = image.left_behind()
        kept.build = (epoch, self._run)
        self._images[sale_id] = kept
        return True

    async def write_image(self, sale_id: str, epoch: int, chunk: ImageChunk) -> bool:
        image = self.image(sale_id)
        if image.build != (epoch, self._run):  # I12
            return False
        image.write(chunk)
        return True

    async def publish_image(self, sale_id: str, epoch: int, head: ImageHead) -> str | None:
        image = self.image(sale_id)
        if image.build == (epoch, self._run):  # I12
            image.build = None
            terms = ImageTerms(
                state=head.state,
                opens_ms=head.opens_ms,
                ends_ms=head.ends_ms,
                limit=head.limit,
                standby_limit=head.standby_limit,
            )
            image.head = Head(
                epoch=epoch,
                terms=terms,
                available=head.available,
                stock=head.stock,
                held=head.held,
                tick=head.tick,
                line=_line_state(head.line),
            )
            ended, issued = (head.line.ended_number, head.line.number_next) if head.line else (0, 0)
            image.queue = {user: number for user, number in image.queue.items() if ended < number <= issued}
            image.stock_lost = False
        return self._run if image.head and image.head.epoch == epoch else None

    async def drop_image(self, sale_id: str) -> None:
        self._images.pop(sale_id, None)

    # ------------------------------------------------------------------------------------------------ the server

    def restart(self) -> None:
        """The server's process is another one from now on; its data are still there. What was being built is not
        trusted any more."""
        self._run = self._runs.next()

    def snapshot(self) -> dict[str, Image]:
        """All data as they are now."""
        return copy.deepcopy(self._images)

    def throw_back(self, images: dict[str, Image]) -> None:
        """Older data take the place of the present ones (S1); with `restart`, a fail-over to a replica that lagged."""
        self._images = copy.deepcopy(images)

    def image(self, sale_id: str) -> Image:
        """What there is of a sale, to be looked at."""
        return self._images.get(sale_id) or Image()

    def empty(self) -> None:
        """Every key is gone, the server is the same."""
        self._images.clear()

    def lose_stock_key(self, sale_id: str) -> None:
        """One key of the image is gone."""
        self.image(sale_id).stock_lost = True

    @property
    def run(self) -> str:
        """The identity of the server's process."""
        return self._run

    def read(self, sale_id: str, epoch: int | None = None) -> tuple[Image, Head | None]:
        """The published image and its head; no head if there is no image, or none of this epoch (I12)."""
        image = self.image(sale_id)
        head = None if image.stock_lost else image.head
        if head is not None and epoch is not None and head.epoch != epoch:
            return image, None
        return image, head


def _line_state(head: LineHead | None) -> LineState | None:
    if head is None:
        return None
    return LineState(
        number_next=head.number_next,
        number_high=head.number_high,
        moves_ms=head.moves_ms,
        ended_number=head.ended_number,
    )


def _line_head(line: LineState | None) -> LineHead | None:
    if line is None:
        return None
    return LineHead(
        number_next=line.number_next,
        number_high=line.number_high,
        moves_ms=line.moves_ms,
        ended_number=line.ended_number,
    )


def _check(asks: Sequence[Ask]) -> None:
    if len(asks) > limits.TAKE_BATCH_MAX:
        message = f"{len(asks)} asks in one batch; at most {limits.TAKE_BATCH_MAX} are decided in one step"
        raise ValueError(message)
    for ask in asks:
        if ask.quantity < 1:
            message = f"an ask is for {ask.quantity} units"
            raise ValueError(message)
        if not _can_be_sent((ask.hold_id, ask.user_id, ask.key, ask.digest)):
            message = "a text has the separator U+001F or half a character in it"
            raise ValueError(message)


def _can_be_sent(texts: Iterable[str]) -> bool:
    text = "".join(texts)
    return _SEPARATOR not in text and not any("\ud800" <= character <= "\udfff" for character in text)
