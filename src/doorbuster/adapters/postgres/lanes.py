"""Calls that come together travel together: many in one transaction, one transaction at a time.

Owns: what is in a batch. Read next: `payments.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

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
    ) -> None:
        self._call = call
        self._subject = subject
        self._queue: list[tuple[_Item, asyncio.Future[_Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Result:
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
        later: list[tuple[_Item, asyncio.Future[_Result]]] = []
        for entry in self._queue:
            subject = self._subject(entry[0])
            if len(batch) == _BATCH_MAX or subject in batch:
                later.append(entry)
            else:
                batch[subject] = entry
        self._queue = later
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
