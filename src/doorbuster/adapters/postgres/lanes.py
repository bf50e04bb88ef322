"""Calls that come together travel together: many in one transaction, one transaction at a time.

Owns: what is in a batch. Read next: `payments.py`.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from doorbuster.engine.ports import StoreUnavailable

_BATCH_MAX: Final = 200
"""Attempts in one transaction: it holds the sale's row for a few milliseconds, between the commits of orders."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Lane(Generic[_Item, _Result]):
    """Calls of one kind, many in one transaction, one transaction at a time. Items about the same subject never
    travel together: the later one sees what the earlier one did."""

    def __init__(
        self,
        call: Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]],
        subject: Callable[[_Item], str],
        waiting_max: int = sys.maxsize,
    ) -> None:
        self._call = call
        self._subject = subject
        self._waiting_max = waiting_max
        self._queue: deque[tuple[_Item, asyncio.Future[_Result]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Result:
        """StoreUnavailable at once if too many wait."""
        if len(self._queue) >= self._waiting_max:
            raise StoreUnavailable("too many wait for the ledger")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        self._queue.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._queue:
                await self._answer(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> list[tuple[_Item, asyncio.Future[_Result]]]:
        batch: dict[str, tuple[_Item, asyncio.Future[_Result]]] = {}
        again: list[tuple[_Item, asyncio.Future[_Result]]] = []
        while self._queue and len(batch) + len(again) < 2 * _BATCH_MAX and len(batch) < _BATCH_MAX:
            entry = self._queue.popleft()
            subject = self._subject(entry[0])
            if subject in batch:
                again.append(entry)
            else:
                batch[subject] = entry
        self._queue.extendleft(reversed(again))  # each before what came after it
        return list(batch.values())

    async def _answer(self, batch: Sequence[tuple[_Item, asyncio.Future[_Result]]]) -> None:
        try:
            results = await self._call([item for item, _ in batch])
        except BaseException as problem:  # every waiting caller is told, whatever it was
            for _, future in batch:
                if not future.done():
                    future.set_exception(problem if isinstance(problem, Exception) else asyncio.CancelledError())
            if not isinstance(problem, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
