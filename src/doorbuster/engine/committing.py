"""Makes orders of holds, many in one transaction (R3 to R6).

Owns: the bounded queue of a gate, one transaction under way per sale, the repeat of a commit whose outcome is unknown.
Keeps: I4 (a caller is answered only after the commit), I12 (a batch has one epoch).
A batch is whatever gathered while the one before was committing: the pace sets itself, nothing lingers.
A caller that gives up cancels nothing here. Read next: `selling.py`.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.engine.ports import (
    Clock,
    CommitBatch,
    Committed,
    CommitWord,
    Ids,
    InvariantViolation,
    OrderStore,
    OutcomeUnknown,
    Release,
    StockStore,
    StoreUnavailable,
)

_BACKOFF_FIRST_S = 0.02
_BACKOFF_MAX_S = 0.5
_WATCH_INTERVAL_S = 0.1


class CommitterStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the committer. Counts are since the start of the process."""

    queued: int
    in_flight: int
    batches: int
    holds: int
    shed: int
    unknown: int
    given_up: int


class _Entry:
    """A hold on its way to become an order, and everyone who waits for it."""

    __slots__ = ("deadline", "epoch", "futures", "hold", "sent", "tick")

    def __init__(self, hold: Hold, epoch: int, tick: int, deadline: float) -> None:
        self.hold = hold
        self.epoch = epoch
        self.tick = tick
        self.deadline = deadline
        self.futures: list[asyncio.Future[Committed]] = []
        self.sent = False  # a commit with this hold may have happened without our knowing


class _Lane:
    __slots__ = ("entries", "flight", "queue", "sale_id", "task")

    def __init__(self, sale_id: str) -> None:
        self.sale_id = sale_id
        self.queue: deque[_Entry] = deque()
        self.flight: list[_Entry] = []
        self.entries: dict[str, _Entry] = {}
        self.task: asyncio.Task[None] | None = None


class Committer:
    """One per gate. `start` before use, `stop` to finish what is queued."""

    def __init__(self, orders: OrderStore, stock: StockStore, clock: Clock, ids: Ids) -> None:
        self._orders = orders
        self._stock = stock
        self._clock = clock
        self._ids = ids
        self._lanes: dict[str, _Lane] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._waiting = 0
        self._batches = self._holds = self._shed = self._unknown = self._given_up = 0

    def start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Finish what is queued, each hold within its deadline, then stop."""
        while any(lane.task is not None for lane in self._lanes.values()):
            await asyncio.wait([lane.task for lane in self._lanes.values() if lane.task is not None], timeout=0.2)
        while self._background:
            await asyncio.wait(self._background)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    def submit(self, sale_id: str, hold: Hold, *, epoch: int, tick: int) -> asyncio.Future[Committed] | None:
        """Queue a hold; the answer comes after the commit. None if the queue is full: the hold is for the caller to
        give back. The future fails with StoreUnavailable (not committed, given back) or OutcomeUnknown (deadline met
        while a commit was out). The same hold submitted twice is committed once and both are told."""
        lane = self._lanes.get(sale_id)
        if lane is None:
            lane = self._lanes[sale_id] = _Lane(sale_id)
        entry = lane.entries.get(hold.hold_id)
        if entry is None:
            if self._waiting >= limits.COMMIT_QUEUE_MAX:
                self._shed += 1
                return None
            entry = _Entry(hold, epoch, tick, self._clock.monotonic() + limits.COMMIT_DEADLINE_MS / 1000)
            lane.entries[hold.hold_id] = entry
            lane.queue.append(entry)
            self._waiting += 1
            if lane.task is None:
                lane.task = asyncio.get_running_loop().create_task(self._run(lane))
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        entry.futures.append(future)
        return future

    def statistics(self) -> CommitterStatistics:
        return CommitterStatistics(
            queued=sum(len(lane.queue) for lane in self._lanes.values()),
            in_flight=sum(len(lane.flight) for lane in self._lanes.values()),
            batches=self._batches,
            holds=self._holds,
            shed=self._shed,
            unknown=self._unknown,
            given_up=self._given_up,
        )

    async def _run(self, lane: _Lane) -> None:
        try:
            while lane.queue:
                # One turn of the loop lets the replies that came together be committed together.
                await asyncio.sleep(0)
                lane.flight = self._next_batch(lane)
                await self._commit_flight(lane)
                lane.flight = []
        finally:
            lane.flight = []
            lane.task = asyncio.get_running_loop().create_task(self._run(lane)) if lane.queue else None

    @staticmethod
    def _next_batch(lane: _Lane) -> list[_Entry]:
        batch = [lane.queue.popleft()]
        while lane.queue and len(batch) < limits.COMMIT_BATCH_MAX and lane.queue[0].epoch == batch[0].epoch:
            batch.append(lane.queue.popleft())
        return batch

    async def _commit_flight(self, lane: _Lane) -> None:
        """Repeat one batch until it has a definite answer or nobody waits for it any more (R6).

        The repeat carries the same ids. The ledger makes no second order of them and writes in any case, so an
        answer to the repeat is as durable as the commit that was lost.
        """
        backoff = _BACKOFF_FIRST_S
        while lane.flight:
            batch = CommitBatch(
                sale_id=lane.sale_id,
                epoch=lane.flight[0].epoch,
                tick=max(entry.tick for entry in lane.flight),
                holds=[entry.hold for entry in lane.flight],
            )
            sent = lane.flight
            try:
                answers = await self._orders.commit(batch)  # never under a time-out or a cancellation
            except OutcomeUnknown:
                self._unknown += 1
                for entry in sent:
                    entry.sent = True
            except StoreUnavailable:
                pass
            except InvariantViolation as problem:
                # Repeating it would end the same way. What is pending is settled by the orphan sweep.
                self._refuse_flight(lane, sent, problem)
                raise
            else:
                self._settle(lane, sent, answers)
                return
            await asyncio.sleep(backoff * (1 + self._ids.jitter()))
            backoff = min(backoff * 2, _BACKOFF_MAX_S)
            self._give_up_overdue(lane)

    def _settle(self, lane: _Lane, sent: Sequence[_Entry], answers: Sequence[Committed]) -> None:
        self._batches += 1
        self._holds += len(sent)
        confirmed: list[str] = []
        for entry, answer in zip(sent, answers, strict=True):
            if answer.word is CommitWord.COMMITTED:
                confirmed.append(entry.hold.hold_id)
            self._forget(lane, entry)
            for future in entry.futures:
                if not future.done():
                    future.set_result(answer)
        if confirmed:
            self._spawn(self._confirm(lane.sale_id, confirmed, sent[0].epoch))

    def _refuse_flight(self, lane: _Lane, sent: Sequence[_Entry], problem: Exception) -> None:
        for entry in sent:
            self._forget(lane, entry)
            _fail(entry.futures, OutcomeUnknown(f"the ledger refused the whole batch: {problem}"))

    async def _confirm(self, sale_id: str, hold_ids: list[str], epoch: int) -> None:
        try:
            await self._stock.confirm(sale_id, hold_ids, epoch=epoch)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the orphan sweep confirms what stays pending

    async def _give_back(self, sale_id: str, holds: Sequence[Hold], epoch: int) -> None:
        releases = [Release(hold_id=hold.hold_id, user_id=hold.user_id, forget_key=True) for hold in holds]
        try:
            await self._stock.release(sale_id, releases, epoch=epoch)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the orphan sweep gives back what stays pending

    def _forget(self, lane: _Lane, entry: _Entry) -> None:
        if lane.entries.pop(entry.hold.hold_id, None) is not None:
            self._waiting -= 1

    def _give_up_overdue(self, lane: _Lane) -> None:
        """Answer everyone whose deadline is over. A hold that was never in a commit is given back at once; one that
        may be committed is left to the orphan sweep, which asks the ledger first (R7)."""
        now = self._clock.monotonic()
        overdue = [entry for entry in lane.flight if entry.deadline <= now]
        lane.flight = [entry for entry in lane.flight if entry.deadline > now]
        while lane.queue and lane.queue[0].deadline <= now:
            overdue.append(lane.queue.popleft())
        self._give_up(lane, overdue)

    def _give_up(self, lane: _Lane, overdue: Sequence[_Entry]) -> None:
        self._given_up += len(overdue)
        for entry in overdue:
            self._forget(lane, entry)
            problem = OutcomeUnknown("commit deadline") if entry.sent else StoreUnavailable("commit deadline")
            _fail(entry.futures, problem)
        never_sent: dict[int, list[Hold]] = {}
        for entry in overdue:
            if not entry.sent:
                never_sent.setdefault(entry.epoch, []).append(entry.hold)
        for epoch, holds in never_sent.items():
            self._spawn(self._give_back(lane.sale_id, holds, epoch))

    async def _watch(self) -> None:
        """Answers those whose commit hangs: the commit itself goes on, only the waiting ends."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            now = self._clock.monotonic()
            for lane in self._lanes.values():
                late: list[_Entry] = []
                while lane.queue and lane.queue[0].deadline <= now:
                    late.append(lane.queue.popleft())
                self._give_up(lane, late)
                for entry in lane.flight:
                    if entry.deadline <= now and entry.futures:
                        _fail(entry.futures, OutcomeUnknown("the commit has not been answered in time"))
                        entry.futures.clear()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _fail(futures: Sequence[asyncio.Future[Committed]], problem: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(problem)
