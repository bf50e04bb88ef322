"""Collects the asks of one turn of the event loop into one function call per sale (R2).

Owns: the batching of takes and the memory of the highest tick and epoch seen. Keeps: I12 (an image that is older than
one seen before is never believed). Read next: `selling.py`, which asks; `ports.StockStore.take`, which decides.
"""

import asyncio
from collections import deque

import msgspec

from doorbuster.domain import limits
from doorbuster.engine.ports import Ask, Clock, StockStore, Taken, TakeWord


class Answer(msgspec.Struct, frozen=True):
    """What the function said to one ask, and the image it said it from."""

    word: TakeWord
    hold_id: str
    epoch: int
    tick: int
    stock: int
    available: int
    run_id: str
    gone_back: bool
    """The image is older than one this process has seen: nothing it says may be acted on."""


class _Lane:
    """The asks of one sale that wait for the end of this loop turn, and what was seen of its image."""

    __slots__ = ("epoch", "epoch_min", "scheduled", "tick", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Ask, asyncio.Future[Answer]]] = deque()
        self.scheduled = False
        self.epoch_min = 0
        self.epoch = 0
        self.tick = 0


class Taker:
    """One per process. `ask` may be cancelled at any time; a unit taken for a cancelled ask is an orphan (R7)."""

    def __init__(self, stock: StockStore, clock: Clock) -> None:
        self._stock = stock
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def ask(self, sale_id: str, ask: Ask, *, epoch_min: int) -> asyncio.Future[Answer]:
        """The answer to one ask. Fails with StoreUnavailable (nothing taken) or OutcomeUnknown (repeat the key)."""
        lane = self._lanes.get(sale_id)
        if lane is None:
            lane = self._lanes[sale_id] = _Lane()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        lane.waiting.append((ask, future))
        lane.epoch_min = max(lane.epoch_min, epoch_min)
        if not lane.scheduled:
            lane.scheduled = True
            loop.call_soon(self._flush, sale_id, lane)
        return future

    def _flush(self, sale_id: str, lane: _Lane) -> None:
        lane.scheduled = False
        while lane.waiting:
            size = min(len(lane.waiting), limits.TAKE_BATCH_MAX)
            batch = [lane.waiting.popleft() for _ in range(size)]
            task = asyncio.get_running_loop().create_task(self._call(sale_id, lane, batch))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(self, sale_id: str, lane: _Lane, batch: list[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        try:
            taken = await self._stock.take(
                sale_id, [ask for ask, _ in batch], now_ms=self._clock.now_ms(), epoch_min=lane.epoch_min
            )
        except BaseException as problem:  # every waiting caller is told, whatever it was
            for _, future in batch:
                if not future.done():
                    future.set_exception(problem if isinstance(problem, Exception) else asyncio.CancelledError())
            if not isinstance(problem, Exception):
                raise
            return
        gone_back = self._gone_back(lane, taken)
        for (_, future), take in zip(batch, taken.takes, strict=True):
            if not future.done():
                future.set_result(
                    Answer(
                        take.word,
                        take.hold_id,
                        taken.epoch,
                        taken.tick,
                        taken.stock,
                        taken.available,
                        taken.run_id,
                        gone_back,
                    )
                )

    @staticmethod
    def _gone_back(lane: _Lane, taken: Taken) -> bool:
        """Replies of one connection arrive in the order of execution, so a lower tick is a store thrown back (S1)."""
        if taken.epoch == 0:
            return False
        if taken.epoch < lane.epoch or (taken.epoch == lane.epoch and taken.tick < lane.tick):
            return True
        lane.epoch, lane.tick = taken.epoch, taken.tick
        return False

    async def drain(self) -> None:
        """Wait for the calls under way; for a clean stop."""
        while self._calls:
            await asyncio.wait(self._calls)
