"""Collects the questions of one turn of the event loop into one call per sale: takes, and asks of a line.

Owns: the batching on the hot path, from one buyer's ask to one buyer's answer. Keeps: I1 (nothing is sent twice that
may have run), I5, I6 and I10 by the functions' own order. One bad ask never sinks its batch.
Read next: `takes.py` and `line.py`, which say what is asked; `functions/take.lua`, which decides.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from hiredis import ReplyError

from doorbuster import tracing
from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.calls import Answer, Calls
from doorbuster.adapters.valkey.faults import SENT_AGAIN, as_accident, verdict_of
from doorbuster.adapters.valkey.keys import sale_keys
from doorbuster.adapters.valkey.wire import Part, known_reply, pack
from doorbuster.domain import limits
from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown, StoreUnavailable

A = TypeVar("A")
R = TypeVar("R")


class Lane(Generic[A, R]):
    """The asks of one sale that wait for the end of this turn. `paid` is for asks of a line."""

    __slots__ = ("epoch_min", "now_ms", "paid", "sale_id", "slot", "waiting")

    def __init__(self, sale_id: str) -> None:
        self.sale_id = sale_id
        self.slot = sale_keys(sale_id).slot
        self.waiting: list[tuple[A, asyncio.Future[R]]] = []
        self.epoch_min = 0
        self.now_ms = 0
        self.paid = 0


class Turns(Generic[A, R]):
    """One per store and kind of question. `name` is the function's."""

    name: str

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lanes: dict[str, Lane[A, R]] = {}
        self._slow: set[asyncio.Task[None]] = set()
        self.asks = 0
        self.batches = 0

    @abstractmethod
    def arguments(self, asks: Sequence[A], lane: Lane[A, R]) -> list[Part]:
        """The arguments of a batch. ValueError: something in it cannot be sent."""

    @abstractmethod
    def settle(self, waiting: Sequence[tuple[A, "asyncio.Future[R]"]], answer: Answer) -> None:
        """Give every ask of the batch its answer."""

    def add(self, sale_id: str, ask: A, now_ms: int, epoch_min: int, paid: int = 0) -> "asyncio.Future[R]":
        """Put an ask into the batch of this turn; the highest of the numbers that come with the asks count."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(sale_id)
        if lane is None:
            lane = self._lanes[sale_id] = Lane(sale_id)
            loop.call_soon(self._flush, lane)
        future: asyncio.Future[R] = loop.create_future()
        lane.waiting.append((ask, future))
        lane.epoch_min = max(lane.epoch_min, epoch_min)
        lane.now_ms = max(lane.now_ms, now_ms)
        lane.paid = max(lane.paid, paid)
        if len(lane.waiting) >= limits.TAKE_BATCH_MAX:
            self._send(lane)
        traces = tracing.now()
        if traces is not None:
            traces.follow(f"valkey {self.name}", future)
        return future

    def _flush(self, lane: Lane[A, R]) -> None:
        # A lane lives for one turn, so sales that are over leave nothing behind.
        del self._lanes[lane.sale_id]
        self._send(lane)

    def _send(self, lane: Lane[A, R]) -> None:
        waiting = [entry for entry in lane.waiting if not entry[1].done()]
        lane.waiting = []
        if not waiting:
            return
        arguments = self._arguments(lane, waiting)
        if arguments is None:
            return
        self.batches += 1
        self.asks += len(waiting)
        node = self._calls.routes.find(lane.slot)
        if node is None:
            self.carry(lane, waiting)
            return
        self._calls.calls += 1
        try:
            command = (*functions.head(lane.sale_id, self.name), *arguments)
            node.mux.send(pack(command), _Batch(self, lane, waiting, node.run_id))
        except StoreUnavailable as problem:
            self.fail(waiting, problem)

    def _arguments(self, lane: Lane[A, R], waiting: Sequence[tuple[A, "asyncio.Future[R]"]]) -> list[Part] | None:
        """The arguments of the batch; None if it was sent in two halves because something in it cannot be sent."""
        try:
            return self.arguments([ask for ask, _ in waiting], lane)
        except ValueError as problem:
            if len(waiting) == 1:
                fail(waiting, ValueError(str(problem)))
                return None
        middle = len(waiting) // 2
        for half in (waiting[:middle], waiting[middle:]):
            lane.waiting = list(half)
            self._send(lane)
        return None

    def carry(self, lane: Lane[A, R], waiting: Sequence[tuple[A, "asyncio.Future[R]"]]) -> None:
        """Send a batch the slow way: the topology has to be read, a redirection followed or the library loaded."""
        arguments = self.arguments([ask for ask, _ in waiting], lane)
        task = asyncio.get_running_loop().create_task(self._carry(lane.sale_id, waiting, arguments))
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    async def _carry(
        self, sale_id: str, waiting: Sequence[tuple[A, "asyncio.Future[R]"]], arguments: list[Part]
    ) -> None:
        try:
            answer = await self._calls.run(sale_keys(sale_id).slot, (*functions.head(sale_id, self.name), *arguments))
            self.settle(waiting, answer)
        except BaseException as problem:  # whatever it was, nobody is left waiting
            fail(waiting, problem)
            if not isinstance(problem, Exception):
                raise

    def fail(self, waiting: Sequence[tuple[A, "asyncio.Future[R]"]], problem: Exception) -> None:
        """Tell everybody in the batch, and count it."""
        if isinstance(problem, OutcomeUnknown):
            self._calls.unknown += 1
        else:
            self._calls.unavailable += 1
        fail(waiting, problem)

    async def close(self) -> None:
        for task in self._slow:
            task.cancel()
        await asyncio.gather(*self._slow, return_exceptions=True)


class _Batch(Generic[A, R]):
    """The place a batch has in the line of replies of one connection."""

    __slots__ = ("_lane", "_run_id", "_turns", "_waiting")

    def __init__(
        self,
        turns: Turns[A, R],
        lane: Lane[A, R],
        waiting: Sequence[tuple[A, "asyncio.Future[R]"]],
        run_id: str,
    ) -> None:
        self._turns = turns
        self._lane = lane
        self._waiting = waiting
        self._run_id = run_id

    def done(self) -> bool:
        return not self._waiting

    def set_result(self, result: object, /) -> None:
        waiting, self._waiting = self._waiting, ()
        try:
            self._turns.settle(waiting, Answer(known_reply(result), self._run_id))
        except (InvariantViolation, LookupError, ValueError) as problem:  # raised further it would hit the connection
            fail(waiting, InvariantViolation(f"an answer of valkey cannot be read: {problem!r}"))

    def set_exception(self, exception: Exception, /) -> None:
        waiting, self._waiting = self._waiting, ()
        if isinstance(exception, ReplyError):
            verdict = verdict_of(exception)
            if verdict in SENT_AGAIN:
                self._turns.carry(self._lane, waiting)
                return
            exception = as_accident(exception, verdict)
        self._turns.fail(waiting, exception)


def fail(waiting: Sequence[tuple[A, "asyncio.Future[R]"]], problem: BaseException) -> None:
    """One exception each: a shared one would collect the tracebacks of everybody who raises it."""
    for _, future in waiting:
        if future.done():
            continue
        if isinstance(problem, Exception):
            future.set_exception(type(problem)(*problem.args))
        else:
            future.cancel()
