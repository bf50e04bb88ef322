"""Gathers single questions into batches: whatever came while the batch before was out goes together.

Owns: the pace of a batch, which sets itself. For reads and idempotent writes only: a batch that fails fails for
everybody in it, and each repeats. Orders have a committer of their own (`committing.py`), which may not fail like that.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from doorbuster.engine.ports import StoreUnavailable

A = TypeVar("A")
R = TypeVar("R")


class _Lane(Generic[A, R]):
    __slots__ = ("task", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self.task: asyncio.Task[None] | None = None


class Gathering(Generic[A, R]):
    """`send` is given a sale's id and at most `batch_max` items, and answers them in their order."""

    def __init__(
        self, send: Callable[[str, Sequence[A]], Awaitable[Sequence[R]]], *, batch_max: int, waiting_max: int
    ) -> None:
        self._send = send
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._lanes: dict[str, _Lane[A, R]] = {}

    async def ask(self, sale_id: str, item: A) -> R:
        """The answer to this item. StoreUnavailable at once if too many wait; else what `send` raises. May be
        cancelled at any time; what was sent goes on."""
        lane = self._lanes.get(sale_id)
        if lane is None:
            lane = self._lanes[sale_id] = _Lane()
        if len(lane.waiting) >= self._waiting_max:
            raise StoreUnavailable("too many questions wait for the ledger")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        lane.waiting.append((item, future))
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._run(sale_id, lane))
        return await future

    async def _run(self, sale_id: str, lane: _Lane[A, R]) -> None:
        try:
            while lane.waiting:
                await asyncio.sleep(0)  # those of one turn of the loop go together
                batch = [lane.waiting.popleft() for _ in range(min(len(lane.waiting), self._batch_max))]
                batch = [entry for entry in batch if not entry[1].done()]
                if batch:
                    await self._carry(sale_id, batch)
        finally:
            # A lane lives as long as somebody waits in it, so sales that are over leave nothing behind.
            if lane.waiting:
                lane.task = asyncio.get_running_loop().create_task(self._run(sale_id, lane))
            else:
                self._lanes.pop(sale_id, None)

    async def _carry(self, sale_id: str, batch: Sequence[tuple[A, "asyncio.Future[R]"]]) -> None:
        try:
            answers = await self._send(sale_id, [item for item, _ in batch])
        except BaseException as problem:  # whatever it was, nobody is left waiting
            for _, future in batch:
                if not future.done():
                    future.set_exception(_copy(problem) if isinstance(problem, Exception) else StoreUnavailable())
            if not isinstance(problem, Exception):
                raise
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _copy(problem: Exception) -> Exception:
    """One exception each: a shared one would collect the tracebacks of everybody who raises it."""
    return type(problem)(*problem.args)
