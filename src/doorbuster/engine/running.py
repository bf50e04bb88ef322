"""Runs the steps of a sale's day, each in a task of its own, and records what came of them.

Owns: leases, time limits, what a failure means, and who hears of it. A worker that dies leaves a lease that ends; a
worker that was slow is refused when it reports. Keeps: I16. Read next: `day_steps.py`, which has most of the steps.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from doorbuster.domain import timeline
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import STEPS, StepName, StepRow, StepState
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.day_ports import Asked, Detail, NotYet, Step, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, SaleStore, StoreUnavailable
from doorbuster.engine.step_alarms import page_of
from doorbuster.engine.timeline_ports import Outcome, TimelineStore

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""Steps one worker has under way: most wait for a network, none computes."""
_WORDS_MAX: Final = 500
_WAITS_MS: Final = 300_000
"""What belongs before the start and still waits after this long is shown as failed."""


class DayRunner:
    """`wake` is called when a step has ended: the next may be due."""

    def __init__(
        self,
        *,
        store: TimelineStore,
        sales: SaleStore,
        steps: Mapping[StepName, Step],
        clock: Clock,
        ids: Ids,
        on_call: OnCall,
        wake: Callable[[], None] = lambda: None,
        renew_s: float = timeline.LEASE_MS / 3000,
    ) -> None:
        self._store = store
        self._sales = sales
        self._steps = steps
        self._clock = clock
        self._ids = ids
        self._on_call = on_call
        self._wake = wake
        self._renew_s = renew_s
        self._under_way: set[asyncio.Task[None]] = set()

    async def run_once(self) -> Mapping[str, int]:
        """Take what is due. Counts the steps begun; how they end is in the store."""
        begun = 0
        while len(self._under_way) < AT_ONCE:
            rows = await self._store.claim(self._ids.new_id(), limit=1)
            if not rows:
                break
            begun += 1
            task = asyncio.get_running_loop().create_task(self._run(rows[0]), name=f"step {rows[0].step}")
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        return {"begun": begun}

    async def drain(self) -> None:
        """Wait for the steps that are under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def stop(self) -> None:
        """Give up what is under way: another worker goes on with it at once."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.warning("a step was not recorded; it is done again when its lease is over", problem=repr(problem))
        self._wake()

    async def _run(self, row: StepRow) -> None:
        sale = await self._sales.get(row.sale_id)
        if sale is None:
            return
        keeping = asyncio.get_running_loop().create_task(self._keep(row, asyncio.current_task()))
        try:
            outcome = await self._outcome(row, sale)
        except asyncio.CancelledError:
            stopped = Outcome(state=StepState.DUE, words="a worker was stopped in the middle", wait_ms=0, counts=False)
            with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
                await asyncio.shield(self._store.finish(row, stopped))
            raise
        finally:
            keeping.cancel()
        taken = await self._finish(row, sale, outcome)
        say = log.warning if outcome.state is StepState.FAILED else log.info
        if taken and outcome.state is not StepState.DUE:
            say("step", sale_id=row.sale_id, step=row.step.value, state=outcome.state.value, words=outcome.words)
        page = page_of(sale, row, outcome) if taken else None
        if page is not None:
            await self._on_call.call(page)

    async def _finish(self, row: StepRow, sale: Sale, outcome: Outcome) -> bool:
        """A result that cannot be stored is a failure that can: else the step would be done again for ever."""
        try:
            return await self._store.finish(row, outcome)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except Exception as problem:
            log.exception("a step's result cannot be stored", sale_id=row.sale_id, step=row.step.value)
            words = f"its result cannot be stored: {type(problem).__name__}"
            return await self._store.finish(row, self._failed(row, sale, words, {}))

    async def _keep(self, row: StepRow, task: "asyncio.Task[None] | None") -> None:
        """Say that we live; stop the step if it is not ours any more."""
        while True:
            await asyncio.sleep(self._renew_s)
            try:
                if not await self._store.renew(row) and task is not None:
                    log.warning("a step was taken from us", sale_id=row.sale_id, step=row.step.value)
                    task.cancel()
                    return
            except (StoreUnavailable, OutcomeUnknown):
                continue

    async def _outcome(self, row: StepRow, sale: Sale) -> Outcome:
        now = self._clock.now_ms()
        if sale.status in SALE_OVER and row.step in timeline.BEFORE_START and not row.forced:
            return Outcome(state=StepState.SKIPPED, words="the sale is over")
        if row.attempts > STEPS[row.step].tries:
            return Outcome(state=StepState.FAILED, words=f"{row.attempts - 1} attempts, and no worker lived to report")
        try:
            plan = await self._store.plan(sale.sale_id)
            asked = Asked(sale=sale, plan=plan, now_ms=now, attempt=row.attempts, forced=row.forced)
            async with asyncio.timeout(STEPS[row.step].limit_s):
                detail = await self._steps.get(row.step, _nobody)(asked)
        except StepSkipped as why:
            return Outcome(state=StepState.SKIPPED, words=_short(str(why)))
        except NotYet as why:
            wait = STEPS[row.step].pause_ms
            late = row.step in timeline.BEFORE_START and now > max(row.due_ms, sale.created_ms) + _WAITS_MS
            state = StepState.FAILED if late else StepState.DUE  # asked again all the same
            return Outcome(state=state, words=_short(str(why)), detail=why.detail, wait_ms=wait, counts=False)
        except StepFailed as why:
            failed = self._failed(row, sale, _short(str(why)), why.detail)
            return msgspec.structs.replace(failed, told=why.told)
        except TimeoutError:
            return self._failed(row, sale, f"it was not done after {STEPS[row.step].limit_s:g} seconds", {})
        except (StoreUnavailable, OutcomeUnknown) as problem:
            return self._failed(row, sale, _short(f"a store does not answer: {problem}"), {})
        except Exception as problem:
            log.exception("a step broke; it is tried again", sale_id=row.sale_id, step=row.step.value)
            return self._failed(row, sale, _short(f"{type(problem).__name__}: {problem}"), {})
        return Outcome(state=StepState.DONE, detail=detail)

    def _failed(self, row: StepRow, sale: Sale, words: str, detail: Mapping[str, object]) -> Outcome:
        started = self._clock.now_ms() >= sale.start_ms
        wait = timeline.pause_before(row.step, row.attempts, started=started)
        return Outcome(state=StepState.FAILED, words=words, detail=detail, wait_ms=wait)


async def _nobody(asked: Asked) -> Detail:
    """A step that this release has no hands for."""
    del asked
    raise StepSkipped("this release does not do it")


def _short(words: str) -> str:
    return " ".join(words.split())[:_WORDS_MAX]
