"""Collects the takes of one turn of the event loop into one call per sale (R2).

Owns: the batching on the hot path, from one buyer's ask to one buyer's answer. Keeps: I1 (nothing is sent twice that
may have run), I5 and I6 by the function's own order. One bad ask never sinks its batch.
Read next: `functions/take.lua`, which decides; `store.py`, which has the same for a ready-made batch.
"""

import asyncio
from collections.abc import Sequence

from hiredis import ReplyError

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.calls import Answer, Calls
from doorbuster.adapters.valkey.faults import SENT_AGAIN, as_accident, verdict_of
from doorbuster.adapters.valkey.keys import sale_keys
from doorbuster.adapters.valkey.wire import Part, known_reply, pack
from doorbuster.domain import limits
from doorbuster.engine.ports import Ask, InvariantViolation, OutcomeUnknown, StoreUnavailable, TakenOne

Waiting = tuple[Ask, asyncio.Future[TakenOne]]


class _Lane:
    """The asks of one sale that wait for the end of this turn."""

    __slots__ = ("epoch_min", "now_ms", "sale_id", "slot", "waiting")

    def __init__(self, sale_id: str) -> None:
        self.sale_id = sale_id
        self.slot = sale_keys(sale_id).slot
        self.waiting: list[Waiting] = []
        self.epoch_min = 0
        self.now_ms = 0


class Takes:
    """One per store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lanes: dict[str, _Lane] = {}
        self._slow: set[asyncio.Task[None]] = set()
        self.asks = 0
        self.batches = 0

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> asyncio.Future[TakenOne]:
        """See `ValkeyStockStore.take_one`."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(sale_id)
        if lane is None:
            lane = self._lanes[sale_id] = _Lane(sale_id)
            loop.call_soon(self._flush, lane)
        future: asyncio.Future[TakenOne] = loop.create_future()
        lane.waiting.append((ask, future))
        lane.epoch_min = max(lane.epoch_min, epoch_min)
        lane.now_ms = max(lane.now_ms, now_ms)
        if len(lane.waiting) >= limits.TAKE_BATCH_MAX:
            self._send(lane)
        return future

    def _flush(self, lane: _Lane) -> None:
        # A lane lives for one turn, so sales that are over leave nothing behind.
        del self._lanes[lane.sale_id]
        self._send(lane)

    def _send(self, lane: _Lane) -> None:
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
            command = (*functions.head(lane.sale_id, "take"), *arguments)
            node.mux.send(pack(command), _Batch(self, lane, waiting, node.run_id))
        except StoreUnavailable as problem:
            self.fail(waiting, problem)

    def _arguments(self, lane: _Lane, waiting: Sequence[Waiting]) -> list[Part] | None:
        """The arguments of the batch; None if it was sent in two halves because something in it cannot be sent."""
        try:
            return functions.take_arguments([ask for ask, _ in waiting], now_ms=lane.now_ms, epoch_min=lane.epoch_min)
        except ValueError as problem:
            if len(waiting) == 1:
                fail(waiting, ValueError(str(problem)))
                return None
        middle = len(waiting) // 2
        for half in (waiting[:middle], waiting[middle:]):
            lane.waiting = list(half)
            self._send(lane)
        return None

    def carry(self, lane: _Lane, waiting: Sequence[Waiting]) -> None:
        """Send a batch the slow way: the topology has to be read, a redirection followed or the library loaded."""
        work = self._carry(lane.sale_id, waiting, now_ms=lane.now_ms, epoch_min=lane.epoch_min)
        task = asyncio.get_running_loop().create_task(work)
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    async def _carry(self, sale_id: str, waiting: Sequence[Waiting], *, now_ms: int, epoch_min: int) -> None:
        arguments = functions.take_arguments([ask for ask, _ in waiting], now_ms=now_ms, epoch_min=epoch_min)
        try:
            answer = await self._calls.run(sale_keys(sale_id).slot, (*functions.head(sale_id, "take"), *arguments))
            settle(waiting, answer)
        except BaseException as problem:  # whatever it was, nobody is left waiting
            fail(waiting, problem)
            if not isinstance(problem, Exception):
                raise

    def fail(self, waiting: Sequence[Waiting], problem: Exception) -> None:
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


class _Batch:
    """The place a batch has in the line of replies of one connection."""

    __slots__ = ("_lane", "_run_id", "_takes", "_waiting")

    def __init__(self, takes: Takes, lane: _Lane, waiting: Sequence[Waiting], run_id: str) -> None:
        self._takes = takes
        self._lane = lane
        self._waiting = waiting
        self._run_id = run_id

    def done(self) -> bool:
        return not self._waiting

    def set_result(self, result: object, /) -> None:
        waiting, self._waiting = self._waiting, ()
        try:
            settle(waiting, Answer(known_reply(result), self._run_id))
        except InvariantViolation as problem:  # raised further it would hit the connection, not the callers
            fail(waiting, problem)

    def set_exception(self, exception: Exception, /) -> None:
        waiting, self._waiting = self._waiting, ()
        if isinstance(exception, ReplyError):
            verdict = verdict_of(exception)
            if verdict in SENT_AGAIN:
                self._takes.carry(self._lane, waiting)
                return
            exception = as_accident(exception, verdict)
        self._takes.fail(waiting, exception)


def settle(waiting: Sequence[Waiting], answer: Answer) -> None:
    """Give every ask of the batch its answer. Losers with the same word share one."""
    decided = functions.read_decided(answer, len(waiting))
    numbers = (decided.epoch, decided.available, decided.stock, decided.tick, answer.run_id)
    if decided.word is not None:
        same = TakenOne(*numbers, decided.word, "")
        for _, future in waiting:
            if not future.done():
                future.set_result(same)
        return
    shared = {part: TakenOne(*numbers, word, "") for part, word in functions.LOSING_WORDS.items()}
    for (ask, future), part in zip(waiting, decided.parts, strict=True):
        taken = shared.get(part) or TakenOne(*numbers, *functions.read_word(part, ask.hold_id))
        if not future.done():
            future.set_result(taken)


def fail(waiting: Sequence[Waiting], problem: BaseException) -> None:
    for _, future in waiting:
        if future.done():
            continue
        if isinstance(problem, Exception):
            # One exception each: a shared one would collect the tracebacks of everybody who raises it.
            future.set_exception(type(problem)(*problem.args))
        else:
            future.cancel()
