"""Tells the shop what happened, and says how far behind it is.

Owns: the pace, the gauges and the pruning. What an attempt means is in `engine/relaying.py`. Two relays at once share
the work. A pass never waits for a receiver.
"""

from collections.abc import Callable
from typing import Final

import structlog

from doorbuster import telemetry
from doorbuster.agents.loop import Counts
from doorbuster.domain.shop_events import PRUNE_BATCH
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.relaying import Relaying
from doorbuster.engine.shop_ports import Outbox, Sender

log = structlog.get_logger(__name__)

_LOOK_S: Final = 5.0
_PRUNE_S: Final = 60.0
_GRACE_S: Final = 2.0


class Relay:
    """`wake("relay")` is called when an attempt has ended."""

    name = "relay"
    interval_s = 0.25

    def __init__(self, *, outbox: Outbox, sender: Sender, clock: Clock, ids: Ids, wake: Callable[[str], None]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._relaying = Relaying(outbox=outbox, sender=sender, clock=clock, ids=ids, wake=lambda: wake(self.name))
        self._looked_at = float("-inf")
        self._pruned_at = float("-inf")

    async def run_once(self, now_ms: int) -> Counts:
        """Counts attempts by what they made of their delivery; `pruned` are rows that were long over."""
        counts = dict(await self._relaying.run_once())
        for result in ("delivered", "retry", "dead"):
            telemetry.WEBHOOK_ATTEMPTS.labels(result).inc(counts.get(result, 0))
        if counts.get("dead"):
            log.error("webhooks given up; resend them once the receiver is well", count=counts["dead"])
        at = self._clock.monotonic()
        if at - self._looked_at >= _LOOK_S:
            self._looked_at = at
            await self._look(now_ms)
        pruned = 0
        if at - self._pruned_at >= _PRUNE_S:
            pruned = await self._outbox.prune(limit=PRUNE_BATCH)
            self._pruned_at = at if pruned < PRUNE_BATCH else self._pruned_at
        return {**counts, "pruned": pruned}

    async def stop(self) -> None:
        """Let attempts end for a moment. What goes on longer is dropped, and sent again when its lease is over."""
        try:
            await self._relaying.drain(_GRACE_S)
        except (StoreUnavailable, OutcomeUnknown) as problem:
            log.warning("attempts were not recorded; they are made again", problem=str(problem))
        finally:
            await self._relaying.stop()

    async def _look(self, now_ms: int) -> None:
        backlog = await self._outbox.backlog()
        telemetry.WEBHOOK_BACKLOG.set(backlog.pending)
        telemetry.WEBHOOK_DEAD.set(backlog.dead)
        oldest = now_ms if backlog.oldest_ms is None else backlog.oldest_ms
        telemetry.WEBHOOK_OLDEST_AGE.set(max(0, now_ms - oldest) / 1000)
