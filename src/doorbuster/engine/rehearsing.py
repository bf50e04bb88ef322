"""Rehearses a sale: a shadow sale on keys and rows of its own, a crowd over real HTTP, a verdict, and nothing left.

Owns: the course of a rehearsal, and what is done about one whose worker died. At most one runs at a time: two would
measure each other. Read next: `domain/rehearsal.py` for the verdict, `rehearsal/process.py` for the crowd,
`rehearsal_step.py` for the sale's day.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import (
    Cast,
    Sheet,
    Wish,
    cast,
    judge,
    shadow_terms,
    wish_problem,
)
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.day_ports import StepFailed
from doorbuster.engine.ports import (
    Actor,
    Clock,
    Ids,
    OrderStore,
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
_ACTOR: Final = Actor(name="rehearsal", reason="a rehearsal is cleared away")


class _NotOurs(Exception):
    pass


class Rehearsing:
    """What operators ask for. Answers a refusal where it cannot be done."""

    def __init__(self, store: RehearsalDesk, sales: SaleStore, ids: Ids) -> None:
        self._store = store
        self._sales = sales
        self._ids = ids

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

    async def stop(self, sale_id: str) -> Rehearsal | Refusal:
        """Wish for the end of the one under way; one that is over stays as it was."""
        await self._store.stop(sale_id)
        return await self.latest(sale_id)


class Rehearser:
    """One per worker. `run_once` takes what was asked for; `url` is where buyers reach the gates."""

    def __init__(
        self,
        *,
        store: RehearsalStore,
        sales: SaleStore,
        orders: OrderStore,
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
        self._orders = orders
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
        rehearsal = claimed.rehearsal
        words, sheet = "", None
        try:
            if claimed.crashed:
                words = "the worker that ran it is gone; rehearse again"
            else:
                sheet = await self._rehearse(claimed, lease)
        except asyncio.CancelledError:
            words = "a worker was stopped in the middle; rehearse again"
            await asyncio.shield(self._end(rehearsal, lease, words, None))
            raise
        except (StoreUnavailable, OutcomeUnknown) as problem:
            words = f"a store did not answer: {problem}"
        except (CrowdFailed, StepFailed) as problem:
            words = str(problem)
        except _NotOurs:
            return
        except Exception as problem:
            log.exception("a rehearsal broke", sale_id=rehearsal.sale_id)
            words = f"{type(problem).__name__}: {problem}"
        await self._end(rehearsal, lease, words, sheet)

    async def _end(self, rehearsal: Rehearsal, lease: str, words: str, sheet: Sheet | None) -> None:
        """Cleared away first: whoever sees that it is over sees nothing of it. What fails here is done again when the
        lease is over."""
        try:
            current = await self._store.get(rehearsal.rehearsal_id) or rehearsal
            if current.shadow_sale_id:
                await self._clear(current.shadow_sale_id)
            state = RehearsalState.DONE if sheet is not None else RehearsalState.STOPPED
            await self._store.finish(rehearsal.rehearsal_id, lease, state, words, sheet)
        except (StoreUnavailable, OutcomeUnknown) as problem:
            log.warning("a rehearsal is not cleared away yet", sale_id=rehearsal.sale_id, problem=str(problem))
            return
        verdict = words if sheet is None else sheet.verdict.value
        log.info(
            "rehearsal", sale_id=rehearsal.sale_id, verdict=verdict, reasons=[] if sheet is None else sheet.reasons
        )

    async def _clear(self, shadow_id: str) -> None:
        """First at rest; then the rows; then the keys, which nobody writes without rows."""
        await self._lay_to_rest(shadow_id)
        await self._store.remove_shadow(shadow_id)
        with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
            await self._stock.drop_image(shadow_id)

    async def _lay_to_rest(self, shadow_id: str) -> None:
        """Gates sell no more of it, and what is reserved is let go."""
        await self._sales.move(shadow_id, SaleStatus.ENDED, _ACTOR)
        while await self._orders.cancel_all(shadow_id, actor=_ACTOR, limit=limits.EXPIRY_BATCH):
            pass

    async def _rehearse(self, claimed: Claimed, lease: str) -> Sheet:
        rehearsal = claimed.rehearsal
        sale = await self._sales.get(rehearsal.sale_id)
        if sale is None:
            raise StepFailed("there is no such sale")
        if not self._url:
            raise StepFailed("DOORBUSTER_PUBLIC_URL is not set for the worker; the crowd does not know where to go")
        expected = (await self._timeline.plan(sale.sale_id)).expected_crowd
        who = cast(sale, rehearsal.wish, expected)
        now = self._clock.now_ms()
        terms, differs = shadow_terms(sale, now_ms=now, seconds=rehearsal.wish.seconds)
        shadow = await self._store.create_shadow(rehearsal, lease, self._ids.new_id(), terms)
        if shadow is None:
            raise _NotOurs
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
        found, busiest = await self._watch(order, rehearsal, lease)
        return await self._judge(shadow, who, found, busiest, differs)

    async def _watch(self, order: CrowdOrder, rehearsal: Rehearsal, lease: str) -> tuple[CrowdSeen, float]:
        """The crowd at work, and how busy the gates were at the worst."""
        progress: dict[str, Any] = {}
        busiest = 0.0
        work = asyncio.get_running_loop().create_task(self._crowd.run(order, progress.update))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_RENEW_S)
                gates = [gate.busy for gate in await self._fleet.gates() if gate.ready]
                if gates:
                    busiest = max(busiest, sum(gates) / len(gates))
                goes_on = await self._store.renew(rehearsal.rehearsal_id, lease, progress)
                if goes_on is None:
                    raise _NotOurs
                if not goes_on and not work.done():
                    raise StepFailed("an operator stopped it")
            return work.result(), busiest
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _judge(self, shadow: Sale, who: Cast, found: CrowdSeen, busiest: float, differs: list[str]) -> Sheet:
        await self._lay_to_rest(shadow.sale_id)
        counted = await self._store.count(shadow.sale_id, found.acknowledged)
        report = await self._auditing.audit(shadow.sale_id, _ACTOR)
        audit = report.detail if isinstance(report, Refusal) else report.verdict.value
        counted = msgspec.structs.replace(counted, audit=audit)
        return judge(shadow, who, found.seen, counted, busiest=busiest, differs=differs)
