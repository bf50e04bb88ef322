"""How long a buyer in line waits: a range, what it rests on, and why, when it has become longer (C2).

Owns: the estimate of a line's pace. Keeps: the range of a place never rises silently. No clock: time is passed in.

A unit reaches the line by coming back. The pace is the units that came back in the last two minutes, the last one
counted double; the range is that pace with the doubt that so few units leave, and errs on the long side.
An estimate serves a whole line, not one buyer, so it remembers the shortest range it told for each stretch of
positions. Who stands no further back and would be told more is told so, and why.
Read next: `engine/watching.py`, which feeds it once a second; `chance.py`, `place.py`.
"""

import math
from typing import Final, Protocol

import msgspec

from doorbuster.domain import limits

LONGER: Final = "longer than before: "

_MEMORY_MS: Final = 10 * limits.POLL_MS_MAX
"""Answers are remembered at least this long, at most twice as long: ten polls of the far end of a line."""
_SOON_MEMORY_MS: Final = 5 * limits.PLACE_AGE_MS_MAX
"""The same for "at once": the front asks every two seconds, and such an answer is soon used up."""
_GRANTS_PER_SECOND: Final = 2_000
_SOON_S: Final = 2.0
_STALE_MS: Final = 30_000
_DOUBT: Final = 1.3
"""Standard deviations to either side: the true pace lies within four times out of five."""
_TOLD_MAX_S: Final = 6 * 3600.0
_EXACT: Final = 16
_STRETCHES: Final = 120
"""Enough for a hundred million places."""


class Eta(msgspec.Struct, frozen=True):
    """From `low` to `high` seconds, or neither; `reason` is what it rests on, or why nothing can be said."""

    low: float | None
    high: float | None
    reason: str


class Movement(Protocol):
    """How units came back lately, and when the next hold ends; `engine.line_ports.Pulse` is one."""

    @property
    def as_of_ms(self) -> int: ...
    @property
    def returned_last_minute(self) -> int: ...
    @property
    def returned_minute_before(self) -> int: ...
    @property
    def next_expiry_ms(self) -> int | None: ...


class PaceEstimate:
    """Of one line at one gate. `feed` with every pulse, `eta` for every place."""

    def __init__(self) -> None:
        self._last: Movement | None = None
        self._on_the_way = 0
        self._told = _Told(_MEMORY_MS)
        self._told_soon = _Told(_SOON_MEMORY_MS)

    def feed(self, movement: Movement, *, free: int, held: int) -> None:
        """The newest numbers. `free` and `held` are the ledger's, as old as the movement."""
        self._last = movement
        self._on_the_way = free + held

    def eta(self, position: int, free: int, now_ms: int) -> Eta:
        """For the buyer at this position, 1 being the next; `free` units wait for nobody yet.

        For the same or a better position neither end rises, nor does a range become unknown, from one answer to a
        later one within five minutes, unless the later reason begins with "longer than before: ". That a unit is free
        for a place holds for ten seconds in this sense: it is granted in the next moment.
        """
        if position <= free:
            found = Eta(0.0, _soon_s(position), "a unit is free for this place")
            self._told_soon.note(position, 0.0, _soon_s(position), now_ms)
            return found
        found = self._range(position, free, now_ms)
        told_low, told_high = self._told.shortest(position, now_ms)
        soon_low, soon_high = self._told_soon.shortest(position, now_ms)
        if found.low is not None and found.high is not None:
            self._told.note(position, found.low, found.high, now_ms)
        if _at_most(found.low, min(told_low, soon_low)) and _at_most(found.high, min(told_high, soon_high)):
            return found
        return Eta(found.low, found.high, LONGER + self._cause(found, at_once=soon_high < told_high))

    def _range(self, position: int, free: int, now_ms: int) -> Eta:
        """Until enough units have come back for everybody up to this position."""
        last = self._last
        if last is None:
            return Eta(None, None, "nothing is known about the pace of this line yet")
        if now_ms - last.as_of_ms > _STALE_MS:
            return Eta(None, None, f"the last news of this line is {(now_ms - last.as_of_ms) // 1000} s old")
        if last.returned_last_minute + last.returned_minute_before <= 0:
            return Eta(None, None, self._none_came(last, now_ms))
        needed = _stretch_end(position) - free
        if position - free > self._on_the_way:
            return Eta(None, None, f"{_units(self._on_the_way)} can still come back, and more buyers stand ahead")
        low, high = _bounds(needed, last)
        if high > _TOLD_MAX_S:
            return Eta(None, None, f"{_basis(last)}: too few to tell when this place is reached")
        # Never below "at once", which may be the next answer.
        return Eta(low, max(high, _soon_s(position)), _basis(last))

    def _none_came(self, last: Movement, now_ms: int) -> str:
        if not self._on_the_way:
            return "no unit is held: nothing is on its way back"
        if last.next_expiry_ms is None:
            return "no unit came back in the last two minutes"
        seconds = max(0, math.ceil((last.next_expiry_ms - now_ms) / 1000))
        return f"no unit came back in the last two minutes; the next hold runs out in {seconds} s unless it is paid"

    def _cause(self, found: Eta, *, at_once: bool) -> str:
        """Why it takes longer than it did; with an unknown range its reason says it already."""
        last = self._last
        if at_once:
            return f"the units that were free went to buyers ahead; {found.reason}"
        if found.low is None or last is None:
            return found.reason
        now, before = last.returned_last_minute, last.returned_minute_before
        if 0 < now < before:
            return f"{_came(now)} in the last minute, after {before} in the minute before"
        if now == 0:
            return found.reason
        return f"units come back more slowly than they did; {found.reason}"


class _Told:
    """The shortest range told for each stretch of positions, or for one behind it, for a while."""

    def __init__(self, memory_ms: int) -> None:
        self._memory_ms = memory_ms
        self._now = _Floors()
        self._before = _Floors()
        self._since_ms: int | None = None

    def note(self, position: int, low: float, high: float, now_ms: int) -> None:
        self._turn(now_ms)
        self._now.lower(_stretch(position), low, high)

    def shortest(self, position: int, now_ms: int) -> tuple[float, float]:
        """The least of what was told; infinite where nothing was."""
        self._turn(now_ms)
        at = _stretch(position)
        return min(self._now.low[at], self._before.low[at]), min(self._now.high[at], self._before.high[at])

    def _turn(self, now_ms: int) -> None:
        if self._since_ms is None:
            self._since_ms = now_ms
        elif now_ms - self._since_ms > self._memory_ms:
            recent = now_ms - self._since_ms <= 2 * self._memory_ms
            self._before = self._now if recent else _Floors()
            self._now, self._since_ms = _Floors(), now_ms


class _Floors:
    """For each stretch the least that was told there or behind it, so values never fall from one stretch to the next
    and most answers cost one comparison."""

    def __init__(self) -> None:
        self.low = [math.inf] * _STRETCHES
        self.high = [math.inf] * _STRETCHES

    def lower(self, at: int, low: float, high: float) -> None:
        for floors, value in ((self.low, low), (self.high, high)):
            here = at
            while here >= 0 and floors[here] > value:
                floors[here] = value
                here -= 1


def _soon_s(position: int) -> float:
    """How long the grant of a free unit takes at most, with all who get theirs first."""
    return _SOON_S + math.ceil(_stretch_end(position) / _GRANTS_PER_SECOND)


def _stretch(position: int) -> int:
    """Positions that are told the same: one each up to sixteen, then four stretches to each doubling."""
    if position <= _EXACT:
        return max(0, position - 1)
    bits = (position - 1).bit_length()
    quarter = (position - 1) >> (bits - 3) & 3
    return min(_STRETCHES - 1, _EXACT + (bits - 5) * 4 + quarter)


def _stretch_end(position: int) -> int:
    """The last position of the stretch: what is reckoned for it is a little long for all the others."""
    if position <= _EXACT:
        return position
    shift = (position - 1).bit_length() - 3
    return (((position - 1) >> shift) + 1) << shift


def _bounds(needed: int, last: Movement) -> tuple[float, float]:
    """Seconds until `needed` units have come back, at the pace of the last two minutes."""
    now, before = last.returned_last_minute, last.returned_minute_before
    per_second = (2 * now + before) / 3 / 60
    doubt = 1 + _DOUBT / math.sqrt(now + before)
    low = (needed - _DOUBT * math.sqrt(needed)) / (per_second * doubt)
    high = (needed + _DOUBT * math.sqrt(needed)) / per_second * doubt
    return _rounded(max(0.0, low), up=False), _rounded(high, up=True)


def _rounded(seconds: float, *, up: bool) -> float:
    """To a second, five seconds or half a minute: more digits would claim more than is known."""
    step = 1 if seconds < 30 else 5 if seconds < 300 else 30
    return float((math.ceil if up else math.floor)(seconds / step) * step)


def _at_most(found: float | None, told: float) -> bool:
    """Unknown is longer than anything that was told, but not than nothing."""
    return (math.inf if found is None else found) <= told


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"


def _came(count: int) -> str:
    return f"{_units(count)} came back"


def _basis(last: Movement) -> str:
    if last.returned_last_minute:
        return f"{_came(last.returned_last_minute)} in the last minute"
    return f"no unit came back in the last minute, {last.returned_minute_before} in the minute before"
