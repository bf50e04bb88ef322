"""Latencies in buckets that grow by two percent: any percentile within two percent, in constant memory.

Owns: the buckets. Values are seconds, from a microsecond to an hour.
"""

import math
from collections.abc import Mapping
from typing import Final

_FLOOR_S: Final = 1e-6
_GROWTH: Final = 1.02
_LOG_GROWTH: Final = math.log(_GROWTH)
_BUCKETS: Final = math.ceil(math.log(3600 / _FLOOR_S) / _LOG_GROWTH) + 1


class Histogram:
    """`record` costs one logarithm."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.max_s = 0.0

    def record(self, seconds: float) -> None:
        """Negative values count as the smallest, values above an hour as an hour."""
        at = int(math.log(max(seconds, _FLOOR_S) / _FLOOR_S) / _LOG_GROWTH)
        self._counts[min(at, _BUCKETS - 1)] += 1
        self.count += 1
        self.max_s = max(self.max_s, seconds)

    def counts(self) -> dict[int, int]:
        """By bucket, those that are not empty."""
        return {at: count for at, count in enumerate(self._counts) if count}

    def add(self, counts: Mapping[int, int], max_s: float) -> None:
        """What another one counted, with its greatest value."""
        for at, count in counts.items():
            self._counts[at] += count
            self.count += count
        self.max_s = max(self.max_s, max_s)

    def percentile(self, percent: float) -> float:
        """Seconds below which this share of the values lies, rounded up to the bucket's end; 0.0 without values."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for at, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_FLOOR_S * _GROWTH ** (at + 1), self.max_s)
        return 0.0
