"""Collects the takes of one turn of the event loop into one call per sale (R2).

Owns: the batching on the hot path, from one buyer's ask to one buyer's answer. Keeps: I1 (nothing is sent twice that
may have run), I5 and I6 by the function's own order. One bad ask never sinks its batch.
Read next: `functions/take.lua`, which decides; `store.py`, which has the same for a ready-made batch.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from hiredis import ReplyError

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.calls import Answer, Calls
from doorbuster.adapters.valkey.faults import SENT_AGAIN, as_accident, verdict_of
from doorbuster.adapters.valkey.keys import sale_keys
from doorbuster.adapters.valkey.records import ask_problem, encodable
from doorbuster.adapters.valkey.wire import known_reply, pack
from doorbuster.domain import limits
from doorbuster.engine.ports import Ask, InvariantViolation, OutcomeUnknown, StoreUnavailable, Taken, TakeWord


class TakenOne(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one ask; the numbers are those of its whole batch. With NO_IMAGE they are 0."""

    epoch: int
    available: int
    stock: int
    tick: int
    run_id: str
    word: TakeWord
    hold_id: str


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
        problem = ask_problem(ask)
        if problem is not None:
            raise ValueError(problem)
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
        self.batches += 1
        self.asks += len(waiting)
        try:
            packed = _pack(lane, [ask for ask, _ in waiting])
        except UnicodeEncodeError:
            self._send_encodable(lane, waiting)
            return
        node = self._calls.routes.find(lane.slot)
        if node is None:
            self._carry(lane, waiting)
            return
        self._calls.calls += 1
        try:
            node.mux.send(packed, _Batch(self, lane, waiting, node.run_id))
        except StoreUnavailable as problem:
            self._calls.unavailable += 1
            fail(waiting, problem)

    def _send_encodable(self, lane: _Lane, waiting: Sequence[Waiting]) -> None:
        for ask, future in waiting:
            if not encodable(ask.hold_id, ask.user_id, ask.key, ask.digest):
                future.set_exception(ValueError("an ask contains text that has no UTF-8 form"))
        lane.waiting = list(waiting)
        self._send(lane)

    def carry(self, lane: _Lane, waiting: Sequence[Waiting]) -> None:
        """Send a batch the slow way: after a refusal that calls for a redirection or a reload of the library."""
        self._carry(lane, waiting)

    def _carry(self, lane: _Lane, waiting: Sequence[Waiting]) -> None:
        task = asyncio.get_running_loop().create_task(self._carry_slowly(lane, waiting))
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    async def _carry_slowly(self, lane: _Lane, waiting: Sequence[Waiting]) -> None:
        asks = [ask for ask, _ in waiting]
        arguments = functions.take_arguments(asks, now_ms=lane.now_ms, epoch_min=lane.epoch_min)
        try:
            answer = await self._calls.run(lane.slot, (*functions.head(lane.sale_id, "take"), *arguments))
            taken = functions.read_taken(answer, asks)
        except BaseException as problem:  # whatever it was, nobody is left waiting
            fail(waiting, problem)
            if not isinstance(problem, Exception):
                raise
            return
        settle(waiting, taken)

    def note_failure(self, problem: Exception) -> None:
        if isinstance(problem, OutcomeUnknown):
            self._calls.unknown += 1
        else:
            self._calls.unavailable += 1

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
            settle(
                waiting, functions.read_taken(Answer(known_reply(result), self._run_id), [ask for ask, _ in waiting])
            )
        except InvariantViolation as problem:  # raised here it would hit the connection, not the callers
            fail(waiting, problem)

    def set_exception(self, exception: Exception, /) -> None:
        waiting, self._waiting = self._waiting, ()
        if isinstance(exception, ReplyError):
            verdict = verdict_of(exception)
            if verdict in SENT_AGAIN:
                self._takes.carry(self._lane, waiting)
                return
            exception = as_accident(exception, verdict)
        self._takes.note_failure(exception)
        fail(waiting, exception)


def _pack(lane: _Lane, asks: Sequence[Ask]) -> bytes:
    arguments = functions.take_arguments(asks, now_ms=lane.now_ms, epoch_min=lane.epoch_min)
    return pack((*functions.head(lane.sale_id, "take"), *arguments))


def settle(waiting: Sequence[Waiting], taken: Taken) -> None:
    """Give every ask of the batch its answer."""
    for (_, future), take in zip(waiting, taken.takes, strict=True):
        if not future.done():
            future.set_result(
                TakenOne(taken.epoch, taken.available, taken.stock, taken.tick, taken.run_id, take.word, take.hold_id)
            )


def fail(waiting: Sequence[Waiting], problem: BaseException) -> None:
    for _, future in waiting:
        if future.done():
            continue
        if isinstance(problem, Exception):
            # One exception each: a shared one would collect the tracebacks of everybody who raises it.
            future.set_exception(type(problem)(*problem.args))
        else:
            future.cancel()
