"""The messages of live connections, written by hand where ten thousand leave at once.

Owns: the JSON of a place that has only moved. Everything in it that is the same for a whole room is encoded once per
tick; a test holds the text against the encoder of the API. Read next: `api/line_shapes.py`, which has the shape.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.place import LineAvailability, waiting_state
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import EntryState
from doorbuster.domain.waiting import Eta
from doorbuster.engine.describing import Describer
from doorbuster.engine.watching import LineNow

KINDS: Final = {
    EntryState.WAITING: "place",
    EntryState.STANDBY: "standby",
    EntryState.GRANTED: "granted",
    EntryState.LEFT: "left",
    EntryState.OVER: "over",
}
"""The `type` of a message, by the state of the place in it."""
REMIND_MS: Final = 15_000
"""How often a place that has not moved is told: with the estimate of now, and as a sign of life."""
_encode: Final = msgspec.json.Encoder().encode


class Moved:
    """Writes the places of one room at one moment."""

    def __init__(
        self, describer: Describer, sale: Sale, line: LineNow, *, free: int, now_ms: int, stamp: Callable[[int], str]
    ) -> None:
        self._describer = describer
        self._sale = sale
        self._line = line
        self._free = free
        self._now_ms = now_ms
        self.availability: LineAvailability = describer.availability(sale)
        self._shared = b',"poll_after_ms":%d,"availability":%b' % (limits.POLL_MS_MAX, _encode(self.availability))
        self._outlooks: dict[int, bytes] = {}
        self._end = b',"order":null,"entry_id":null,"as_of":"%b"}' % stamp(now_ms).encode()

    def key(self, position: int) -> object:
        """Equal keys: nothing the buyer could see has changed, but for the estimate, which is told now and then."""
        return (position, self.availability, self._sale.status, self._now_ms // REMIND_MS)

    def message(self, position: int, ticket: bytes) -> bytes:
        """The whole message for somebody at this position."""
        state = waiting_state(position, self._free)
        return b'{"type":"%b","state":"%b","position":%d,"ahead":%d%b%b,"ticket":%b%b' % (
            KINDS[state].encode(),
            state.value.encode(),
            position,
            position - 1,
            self._outlook(position),
            self._shared,
            ticket,
            self._end,
        )

    def _outlook(self, position: int) -> bytes:
        """Waiting time and chance, those of the next round position behind: they cost more than the rest of a message,
        and nobody far back can tell 12,345 from 13,000. Never too good, because nobody further back has it better."""
        grain = 10 ** max(0, len(str(position)) - 2)
        upto = -(-position // grain) * grain
        found = self._outlooks.get(upto)
        if found is None:
            eta = self._describer.eta(self._sale, self._line, upto, self._free, self._now_ms)
            chance = self._describer.chance(self._sale, self._line, upto, self._free)
            found = self._outlooks[upto] = b',"eta_seconds":%b,"chance":"%b"' % (_eta(eta), chance.value.encode())
        return found


def _eta(eta: Eta) -> bytes:
    return b'{"low":%b,"high":%b,"reason":%b}' % (_number(eta.low), _number(eta.high), _encode(eta.reason))


def _number(value: float | None) -> bytes:
    return b"null" if value is None else _encode(value)


def refused_message(code: str, detail: str, retry_after_ms: int | None) -> bytes:
    """What is told before a connection is closed because its buyer has no place to be told of."""
    return _encode({"type": "error", "code": code, "detail": detail, "retry_after_ms": retry_after_ms})
