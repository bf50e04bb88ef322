"""Where the steps of a sale's day are kept.

Owns: the port. Every method is one transaction; due is what the store's own clock says. Read next: `running.py`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from doorbuster.domain.plan import Plan
from doorbuster.domain.timeline import StepName, StepRow, StepState
from doorbuster.engine.day_ports import Detail
from doorbuster.engine.ports import Actor


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker reports of a step. `wait_ms` None: nothing more is to be done. `counts`: it was an attempt."""

    state: StepState
    words: str = ""
    detail: Detail = {}
    wait_ms: int | None = None
    counts: bool = True
    told: bool = False
    """Somebody was called about it already."""


class KeptReport(msgspec.Struct, frozen=True, kw_only=True):
    report: dict[str, Any]
    at_ms: int


class TimelineStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def steps(self, sale_id: str) -> Sequence[StepRow]:
        """All steps of a sale in their order; none if there is no such sale."""
        ...

    async def claim(self, lease: str, *, limit: int) -> Sequence[StepRow]:
        """Take up to `limit` steps whose time has come: of each sale the first in order, the next only when that is
        done or has been at it for `ORDER_PATIENCE_MS`. Each is taken by one caller; `lease` is new for every call."""
        ...

    async def renew(self, row: StepRow) -> bool:
        """The caller lives: its step stays its own for `LEASE_MS` more. False: somebody else has it, or it moved."""
        ...

    async def finish(self, row: StepRow, outcome: Outcome) -> bool:
        """Report a claimed step. False, and nothing changed, if its lease is not the caller's any more."""
        ...

    async def run(self, sale_id: str, step: StepName, actor: Actor) -> str:
        """Have it done now. Answers `ok`, `running` (it is already) or `not_found`."""
        ...

    async def skip(self, sale_id: str, step: StepName, actor: Actor) -> str:
        """Leave it out; one that is under way is not listened to any more. Answers `ok`, its state if it is over
        already, or `not_found`."""
        ...

    async def plan(self, sale_id: str) -> Plan:
        """The sale's plan; the default where none was made."""
        ...

    async def set_plan(self, sale_id: str, plan: Plan, actor: Actor) -> bool:
        """False: there is no such sale."""
        ...

    async def keep_report(self, sale_id: str, report: dict[str, Any]) -> None:
        """It replaces the one before, but for one that is final: that does not change any more."""
        ...

    async def report(self, sale_id: str) -> KeptReport | None: ...
