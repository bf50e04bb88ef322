"""The trouble a simulated gateway makes on purpose: how much of which kind, drawn from a seed.

Owns: the levels. Every draw is of seed, charge, call and how often that call was made, so a run can be repeated with
the same payments, whatever their order in time. What is drawn changes an answer or a webhook, never the book.
"""

import hashlib
from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec


class Trouble(StrEnum):
    """What may happen to one call."""

    NONE = "none"
    SLOW = "slow"  # answered, after up to a second and a half
    ERROR_BEFORE = "error_before"  # 500, nothing done
    ERROR_AFTER = "error_after"  # 500, although it was done
    CUT_BEFORE = "cut_before"  # the connection breaks, nothing done
    CUT_AFTER = "cut_after"  # the connection breaks, although it was done
    SILENT_BEFORE = "silent_before"  # never an answer, nothing done
    SILENT_AFTER = "silent_after"  # never an answer, although it was done


BEFORE: Final = frozenset({Trouble.ERROR_BEFORE, Trouble.CUT_BEFORE, Trouble.SILENT_BEFORE})
ERRORS: Final = frozenset({Trouble.ERROR_BEFORE, Trouble.ERROR_AFTER})
CUTS: Final = frozenset({Trouble.CUT_BEFORE, Trouble.CUT_AFTER})


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of calls, and of webhooks, from 0 to 1."""

    calls: dict[Trouble, float] = {}
    late: float = 0.0
    """Webhooks that come up to `late_s` later, and so out of order."""
    late_s: float = 0.0
    twice: float = 0.0
    forged: float = 0.0
    """Webhooks that are preceded by one whose signature is wrong."""
    lost: float = 0.0
    """Webhooks that are never sent."""


LEVELS: Final[dict[str, Level]] = {
    "none": Level(),
    "mild": Level(
        calls={Trouble.SLOW: 0.05, Trouble.ERROR_BEFORE: 0.02, Trouble.CUT_AFTER: 0.02, Trouble.ERROR_AFTER: 0.01},
        late=0.1, late_s=2.0, twice=0.1, forged=0.01, lost=0.01,
    ),
    "rough": Level(
        calls={
            Trouble.SLOW: 0.10, Trouble.ERROR_BEFORE: 0.04, Trouble.ERROR_AFTER: 0.04, Trouble.CUT_BEFORE: 0.03,
            Trouble.CUT_AFTER: 0.04, Trouble.SILENT_AFTER: 0.01,
        },
        late=0.3, late_s=5.0, twice=0.3, forged=0.05, lost=0.05,
    ),
    "storm": Level(
        calls={
            Trouble.SLOW: 0.10, Trouble.ERROR_BEFORE: 0.06, Trouble.ERROR_AFTER: 0.07, Trouble.CUT_BEFORE: 0.07,
            Trouble.CUT_AFTER: 0.08, Trouble.SILENT_BEFORE: 0.01, Trouble.SILENT_AFTER: 0.01,
        },
        late=0.5, late_s=10.0, twice=0.5, forged=0.1, lost=0.2,
    ),
}  # fmt: skip
"""In a storm three calls of ten have no usable answer; in rough weather one of six, in mild one of twenty."""

SLOW_S: Final = 1.5
_COUNTED_MAX: Final = 1_000_000
"""Calls remembered for their draws, about 150 MB; beyond that the count begins anew."""


class Chaos:
    """One per gateway process."""

    def __init__(self, level: str = "none", *, seed: int = 0, decline: float = 0.0) -> None:
        """`level` is a name of LEVELS; `decline` is the share of charges that are declined whatever their method."""
        self.level = LEVELS[level]
        self._seed = seed
        self._decline = decline
        self._calls: Counter[str] = Counter()

    def of_call(self, key: str, what: str) -> Trouble:
        """What happens to the next call of this kind about this charge."""
        if not self.level.calls:
            return Trouble.NONE
        if len(self._calls) > _COUNTED_MAX:
            self._calls.clear()
        self._calls[key + what] += 1
        drawn = self.share(key, what, str(self._calls[key + what]))
        for trouble, share in self.level.calls.items():
            if drawn < share:
                return trouble
            drawn -= share
        return Trouble.NONE

    def declines(self, key: str) -> bool:
        return self._decline > 0 and self.share(key, "decline") < self._decline

    def share(self, *about: str) -> float:
        """From 0 to 1, the same for the same words."""
        drawn = hashlib.sha256("|".join((str(self._seed), *about)).encode()).digest()
        return int.from_bytes(drawn[:8]) / 2**64
