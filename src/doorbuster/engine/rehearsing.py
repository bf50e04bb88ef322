"""Rehearses a sale: a shadow sale on keys and rows of its own, a crowd over real HTTP, a verdict, and nothing left.

Owns: the course of a rehearsal, and what is done about one whose worker died. At most one runs at a time: two would
measure each other. Read next: `domain/rehearsal.py` for the verdict, `rehearsal/process.py` for the crowd,
`rehearsal_step.py` for the sale's day.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import msgspec
import structlog

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import (
    Counted,
    Sheet,
    Wish,
    cast,
    judge,
    shadow_terms,
    wish_problem,
)
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.day_ports import StepFailed
from doorbuster.engine.ports import (
    Actor,
    Clock,
    Ids,
    OutcomeUnknown,
    SaleStore,
    StockStore,
    StoreUnavailable,
)
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.rehearsal_ports import (
    Claimed,
    Crowd,
    CrowdFailed,
    CrowdOrder,
    CrowdSeen,
    Rehearsal,
    RehearsalDesk,
    RehearsalState,
    RehearsalStore,
)
from doorbuster.engine.scaling import Fleet
from doorbuster.engine.timeline_ports import TimelineStore

log = structlog.get_logger(__name__)

_RENEW_S: Final = 1.0
_LOOK_S: Final = 1.0
_ACTOR: Final = Actor(name="rehearsal", reason="a rehearsal is cleared away")


class _NotOurs(Exception):
    pass


class _Ours:
    """A rehearsal while we run it."""

    def __init__(self, rehearsal: Rehearsal, lease: str) -> None:
        self.rehearsal = rehearsal
        self.lease = lease
        self.work: asyncio.Future[Sheet] = asyncio.get_running_loop().create_future()
        self.progress: dict[str, Any] = {}
        self.measured = False
        """The crowd has gone home: nothing is in anybody's way any more."""
        self.hindrance = ""
        self.lost = False


class Rehearsing:
    """What operators ask for. Answers a refusal where it cannot be done."""

    def __init__(self, store: RehearsalDesk, sales: SaleStore, timeline: TimelineStore, ids: Ids) -> None:
        self._store = store
        self._sales = sales
        self._timeline = timeline
        self._ids = ids

    async def multiple(self, sale_id: str) -> float:
        """What the sale's plan says."""
        return (await self._timeline.plan(sale_id)).rehearsal_multiple

    async def ask(self, sale_id: str, wish: Wish, actor: Actor) -> Rehearsal | Refusal:
        problem = wish_problem(wish)
        if problem:
            return Refusal(Code.INVALID_REQUEST, problem)
        return await self._store.ask(self._ids.new_id(), sale_id, wish, actor)

    async def latest(self, sale_id: str) -> Rehearsal | Refusal:
        found = await self._store.latest(sale_id)
        if found is not None:
            return found
        there = await self._sales.get(sale_id)
        return Refusal(Code.NOT_FOUND, "there is no such sale" if there is None else "this sale was never rehearsed")

    async def stop(self, sale_id: str, actor: Actor) -> Rehearsal | Refusal:
        """Wish for the end of the one under way; one that is over stays as it was."""
        await self._store.stop(sale_id, actor)
        return await self.latest(sale_id)


class Rehearser:
    """One per worker. `run_once` takes what was asked for; `url` is where buyers reach the gates."""

    def __init__(
        self,
        *,
        store: RehearsalStore,
        sales: SaleStore,
        stock: StockStore,
        rebuilder: Rebuilder,
        auditing: Auditing,
        fleet: Fleet,
        timeline: TimelineStore,
        crowd: Crowd,
        clock: Clock,
        ids: Ids,
        url: str,
    ) -> None:
        self._store = store
        self._sales = sales
        self._stock = stock
        self._rebuilder = rebuilder
        self._auditing = auditing
        self._fleet = fleet
        self._timeline = timeline
        self._crowd = crowd
        self._clock = clock
        self._ids = ids
        self._url = url
        self._task: asyncio.Task[None] | None = None

    async def run_once(self) -> Mapping[str, int]:
        """Begin what was asked for, and clear away what a dead worker left. How it ends is in the store."""
        if self._task is not None and not self._task.done():
            return {"begun": 0}
        lease = self._ids.new_id()
        claimed = await self._store.claim(lease)
        if claimed is None:
            return {"begun": 0}
        self._task = asyncio.get_running_loop().create_task(self._take(claimed, lease), name="rehearsal")
        return {"begun": 1}

    async def stop(self) -> None:
        """Give up what is under way, and leave nothing of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, claimed: Claimed, lease: str) -> None:
        """The lease is kept to the very end: whoever else got it would clear away what is being measured."""
        ours = _Ours(claimed.rehearsal, lease)
        keeping = asyncio.get_running_loop().create_task(self._keep(ours))
        try:
            words, sheet = await self._outcome(claimed, ours)
            if not ours.lost:
                await _surely(self._end(ours, words, sheet))
        finally:
            keeping.cancel()

    async def _keep(self, ours: _Ours) -> None:
        """Say that we live; end the work if it should not go on, or is not ours any more."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                hindrance = await self._store.renew(ours.rehearsal.rehearsal_id, ours.lease, ours.progress)
            except (StoreUnavailable, OutcomeUnknown):
                continue
            if hindrance is None:
                log.warning("a rehearsal was taken from us", sale_id=ours.rehearsal.sale_id)
                ours.lost = True
                ours.work.cancel()
                return
            if hindrance and not ours.hindrance and not ours.measured:
                ours.hindrance = hindrance
                ours.work.cancel()

    async def _outcome(self, claimed: Claimed, ours: _Ours) -> tuple[str, Sheet | None]:
        """Why there is no verdict, or the verdict. What another worker had found out counts."""
        rehearsal = claimed.rehearsal
        if claimed.crashed:
            found_out = rehearsal.words or rehearsal.sheet is not None
            return rehearsal.words if found_out else "the worker that ran it is gone; rehearse again", rehearsal.sheet
        ours.work = asyncio.get_running_loop().create_task(self._rehearse(claimed, ours))
        try:
            return "", await ours.work
        except asyncio.CancelledError:
            return ours.hindrance or "a worker was stopped in the middle; rehearse again", None
        except (StoreUnavailable, OutcomeUnknown) as problem:
            return f"a store did not answer: {problem}", None
        except (CrowdFailed, StepFailed) as problem:
            return str(problem), None
        except _NotOurs:
            ours.lost = True
            return "", None
        except Exception as problem:
            log.exception("a rehearsal broke", sale_id=rehearsal.sale_id)
            return f"{type(problem).__name__}: {problem}", None

    async def _end(self, ours: _Ours, words: str, sheet: Sheet | None) -> None:
        """Cleared away first: whoever sees that it is over sees nothing of it. What fails here is done again when the
        lease is over, by whom ever; how it ended is kept until then."""
        rehearsal_id, sale_id = ours.rehearsal.rehearsal_id, ours.rehearsal.sale_id
        try:
            await self._store.note(rehearsal_id, ours.lease, words, sheet)
            current = await self._store.get(rehearsal_id) or ours.rehearsal
            if current.shadow_sale_id:
                await self._clear(current.shadow_sale_id)
            state = RehearsalState.DONE if sheet is not None else RehearsalState.STOPPED
            await self._store.finish(rehearsal_id, ours.lease, state, words, sheet)
        except (StoreUnavailable, OutcomeUnknown) as problem:
            log.warning("a rehearsal is not cleared away yet", sale_id=sale_id, problem=str(problem))
            return
        verdict = words if sheet is None else sheet.verdict.value
        log.info("rehearsal", sale_id=sale_id, verdict=verdict, reasons=[] if sheet is None else sheet.reasons)

    async def _clear(self, shadow_id: str) -> None:
        """First at rest; then the rows; then the keys, which nobody writes without rows. Keys that cannot be dropped
        now are a failure: nothing else would ever drop them."""
        await self._lay_to_rest(shadow_id)
        await self._store.remove_shadow(shadow_id)
        await self._stock.drop_image(shadow_id)

    async def _lay_to_rest(self, shadow_id: str) -> None:
        """Gates sell no more of it."""
        await self._sales.move(shadow_id, SaleStatus.ENDED, _ACTOR)

    async def _rehearse(self, claimed: Claimed, ours: _Ours) -> Sheet:
        rehearsal = claimed.rehearsal
        sale = await self._sales.get(rehearsal.sale_id)
        if sale is None:
            raise StepFailed("there is no such sale")
        if not self._url:
            raise StepFailed("DOORBUSTER_PUBLIC_URL is not set for the worker; the crowd does not know where to go")
        expected = (await self._timeline.plan(sale.sale_id)).expected_crowd
        who = cast(sale, rehearsal.wish, expected)
        now = self._clock.now_ms()
        terms, differs = shadow_terms(sale, now_ms=now, seconds=rehearsal.wish.seconds, buyers=who.buyers)
        shadow = await self._store.create_shadow(rehearsal, ours.lease, self._ids.new_id(), terms)
        if shadow is None:
            raise _NotOurs
        log.info("a rehearsal begins", sale_id=sale.sale_id, rehearsal_sale_id=shadow.sale_id, buyers=who.buyers)
        await self._rebuilder.rebuild(shadow, "first image")
        order = CrowdOrder(
            rehearsal_id=rehearsal.rehearsal_id,
            url=self._url,
            sale_id=shadow.sale_id,
            mode=shadow.mode.value,
            who=who,
            secret=claimed.secret,
            seconds=rehearsal.wish.seconds,
            opens_ms=max(0, shadow.start_ms - self._clock.now_ms()),
            seed=int(self._ids.jitter() * 1_000_000),
        )
        found, busiest, gates = await self._watch(order, ours)
        ours.measured = True
        await self._lay_to_rest(shadow.sale_id)
        counted = await self._count(shadow.sale_id, found)
        return judge(shadow, who, found.seen, counted, busiest=busiest, gates=gates, differs=differs)

    async def _watch(self, order: CrowdOrder, ours: _Ours) -> tuple[CrowdSeen, float, int]:
        """The crowd at work, how busy the busiest gate was at the worst, also one that can do no more and is not ready
        for it, and how many there were."""
        busiest = 0.0
        ready: set[str] = set()
        work = asyncio.get_running_loop().create_task(self._crowd.run(order, ours.progress.update))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_LOOK_S)
                gates = await self._fleet.gates()
                ready |= {gate.gate_id for gate in gates if gate.ready}
                busiest = max([busiest, *(gate.busy for gate in gates if gate.gate_id in ready)])
            return work.result(), busiest, len(ready)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _count(self, shadow_id: str, found: CrowdSeen) -> Counted:
        counted = await self._store.count(shadow_id, found.acknowledged)
        report = await self._auditing.audit(shadow_id, _ACTOR)
        audit = report.detail if isinstance(report, Refusal) else report.verdict.value
        return msgspec.structs.replace(counted, audit=audit)


async def _surely(work: Coroutine[Any, Any, None]) -> None:
    """To its end, also if we are cancelled meanwhile."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
