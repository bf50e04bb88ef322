"""Sends what people on waitlists are to be told.

Owns: the pace: so many a second, a pause when the server is away, and a page when it stays away. Two workers share the
work. One agent for each channel: a mail server that is slow keeps no browser waiting.
"""

from typing import Final

from doorbuster.agents.loop import Counts
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.notifying import NoticeSender
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import Clock

_BATCH_MAX: Final = 1_000
"""A batch is a second's worth: so many may be left unknown by a sender that dies."""
_IDLE_S: Final = 0.5
_DOWN_S: Final = 10.0
_DOWN_PAGED_S: Final = 60.0
_FORGET_S: Final = 30.0


class NotifierAgent:
    def __init__(
        self, sender: NoticeSender, clock: Clock, rate_per_second: float, name: str, on_call: OnCall | None = None
    ) -> None:
        self.name = name
        self._sender = sender
        self._clock = clock
        self._rate = rate_per_second
        self._on_call = on_call
        self._next_at = float("-inf")
        self._forget_at = float("-inf")
        self._down_since: float | None = None
        self._known_up = False
        """False also at the start: a worker before this one may have called somebody."""

    @property
    def interval_s(self) -> float:
        """Until the next batch may begin, if that is sooner than somebody looks for new ones anyway."""
        return min(_IDLE_S, max(0.0, self._next_at - self._clock.monotonic())) or _IDLE_S

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        at = self._clock.monotonic()
        if at < self._next_at:
            return {}
        if at >= self._forget_at:
            self._forget_at = at + _FORGET_S
            self._sender.forget_sales()
        counts = await self._sender.run_once(max(1, min(_BATCH_MAX, int(self._rate))))
        tried = sum(counts.values())
        if not tried:
            return counts
        if self._sender.down:
            self._next_at = self._clock.monotonic() + _DOWN_S
        else:
            # When this batch would be over at the rate that was set, also if it began a little late.
            self._next_at = (at if at - self._next_at > _IDLE_S else self._next_at) + tried / self._rate
        await self._tell_of_trouble(at)
        return {**counts, "more": int(self._next_at <= self._clock.monotonic())}

    async def _tell_of_trouble(self, at: float) -> None:
        if not self._sender.trouble:
            self._down_since = None
            if not self._known_up and not self._sender.down and self._on_call is not None:
                await self._on_call.resolve(self.name, "messages are taken again")
                self._known_up = True
            return
        self._known_up = False
        if self._down_since is None:
            self._down_since = at
        if self._on_call is not None and at - self._down_since >= _DOWN_PAGED_S:
            title = "Nobody on a waitlist is reached"
            await self._on_call.call(PageCall(key=self.name, title=title, text=self._sender.trouble))
