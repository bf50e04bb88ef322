"""When a buyer in line asks again: the front often, the far end rarely, everybody more rarely when the gate is busy.

Owns: the rules of `poll_after_ms`. Keeps: what R9e needs: the head of a lost line is back, with its tickets, within
`LINE_GRACE_MS`, because the front asks every two seconds at most, however busy the gate is.
"""

from typing import Final

from doorbuster.domain import limits

_FRONT: Final = 50
"""Places behind the free units that count as the front, at least."""
_FRONT_SECONDS: Final = 10
"""Who is this close to a unit, at the pace of the line, stands at the front too."""
_FRONT_MS_MAX: Final = limits.LINE_GRACE_MS // 2
_PART: Final = 10
"""Behind the front a buyer asks about this often before the turn comes."""
_PLACE_MS: Final = 5
"""For each place behind the front: a line of any length asks some hundred times a second up to the upper bound."""
_ASKS_PER_SECOND: Final = 300
"""What a whole line may ask of a calm gate: three hundredths of a core."""
_ASKS_PER_OFFER: Final = 4
_SPREAD: Final = 0.25
_START_AFTER_MS: Final = 200
_START_SPREAD_MS: Final = 1_800
_START_PLACE_MS: Final = 0.5
"""For each who waits for the start: two thousand a second, all gates together."""


def poll_after_ms(
    position: int,
    *,
    free: int,
    waiting: int,
    moving_per_second: float,
    busy: float,
    jitter: float,
    held: int = 0,
    offer_ms: int | None = None,
) -> int:
    """Milliseconds between POLL_MS_MIN and POLL_MS_MAX. `busy` and `jitter` are from 0 to 1; the jitter spreads those
    who ask at the same time over a quarter of their wait.

    Holds may end together: whoever the `held` units could reach at once asks several times while an offer lasts, which
    is `offer_ms`. So no offer runs out before it was heard of.
    """
    behind = min(position, waiting) - free
    busy, jitter = min(1.0, max(0.0, busy)), min(1.0, max(0.0, jitter))
    if behind <= max(_FRONT, moving_per_second * _FRONT_SECONDS):
        calm_ms = limits.POLL_MS_MIN * (1.0 if behind <= 0 else 1.2)
        wait_ms = min(calm_ms * (1 + busy / 3), _FRONT_MS_MAX / (1 + _SPREAD))
    else:
        turn_ms = behind / moving_per_second * 1_000 if moving_per_second > 0 else limits.POLL_MS_MAX * _PART
        # A short line asks oftener than its turn makes worth while: it hears of the end of the sale sooner.
        enough_ms = max(_FRONT_MS_MAX, waiting * 1_000 / _ASKS_PER_SECOND)
        wait_ms = min(max(_FRONT_MS_MAX, turn_ms / _PART, behind * _PLACE_MS), enough_ms) * (1 + 3 * busy)
    if offer_ms is not None and behind <= held:
        wait_ms = min(wait_ms, offer_ms / _ASKS_PER_OFFER)
    # The far end is spread below the upper bound, so that it does not ask in step.
    wait_ms = min(wait_ms, limits.POLL_MS_MAX / (1 + _SPREAD)) * (1 + _SPREAD * jitter)
    return int(max(wait_ms, limits.POLL_MS_MIN))


def poll_at_start_ms(left_ms: int, *, waiting: int, jitter: float) -> int:
    """The same before the start, which is `left_ms` away: soon after it, spread so that those who `waiting` counts do
    not come all at once; half a minute from now if it is further away."""
    spread_ms = max(_START_SPREAD_MS, waiting * _START_PLACE_MS) * min(1.0, max(0.0, jitter))
    return int(min(limits.POLL_MS_MAX, max(limits.POLL_MS_MIN, left_ms + _START_AFTER_MS + spread_ms)))
