"""The steps of a sale's day: when each is due, how often it is tried, what moving the sale does to it.

Owns: the table of steps and the rules of re-planning; `0009_timeline.sql` says the same in SQL, and one suite holds
both to it. T-0 itself needs none of this: a sale is open because the clock says so. Read next: `engine/running.py`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SALE_OVER, SaleStatus

_MINUTE: Final = 60_000
ORDER_PATIENCE_MS: Final = 30_000
"""How long a step may hold up the next one of its sale; after that they run side by side."""
HOLDS_UP_TRIES: Final = 3
"""Attempts for which a step may hold up others: one that no worker survives does not stop the day."""
LEASE_MS: Final = 30_000
"""A step whose worker has not been heard of for this long is taken over by another."""
LEFT_OUT: Final = "skipped by "
"""So begin the words of a step that an operator left out."""


class StepName(StrEnum):
    """In the order in which those due at one time are done."""

    WARM_UP = "warm-up"
    NOTIFY_1H = "notify-1h"
    SCALE_UP = "scale-up"
    CDN_PREWARM = "cdn-prewarm"
    REHEARSAL = "rehearsal"
    WAITLIST_OPEN = "waitlist-open"
    NOTIFY_5M = "notify-5m"
    SCALE_CHECK = "scale-check"
    START = "start"
    END = "end"
    SETTLE = "settle"
    FINAL_AUDIT = "final-audit"
    REPORT = "report"


class StepState(StrEnum):
    """`failed` with a next time is tried again; without one it was given up, and an operator may run it."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepRule(msgspec.Struct, frozen=True, kw_only=True):
    """`from_end`: due relative to the end of the sale, not to its start. `tries` counts attempts in all."""

    offset_ms: int
    from_end: bool = False
    tries: int = 5
    pause_ms: int = 5_000
    """Before the second attempt; doubled with each further one up to `pause_ms_max`."""
    pause_ms_max: int = 60_000
    limit_s: float = 60.0
    """A single attempt takes no longer."""


_LONG: Final = 10_000
"""Tries of a step that is asked until it succeeds."""
_PEOPLE_S: Final = 300.0
"""A notice for each of a million people is written in one."""

STEPS: Final[Mapping[StepName, StepRule]] = {
    StepName.WARM_UP: StepRule(offset_ms=-60 * _MINUTE, tries=_LONG, pause_ms=1_000),
    StepName.NOTIFY_1H: StepRule(offset_ms=-60 * _MINUTE, limit_s=_PEOPLE_S),
    StepName.SCALE_UP: StepRule(offset_ms=-60 * _MINUTE, tries=_LONG, limit_s=120.0),
    StepName.CDN_PREWARM: StepRule(offset_ms=-60 * _MINUTE, limit_s=300.0),
    StepName.REHEARSAL: StepRule(offset_ms=-30 * _MINUTE, tries=2, limit_s=420.0),
    StepName.WAITLIST_OPEN: StepRule(offset_ms=-5 * _MINUTE),
    StepName.NOTIFY_5M: StepRule(offset_ms=-5 * _MINUTE, limit_s=_PEOPLE_S),
    StepName.SCALE_CHECK: StepRule(offset_ms=-2 * _MINUTE, tries=_LONG, pause_ms=10_000, pause_ms_max=10_000),
    StepName.START: StepRule(offset_ms=0, tries=_LONG, pause_ms=1_000, pause_ms_max=5_000),
    StepName.END: StepRule(offset_ms=0, from_end=True, tries=_LONG, pause_ms=1_000, pause_ms_max=5_000),
    StepName.SETTLE: StepRule(offset_ms=0, from_end=True, tries=_LONG, limit_s=_PEOPLE_S),
    StepName.FINAL_AUDIT: StepRule(offset_ms=0, from_end=True, tries=60),
    StepName.REPORT: StepRule(offset_ms=0, from_end=True, tries=60),
}
ORDINAL: Final[Mapping[StepName, int]] = {step: number for number, step in enumerate(STEPS, 1)}
BEFORE_START: Final = frozenset(step for step, rule in STEPS.items() if rule.offset_ms < 0)
"""Steps that make no sense once the sale is over."""
OF_THE_PLAN: Final = frozenset({StepName.SCALE_UP, StepName.CDN_PREWARM, StepName.REHEARSAL})
"""Steps that a plan brings back if they were skipped for want of it."""


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a sale as stored. `next_ms` is when a worker may take it: None once nothing is left to do."""

    sale_id: str
    step: StepName
    due_ms: int
    state: StepState = StepState.DUE
    attempts: int = 0
    next_ms: int | None
    started_ms: int | None = None
    finished_ms: int | None = None
    words: str = ""
    """Why it failed, waits or was skipped."""
    detail: Mapping[str, Any] = {}
    forced: bool = False
    lease: str = ""

    @property
    def over(self) -> bool:
        return self.next_ms is None

    @property
    def left_out(self) -> bool:
        """By an operator: moving the sale or planning it again does not undo that."""
        return self.state is StepState.SKIPPED and self.words.startswith(LEFT_OUT)


def due_ms(step: StepName, sale: Sale) -> int:
    """When a step of this sale is due. A sale that was ended early ends when that was done; what follows the end waits
    for the last hold (its time to pay, and what open payments may add)."""
    rule = STEPS[step]
    if not rule.from_end:
        return sale.start_ms + rule.offset_ms
    ended = min(sale.end_ms, sale.updated_ms) if sale.status in SALE_OVER else sale.end_ms
    if step in (StepName.FINAL_AUDIT, StepName.REPORT):
        return ended + sale.checkout_ttl_seconds * 1000
    return ended


def first_plan(sale: Sale) -> list[StepRow]:
    """The day of a new sale. Steps that are due in the past are taken at once, in order."""
    return [StepRow(sale_id=sale.sale_id, step=step, due_ms=(at := due_ms(step, sale)), next_ms=at) for step in STEPS]


def replanned(row: StepRow, sale: Sale, now_ms: int) -> StepRow:
    """The step after its sale was moved, paused, ended or aborted.

    What is done stays done unless it is due again in the future: a sale that was put off is warmed up again. A step
    that is under way is begun anew in that case; the worker that has it is not listened to any more.
    """
    at = due_ms(row.step, sale)
    if sale.status in SALE_OVER and row.step in BEFORE_START | {StepName.START}:
        if row.over or row.state is StepState.RUNNING:
            return row
        words = "the sale was aborted" if sale.status is SaleStatus.CANCELLED else "the sale is over"
        return msgspec.structs.replace(
            row, state=StepState.SKIPPED, next_ms=None, finished_ms=now_ms, words=words, forced=False
        )
    if row.left_out or at == row.due_ms or (row.due_ms <= now_ms and at <= now_ms):
        return msgspec.structs.replace(row, due_ms=at)
    untouched = row.state is StepState.DUE and not row.attempts and not row.forced
    if at > now_ms or untouched:
        return StepRow(sale_id=row.sale_id, step=row.step, due_ms=at, next_ms=at)
    return msgspec.structs.replace(row, due_ms=at)


def pause_before(step: StepName, attempts: int, *, started: bool) -> int | None:
    """Milliseconds until the next attempt after `attempts` of them; None: it is given up. What belongs before the start
    is not tried again after it, but for the warm-up."""
    rule = STEPS[step]
    if attempts >= rule.tries or (started and step in BEFORE_START - {StepName.WARM_UP}):
        return None
    return min(rule.pause_ms * 2 ** min(attempts - 1, 20), rule.pause_ms_max)
