"""Samples running sales, calls somebody when the ledger is away, and drops what is too old to be asked for.

Owns: the pace. Two workers share the work. Read next: `engine/monitoring.py`.
"""

from typing import Final

from doorbuster.agents.loop import Counts
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.monitoring import Monitoring, MonitorStore
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import Clock, OutcomeUnknown, StoreUnavailable

_PRUNE_S: Final = 3_600.0
_AWAY_S: Final = 10.0
"""A failover takes this long; only what takes longer is worth a call."""
_LEDGER: Final = PageCall(
    key="ledger",
    title="PostgreSQL does not answer",
    text="No order can be made or paid until it does. docs/operating/emergencies.md#errors",
)


class MonitorAgent:
    name = "monitor"
    interval_s = 2.0

    def __init__(self, monitoring: Monitoring, store: MonitorStore, on_call: OnCall, clock: Clock) -> None:
        self._monitoring = monitoring
        self._store = store
        self._on_call = on_call
        self._clock = clock
        self._prune_at = clock.monotonic() + _PRUNE_S
        self._away_since: float | None = None

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        at = self._clock.monotonic()
        try:
            counts = dict(await self._monitoring.run_once())
        except (StoreUnavailable, OutcomeUnknown):
            self._away_since = at if self._away_since is None else self._away_since
            if at - self._away_since >= _AWAY_S:
                await self._on_call.call(_LEDGER)
            raise
        if self._away_since is not None:
            self._away_since = None
            await self._on_call.resolve(_LEDGER.key, "PostgreSQL answers again")
        if at >= self._prune_at:
            self._prune_at = at + _PRUNE_S
            counts["pruned"] = await self._store.prune()
        return counts
