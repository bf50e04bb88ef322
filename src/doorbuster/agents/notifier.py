"""Sends what people on waitlists are to be told.

Owns: the pace: so many a second, and a pause when the server is away. Two workers share the work. One agent for each
channel: a mail server that is slow keeps no browser waiting.
"""

from typing import Final

from doorbuster.agents.loop import Counts
from doorbuster.engine.notifying import BATCH, NoticeSender
from doorbuster.engine.ports import Clock

_DOWN_S: Final = 10.0
_FORGET_S: Final = 30.0


class NotifierAgent:
    interval_s = 0.5

    def __init__(self, sender: NoticeSender, clock: Clock, rate_per_second: float, name: str) -> None:
        self.name = name
        self._sender = sender
        self._clock = clock
        self._rate = rate_per_second
        self._next_at = float("-inf")
        self._forget_at = float("-inf")

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        at = self._clock.monotonic()
        if at < self._next_at:
            return {}
        if at >= self._forget_at:
            self._forget_at = at + _FORGET_S
            self._sender.forget_sales()
        batch = max(1, min(BATCH, int(self._rate)))
        counts = await self._sender.run_once(batch)
        tried = sum(counts.values())
        # The next batch may begin when this one would be over at the rate that was set.
        self._next_at = at + (_DOWN_S if tried and self._sender.down else tried / self._rate)
        return {**counts, "more": 0}
