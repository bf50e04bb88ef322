"""When to stop calling somebody who does not answer, and when to try again.

Owns: the rule alone; the time is given. Closed: calls go out. Open: none does. After a while one is let through; its
answer closes the breaker, its silence opens it for longer. Source: Nygard, Release It!, "Circuit Breaker".
"""

from enum import StrEnum
from typing import Final

FAILURES: Final = 8
"""Silences in a row that open it. A gateway that fails three calls of ten is silent eight times in a row once in
fifteen thousand calls; one that is down is found out within a batch."""
PAUSE_MS: Final = 2_000
PAUSE_MS_MAX: Final = 30_000
"""How long it stays open at first, and at most: doubled by every probe that fails."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """One per process and gateway. Not shared between processes: each finds out for itself within a batch."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self._silent = 0
        self._pause_ms = PAUSE_MS
        self._until_ms = 0

    def allows(self, now_ms: int, wanted: int) -> int:
        """How many of the wanted calls may go out now: all, none, or one to see."""
        if self.state is BreakerState.OPEN and now_ms >= self._until_ms:
            self.state = BreakerState.PROBING
            return min(1, wanted)
        return wanted if self.state is BreakerState.CLOSED else 0

    def answered(self) -> None:
        self.state = BreakerState.CLOSED
        self._silent = 0
        self._pause_ms = PAUSE_MS

    def not_asked(self) -> None:
        """The call that was let through was never made: the next one may find out."""
        if self.state is BreakerState.PROBING:
            self.state = BreakerState.OPEN

    def silent(self, now_ms: int) -> None:
        """A call got no usable answer."""
        self._silent += 1
        if self.state is BreakerState.PROBING:
            self._pause_ms = min(2 * self._pause_ms, PAUSE_MS_MAX)
        elif self.state is BreakerState.OPEN or self._silent < FAILURES:
            return
        self.state = BreakerState.OPEN
        self._until_ms = now_ms + self._pause_ms
