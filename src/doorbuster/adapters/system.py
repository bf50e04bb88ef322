"""The only clock and the only randomness of the product.

Owns: this process's idea of the database's time, and the ids. Keeps: I11 and the promise that no sale opens early.
The corrected time is the database's at the last good measurement plus what a monotonic clock has counted since: a
wall clock that jumps, or is ten minutes wrong, moves nothing.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import uuid_utils

from doorbuster.domain import limits

_SAMPLES: Final = 5
_TRIP_MS_MAX: Final = 2 * limits.CLOCK_JUMP_MS_MAX
"""The answer was true at some moment of the round trip: a longer one could hide a jump."""
_SLEW: Final = 0.005
"""Small differences are made up for at five milliseconds a second, so that time never runs backwards."""


def _uptime() -> float:
    """Seconds since the machine started, those in which it slept included where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_monotonic: Final[Callable[[], float]] = _uptime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


def wall_ms() -> int:
    """This machine's wall clock, for commands that have no database to ask. Nothing is decided by it."""
    return time.time_ns() // 1_000_000


def random_bytes(count: int) -> bytes:
    """Bytes that nobody can guess, for keys and salts."""
    return secrets.token_bytes(count)


class SystemClock:
    """Implements `engine.ports.Clock`. Untrusted until `sync` has worked once, and while measurements disagree."""

    def __init__(self, monotonic: Callable[[], float] = _monotonic) -> None:
        self._monotonic = monotonic
        self._base_ms: float | None = None
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
        """Milliseconds of the database's clock; 0 before the first measurement.

        Never less than it said before, unless the database's clock itself was set back (`sync`)."""
        if self._base_ms is None:
            return 0
        elapsed_ms = (self._monotonic() - self._base_at) * 1000
        worked_off = min(abs(self._owed_ms), _SLEW * elapsed_ms)
        now = int(self._base_ms + elapsed_ms + (worked_off if self._owed_ms >= 0 else -worked_off))
        self._last_ms = max(self._last_ms, now)
        return self._last_ms

    async def sync(self, sample: Callable[[], Awaitable[int]]) -> float:
        """Measure against the database: of several samples the one with the shortest round trip. Returns that round
        trip in milliseconds. Raises what `sample` raises; the clock then goes on as it was."""
        best_trip_ms, best_offset_ms = float("inf"), 0.0
        for _ in range(_SAMPLES):
            before = self._monotonic()
            told_ms = await sample()
            after = self._monotonic()
            if (after - before) * 1000 < best_trip_ms:
                best_trip_ms = (after - before) * 1000
                best_offset_ms = told_ms - (before + after) / 2 * 1000
            await asyncio.sleep(0)
        if best_trip_ms <= _TRIP_MS_MAX:
            self._accept(best_offset_ms)
        return best_trip_ms

    def _accept(self, offset_ms: float) -> None:
        """`offset_ms` is the database's clock less our monotonic clock."""
        at = self._monotonic()
        measured_ms = offset_ms + at * 1000
        if self._base_ms is None:
            self._set(measured_ms, at)
            return
        current_ms = float(self.now_ms())
        if abs(measured_ms - current_ms) <= limits.CLOCK_JUMP_MS_MAX:
            self._set(current_ms, at, owed_ms=measured_ms - current_ms)
            return
        # A jump: of the database's clock, or a bad measurement. Two that agree are believed.
        if self._suspect_ms is not None and abs(offset_ms - self._suspect_ms) <= limits.CLOCK_JUMP_MS_MAX:
            self._last_ms = 0  # the database itself went back: its time is the truth
            self._set(measured_ms, at)
        else:
            self._trusted, self._suspect_ms = False, offset_ms

    def _set(self, base_ms: float, at: float, *, owed_ms: float = 0.0) -> None:
        self._base_ms, self._base_at, self._owed_ms = base_ms, at, owed_ms
        self._trusted, self._suspect_ms = True, None


class CpuShare:
    """How much of one core this process has used since it was last asked, 0 to 1."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def take(self) -> float:
        cpu, wall = time.process_time(), time.monotonic()
        share = (cpu - self._cpu) / max(1e-6, wall - self._wall)
        self._cpu, self._wall = cpu, wall
        return min(1.0, share)


class SystemIds:
    """Implements `engine.ports.Ids`."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def new_id(self) -> str:
        return str(uuid_utils.uuid7())

    def jitter(self) -> float:
        return self._random.random()
