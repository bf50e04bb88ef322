"""Keeps one buyer's script from taking a gate: a token bucket per buyer, in this process only.

Owns: the buckets. Fails open by design: a gate that restarts forgets, N gates let N times as much through; what binds
a buyer is the limit of units, which is decided elsewhere.
"""

from collections import OrderedDict

from doorbuster.domain import limits


class Pace:
    """Bounded in memory: the buyer unseen for longest is forgotten first."""

    def __init__(
        self,
        *,
        per_second: float = limits.BUYER_RATE_PER_SECOND,
        burst: int = limits.BUYER_RATE_BURST,
        buckets_max: int = limits.BUYER_RATE_BUCKETS_MAX,
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_ms(self, user_id: str, now_s: float) -> int:
        """0 if this request may pass, else milliseconds until one may."""
        level, at = self._buckets.get(user_id, (self._burst, now_s))
        level = min(self._burst, level + max(0.0, now_s - at) * self._per_second)
        if level < 1.0:
            return int((1.0 - level) / self._per_second * 1000) + 1
        self._buckets[user_id] = (level - 1.0, now_s)
        self._buckets.move_to_end(user_id)
        if len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)
        return 0
