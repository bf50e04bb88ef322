"""Whether the chances that were told came true: a reliability table and a Brier score, from the history of a sale.

Owns: the reckoning. No clock, no randomness: instants and positions are chosen evenly, so the same history gives the
same report. Read next: `chance.py`, whose words are judged here.

For an instant t and a position k the forecast is recomputed from what had happened by t, and held against what
happened after: the entry at position k got a unit if and only if at least k grants were made after t. That is exact
as long as nobody ahead left the line between t and the grant. One who leaves, or is dropped, moves everybody behind
up without a grant, so an entry that got its unit as grant k - 1 is counted here as one that got none. The table
therefore errs against the forecast, by as much as people left; they are told apart in no history of grants.
Forecasts of one sale are not independent of each other: the score describes this sale, it proves nothing of the next.
"""

from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from doorbuster.domain.chance import BANDS, Chance, band, probability

_INSTANTS: Final = 60
_POSITIONS: Final = 20


class Happening(StrEnum):
    """What moves a line or the stock behind it."""

    JOINED = "joined"
    LEFT = "left"
    GRANTED = "granted"
    RETURNED = "returned"
    PAID = "paid"


class Event(msgspec.Struct, frozen=True, array_like=True):
    at_ms: int
    kind: Happening
    count: int = 1


class SaleHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a sale of `units`, in any order. Without JOINED events the length of the line is not known, and
    it is taken to be as long as there were units: longer would judge forecasts that nobody was told."""

    units: int
    start_ms: int
    end_ms: int
    events: Sequence[Event]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One word of the forecast: how probable a unit was said to be on average, and for which share it came true."""

    band: Chance
    count: int
    forecast: float
    observed: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` has the words that were told, best first. A Brier score is the mean squared distance of forecast and
    outcome: 0 is best; `brier_base_rate` is that of always telling the share that got a unit. None without forecasts.
    `unknown` counts the samples that were told nothing."""

    rows: Sequence[Row]
    told: int
    unknown: int
    brier: float | None
    brier_base_rate: float | None


def calibrate(history: SaleHistory, *, instants: int = _INSTANTS, positions: int = _POSITIONS) -> Calibration:
    """Judge the forecasts at so many instants, for at most so many positions each."""
    seen = {kind: _Running(history.events, kind) for kind in Happening}
    told: list[tuple[float, bool]] = []
    unknown = 0
    for at_ms in _spread(history.start_ms, history.end_ms - 1, instants):
        now = {kind: running.until(at_ms) for kind, running in seen.items()}
        later = seen[Happening.GRANTED].total - now[Happening.GRANTED]
        held = now[Happening.GRANTED] - now[Happening.PAID] - now[Happening.RETURNED]
        free = history.units - now[Happening.PAID] - held
        for position in _ladder(_length(history, seen, now), positions):
            found = probability(
                position, free=free, held=held, paid=now[Happening.PAID], returned=now[Happening.RETURNED]
            )
            if found is None:
                unknown += 1
            else:
                told.append((found, later >= position))
    return _judged(told, unknown)


class _Running:
    """How often one thing had happened by a moment."""

    def __init__(self, events: Sequence[Event], kind: Happening) -> None:
        chosen = sorted((event.at_ms, event.count) for event in events if event.kind is kind)
        self._times = [at_ms for at_ms, _ in chosen]
        self._sums = [0]
        for _, count in chosen:
            self._sums.append(self._sums[-1] + count)

    @property
    def total(self) -> int:
        return self._sums[-1]

    def until(self, at_ms: int) -> int:
        """What happened at this very millisecond counts as seen."""
        return self._sums[bisect_right(self._times, at_ms)]


def _length(history: SaleHistory, seen: dict[Happening, _Running], now: dict[Happening, int]) -> int:
    if not seen[Happening.JOINED].total:
        return history.units
    return now[Happening.JOINED] - now[Happening.LEFT] - now[Happening.GRANTED]


def _spread(low: int, high: int, count: int) -> list[int]:
    """So many whole numbers from low to high, evenly."""
    if count < 2 or high <= low:
        return [low] if high >= low else []
    return sorted({low + (high - low) * step // (count - 1) for step in range(count)})


def _ladder(length: int, count: int) -> list[int]:
    """Positions from 1 to the end of the line: dense in front, where most is decided, and at the end."""
    if length < 1:
        return []
    return sorted({max(1, round(length ** (step / max(1, count - 1)))) for step in range(count)} | {length})


def _judged(told: Sequence[tuple[float, bool]], unknown: int) -> Calibration:
    rows: list[Row] = []
    for _, word in BANDS:
        mine = [(found, came) for found, came in told if band(found) is word]
        if mine:
            forecast, observed = (sum(values) / len(mine) for values in zip(*mine, strict=True))
            rows.append(Row(band=word, count=len(mine), forecast=forecast, observed=observed))
    if not told:
        return Calibration(rows=rows, told=0, unknown=unknown, brier=None, brier_base_rate=None)
    base = sum(came for _, came in told) / len(told)
    return Calibration(
        rows=rows,
        told=len(told),
        unknown=unknown,
        brier=sum((found - came) ** 2 for found, came in told) / len(told),
        brier_base_rate=base * (1 - base),
    )
