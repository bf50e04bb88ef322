"""What a line was like for those who stood in it: what each was told, held against what it had been told before.

Owns: the witness of the buyers. It believes nothing but the answers: a place that got worse, a range that rose without
a reason, two entries for one buyer, somebody told that it is over who was told before it was, or after.
"""

import base64
import math
from datetime import datetime

import msgspec

from doorbuster.domain.ticket import Ticket
from doorbuster.domain.waiting import LONGER
from doorbuster.rehearsal.histogram import Histogram

_WAITS = frozenset({"waiting", "standby"})


class ToldEta(msgspec.Struct):
    low: float | None = None
    high: float | None = None
    reason: str = ""


class ToldOrder(msgspec.Struct):
    order_id: str
    status: str
    reserved_at: str


class Told(msgspec.Struct, kw_only=True):
    """A place as it came, by poll or by socket; messages have a `type` too."""

    type: str = ""
    state: str = ""
    position: int | None = None
    eta_seconds: ToldEta | None = None
    poll_after_ms: int | None = None
    ticket: str | None = None
    entry_id: str | None = None
    order: ToldOrder | None = None
    as_of: str = ""

    @property
    def waits(self) -> bool:
        return self.state in _WAITS


class LineNow(msgspec.Struct, kw_only=True):
    """The line at one moment, as the buyers know it."""

    joined: int = 0
    waiting: int = 0
    granted: int = 0
    told_over: int = 0
    left: int = 0


class LineSeen(LineNow, kw_only=True):
    """The line as a whole. Times `…_ms` are the servers' own, from `as_of`."""

    tabs: int = 0
    """Joins by buyers who had joined already, from another tab."""
    two_entries: int = 0
    """Buyers who were told a second entry while they had the first."""
    lost_entries: int = 0
    """Buyers who were told that they are not in the line they had joined."""
    position_rises: int = 0
    silent_eta_rises: int = 0
    listeners: int = 0
    cut_off: int = 0
    """Sockets that closed before the end; their buyers went on asking."""
    first_over_ms: int | None = None
    last_wait_ms: int | None = None
    """The last answer that told somebody to go on waiting."""
    last_heard_ms: int | None = None
    """When the last of those who listened was told that it is over, by our clock."""
    place_age_p99_ms: float = 0.0
    place_age_max_ms: float = 0.0
    grants_ms: list[int] = []
    """When each order was made, in order."""
    numbers: dict[str, int] = {}
    """The number on the ticket of the buyer of each order."""
    examples: list[str] = []
    """The first few things that were wrong, in words."""


class Witness:
    """Of the whole crowd. `wall_ms` is the clock that the age of a place is taken with: the machine's."""

    def __init__(self) -> None:
        self.seen = LineSeen()
        self.ages = Histogram()

    def wrong(self, what: str) -> None:
        if len(self.seen.examples) < 10:
            self.seen.examples.append(what)

    def report(self) -> LineSeen:
        self.seen.place_age_p99_ms = self.ages.percentile(99) * 1000
        self.seen.place_age_max_ms = self.ages.max_s * 1000
        self.seen.grants_ms.sort()
        return self.seen

    def now(self) -> LineNow:
        return LineNow(**{name: getattr(self.seen, name) for name in LineNow.__struct_fields__})


class Memory:
    """Of one buyer: what was told last. `take` every place in the order in which it was asked for."""

    def __init__(self, witness: Witness, user_id: str) -> None:
        self._witness = witness
        self._user_id = user_id
        self._last: Told | None = None
        self._last_ms = 0
        self._entry: str | None = None
        self.number = 0
        self.ticket: str | None = None

    def take(self, told: Told, *, wall_ms: int) -> None:
        seen = self._witness.seen
        as_of_ms = ms_of(told.as_of)
        self._witness.ages.record(max(0, wall_ms - as_of_ms) / 1000)
        if told.waits:
            seen.last_wait_ms = max(seen.last_wait_ms or 0, as_of_ms)
        elif told.state == "over":
            seen.first_over_ms = min(seen.first_over_ms or as_of_ms, as_of_ms)
        self._same_entry(told)
        if self._last is not None and as_of_ms >= self._last_ms:
            self._no_worse(self._last, told)
        if as_of_ms >= self._last_ms:
            self._last, self._last_ms = told, as_of_ms

    def rejoined(self) -> None:
        """The entry was given up or lost; the next one is another."""
        self._last, self._entry, self.number, self.ticket = None, None, 0, None

    def _same_entry(self, told: Told) -> None:
        number = self.number
        if told.ticket is not None:
            self.ticket, number = told.ticket, number_of(told.ticket)
        same = number == self.number or not self.number
        if told.entry_id is not None:
            same = same and told.entry_id == (self._entry or told.entry_id)
            self._entry = told.entry_id
        if not same:
            self._witness.seen.two_entries += 1
            self._witness.wrong(f"{self._user_id} had number {self.number} and was told {number}")
        self.number = number

    def _no_worse(self, before: Told, told: Told) -> None:
        if not (before.waits and told.waits) or before.position is None or told.position is None:
            return
        if told.position > before.position:
            self._witness.seen.position_rises += 1
            self._witness.wrong(f"{self._user_id} went from place {before.position} to {told.position}")
        elif eta_rose(before.eta_seconds, told.eta_seconds):
            self._witness.seen.silent_eta_rises += 1
            self._witness.wrong(f"{self._user_id} was told {before.eta_seconds}, then {told.eta_seconds}")


def eta_rose(before: ToldEta | None, told: ToldEta | None) -> bool:
    """Whether a range rose, or became unknown, without saying why."""
    if before is None or told is None or told.reason.startswith((LONGER, "the sale is paused")):
        return False
    return _or_never(told.low) > _or_never(before.low) or _or_never(told.high) > _or_never(before.high)


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def number_of(ticket: str) -> int:
    """What a ticket says; its seal is for the servers to check."""
    body, _, _ = ticket.partition(".")
    return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Ticket).number


def ms_of(stamp: str) -> int:
    """Milliseconds of a time the API wrote."""
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)
