"""Keeps one buyer's script from taking a gate: a token bucket per buyer, in this process only.

Owns: the buckets. Fails open by design: a gate that restarts forgets, N gates let N times as much through; what binds
a buyer is the limit of units, which is decided elsewhere.
"""

from doorbuster.api.lately import Lately
from doorbuster.domain import limits


class Pace:
    """Bounded in memory: buyers unseen for longest are forgotten first. A bucket is one number: the time at which it
    will be full again."""

    def __init__(
        self,
        *,
        per_second: float = limits.BUYER_RATE_PER_SECOND,
        burst: int = limits.BUYER_RATE_BURST,
        buckets_max: int = limits.BUYER_RATE_BUCKETS_MAX,
    ) -> None:
        self._step_s = 1 / per_second
        self._slack_s = (burst - 1) / per_second
        self._full_at: Lately[str, float] = Lately(buckets_max)

    def wait_ms(self, user_id: str, now_s: float) -> int:
        """0 if this request may pass, else milliseconds until one may."""
        ahead_s = (self._full_at.get(user_id) or now_s) - now_s
        over_s = ahead_s - self._slack_s
        if over_s > 1e-9:
            if over_s <= self._step_s + 1e-6:
                return int(over_s * 1000) + 1
            ahead_s = 0.0  # no bucket is ever that empty: the clock was set back
        self._full_at.put(user_id, now_s + max(0.0, ahead_s) + self._step_s)
        return 0
