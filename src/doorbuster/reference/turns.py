"""Decides the asks of one turn of the event loop in one batch per sale, as the port of the stock store says.

Owns: the batching of `take_one`. One bad ask never sinks its batch. Read next: `ports.StockStore.take_one`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from doorbuster.domain import limits
from doorbuster.engine.ports import Ask, Taken, TakenOne

_Waiting = tuple[Ask, asyncio.Future[TakenOne]]


class Turns:
    """One per store. `take` decides a batch."""

    def __init__(self, take: Callable[..., Awaitable[Taken]]) -> None:
        self._take = take
        self._waiting: dict[str, list[_Waiting]] = {}
        self._now_ms: dict[str, int] = {}
        self._epoch_min: dict[str, int] = {}
        self._flushes: set[asyncio.Task[None]] = set()

    def __deepcopy__(self, memo: object) -> Self:
        return self  # those who wait do not belong to the data of a server

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> asyncio.Future[TakenOne]:
        loop = asyncio.get_running_loop()
        if sale_id not in self._waiting:
            self._waiting[sale_id] = []
            loop.call_soon(self._flush, sale_id)
        future: asyncio.Future[TakenOne] = loop.create_future()
        self._waiting[sale_id].append((ask, future))
        self._now_ms[sale_id] = max(self._now_ms.get(sale_id, 0), now_ms)
        self._epoch_min[sale_id] = max(self._epoch_min.get(sale_id, 0), epoch_min)
        return future

    def _flush(self, sale_id: str) -> None:
        waiting = self._waiting.pop(sale_id)
        decide = self._decide(sale_id, waiting, self._now_ms.pop(sale_id), self._epoch_min.pop(sale_id))
        task = asyncio.get_running_loop().create_task(decide)
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _decide(self, sale_id: str, waiting: Sequence[_Waiting], now_ms: int, epoch_min: int) -> None:
        for start in range(0, len(waiting), limits.TAKE_BATCH_MAX):
            # Whoever has gone takes nothing.
            batch = [entry for entry in waiting[start : start + limits.TAKE_BATCH_MAX] if not entry[1].done()]
            try:
                taken = await self._take(sale_id, [ask for ask, _ in batch], now_ms=now_ms, epoch_min=epoch_min)
            except ValueError as problem:
                if len(batch) == 1:
                    batch[0][1].set_exception(problem)
                    continue
                for entry in batch:
                    await self._decide(sale_id, [entry], now_ms, epoch_min)
                continue
            numbers = (taken.epoch, taken.available, taken.stock, taken.tick, taken.run_id)
            for (_, future), take in zip(batch, taken.takes, strict=True):
                if not future.done():
                    future.set_result(TakenOne(*numbers, take.word, take.hold_id))
