"""The only clock and the only randomness of the product.

Owns: this process's idea of the database's time, and the ids. Keeps: I11 and the promise that no sale opens early.
The corrected time is the database's at the last good measurement plus what the monotonic clock has counted since: a
wall clock that jumps, or is ten minutes wrong, moves nothing.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import uuid_utils

from doorbuster.domain import limits

_SAMPLES: Final = 5
_SLEW_PER_S: Final = 0.005
"""Small differences are made up for at five milliseconds a second, so that time never jumps back."""


class SystemClock:
    """Implements `engine.ports.Clock`. Untrusted until `sync` has worked once, and while measurements disagree."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base_ms = 0.0
        self._base_at = monotonic()
        self._owed_ms = 0.0  # how much later the database's clock is than ours; worked off slowly
        self._suspect_ms: float | None = None
        self._trusted = False
        self._last_ms = 0

    @property
    def trusted(self) -> bool:
        return self._trusted

    def monotonic(self) -> float:
        return self._monotonic()

    def now_ms(self) -> int:
        """Milliseconds of the database's clock; never less than it said before."""
        elapsed_s = self._monotonic() - self._base_at
        slewed = min(abs(self._owed_ms), _SLEW_PER_S * 1000 * elapsed_s)
        now = int(self._base_ms + elapsed_s * 1000 + (slewed if self._owed_ms >= 0 else -slewed))
        self._last_ms = max(self._last_ms, now)
        return self._last_ms

    async def sync(self, sample: Callable[[], Awaitable[int]]) -> float:
        """Measure against the database: of several samples the one with the shortest round trip. Returns the round
        trip in milliseconds. Raises what `sample` raises; the clock then goes on as it was."""
        best_trip, best_offset = float("inf"), 0.0
        for _ in range(_SAMPLES):
            before = self._monotonic()
            told = await sample()
            after = self._monotonic()
            if after - before < best_trip:
                best_trip = after - before
                best_offset = told - (before + after) / 2 * 1000
            await asyncio.sleep(0)
        self._accept(best_offset)
        return best_trip * 1000

    def _accept(self, offset_ms: float) -> None:
        """`offset_ms` is the database's clock less our monotonic clock."""
        at = self._monotonic()
        measured = offset_ms + at * 1000
        if not self._base_ms:
            self._set(measured, at)
            return
        difference = measured - (self._base_ms + (at - self._base_at) * 1000)
        if abs(difference) <= limits.CLOCK_JUMP_MS_MAX:
            current = float(self.now_ms())
            self._base_ms, self._base_at, self._owed_ms = current, at, measured - current
            self._trusted, self._suspect_ms = True, None
            return
        # A jump: of the database's clock, or a bad measurement. Two that agree are believed.
        agrees = self._suspect_ms is not None and abs(offset_ms - self._suspect_ms) <= limits.CLOCK_JUMP_MS_MAX
        if agrees:
            self._last_ms = 0  # the database itself went back: its time is the truth
            self._set(measured, at)
        else:
            self._trusted, self._suspect_ms = False, offset_ms

    def _set(self, measured_ms: float, at: float) -> None:
        self._base_ms, self._base_at, self._owed_ms = measured_ms, at, 0.0
        self._trusted, self._suspect_ms = True, None


class SystemIds:
    """Implements `engine.ports.Ids`."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def new_id(self) -> str:
        return str(uuid_utils.uuid7())

    def jitter(self) -> float:
        return self._random.random()
