"""Time and ids that a test or a simulated world decides.

Owns: `ManualClock`, which moves only when it is told, and `SeededIds`, which gives the same ids for the same seed.
"""

import random
import uuid


class ManualClock:
    """Implements `engine.ports.Clock`. The wall clock and the monotonic clock move together."""

    def __init__(self, now_ms: int = 1_800_000_000_000, *, trusted: bool = True) -> None:
        self._now_ms = now_ms
        self.trusted = trusted

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    def advance_ms(self, by_ms: int) -> None:
        """Let time pass. It never goes back."""
        if by_ms < 0:
            message = f"time cannot go back by {-by_ms} ms"
            raise ValueError(message)
        self._now_ms += by_ms


class SeededIds:
    """Implements `engine.ports.Ids`: well-formed UUIDv7 texts that rise, one millisecond of their own each."""

    def __init__(self, seed: int = 0, *, first_ms: int = 1_700_000_000_000) -> None:
        self._random = random.Random(seed)  # noqa: S311 - ids of tests have to be repeatable, not secret
        self._ms = first_ms

    def new_id(self) -> str:
        self._ms += 1
        version, variant = 0x7 << 76, 0b10 << 62
        return str(
            uuid.UUID(
                int=self._ms << 80
                | version
                | self._random.getrandbits(12) << 64
                | variant
                | self._random.getrandbits(62)
            )
        )

    def jitter(self) -> float:
        return self._random.random()
