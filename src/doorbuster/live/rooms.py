"""A room: everybody of one sale who listens at this gate.

Owns: the places of those who listen, moved by what happens in the line. Keeps: I14 (over is told within two seconds of
the ledger's row saying so), places at most two seconds old. One call to Valkey per tick and room, whatever the number
of listeners: a place moves up by as many as left the line ahead of it. Where that cannot be known (the reader was too
far behind, the image is another one, somebody came back with a ticket) every place is asked for anew, in batches, at
most once per telling.
Read next: `functions/news.lua`; `hub.py`, which runs the rooms.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from doorbuster.domain import limits
from doorbuster.domain.sale import Sale
from doorbuster.engine.line_ports import LineAsk, LineNews, LineStore, LineWord, NewsItem, NewsKind, Spot
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.live.messages import Moved
from doorbuster.live.seats import REPLACED, SEATS_PER_BUYER, Seat

_PER_TURN: Final = 200
"""Messages written before other work of the gate gets its turn: about four milliseconds."""
_LOST_AT_ONCE: Final = 64
"""Buyers of one tick whose place is looked up by itself; the others are asked for again in the next."""
_ASKED_AFTER_BACK: Final = 2
"""Tellings that ask anew when somebody came back: whoever was being granted meanwhile is settled by the second."""


class Events:
    """What a tick found out besides places that moved."""

    def __init__(self) -> None:
        self.granted: list[tuple[Seat, str]] = []
        self.gone: list[Seat] = []
        self.over: list[Seat] = []
        self.lost: list[Seat] = []
        """Those the line knows nothing of, or not enough."""


class Room:
    """`seats` are everybody who listens; those with a number wait."""

    def __init__(self, sale_id: str) -> None:
        self.sale_id = sale_id
        self.seats: dict[str, list[Seat]] = {}
        self.size = 0
        self.shown_status = ""
        self.told_at = float("-inf")
        self._epoch = 0
        self._seq = 0
        self._doubtful = 0

    # ------------------------------------------------------------------------------------------------ who listens

    def add(self, seat: Seat) -> None:
        """A buyer's oldest connection gives way when there are too many."""
        mine = self.seats.setdefault(seat.user_id, [])
        mine.append(seat)
        self.size += 1
        if len(mine) > SEATS_PER_BUYER:
            oldest = mine[0]
            self.remove(oldest)
            oldest.wire.close(REPLACED, "this account listens on newer connections")

    def remove(self, seat: Seat) -> None:
        mine = self.seats.get(seat.user_id)
        if mine is not None and seat in mine:
            mine.remove(seat)
            self.size -= 1
            if not mine:
                del self.seats[seat.user_id]

    def everybody(self) -> list[Seat]:
        return [seat for mine in self.seats.values() for seat in mine]

    # ------------------------------------------------------------------------------------------------ a tick

    async def follow(
        self, line: LineStore, sale: Sale, now_ms: int, *, telling: bool = True
    ) -> tuple[Events, int | None]:
        """Bring every place up to date. Returns what else happened, and the number of free units: None if places could
        not be made sure of, and are not to be told. `telling` false: only what cannot wait for the next telling. May
        raise StoreUnavailable or OutcomeUnknown before anything has changed here."""
        events = Events()
        news = await line.news(self.sale_id, self._seq, self._epoch)
        if news is None or news.epoch < sale.epoch:  # I12
            return events, None
        everybody = self.everybody()
        since, known = self._seq, self._epoch == news.epoch and news.complete
        self._epoch, self._seq = news.epoch, news.seq
        if known:
            self._apply(news, since, everybody, events)
        else:
            self._doubtful = max(self._doubtful, 1)
        asking_all = telling and self._doubtful > 0
        anew = [seat for seat in everybody if seat.number and (asking_all or not seat.position)]
        try:
            sure = await self._ask(line, sale, anew, events, now_ms)
        except (StoreUnavailable, OutcomeUnknown):
            return events, None  # in doubt as before; who was granted a unit is told all the same
        if asking_all and sure:
            self._doubtful -= 1
        return events, news.stock

    def _apply(self, news: LineNews, since: int, everybody: Sequence[Seat], events: Events) -> None:
        """Move everybody by what happened; `since` is the change before the first of the items."""
        if not news.items:
            return
        for item in news.items:
            self._note(item, everybody, events)
        # Whoever is being granted a unit is ahead of all who wait, also of those with a lower number who came back.
        granted = sum(item.kind is NewsKind.GRANTED for item in news.items)
        gone = sorted(item.number for item in news.items if item.kind is NewsKind.GONE)
        for seat in everybody:
            if not seat.number or not seat.position:
                continue
            if seat.seq <= since:
                passed = granted + bisect_left(gone, seat.number)
            else:  # asked for in between: some of the news was known then
                passed = sum(_ahead(item, seat.number) for item in news.items[seat.seq - since :])
            seat.position = max(0, seat.position - passed)  # 0 is no place: it is asked for
            seat.seq = max(seat.seq, news.seq)

    def _note(self, item: NewsItem, everybody: Sequence[Seat], events: Events) -> None:
        if item.kind is NewsKind.BACK:
            self._doubtful = _ASKED_AFTER_BACK
            return
        if item.kind is NewsKind.ENDED:
            events.over += [seat for seat in everybody if seat.position and 0 < seat.number <= item.number]
            return
        for seat in self.seats.get(item.user_id, ()):
            if seat.number != item.number:
                continue
            seat.number = 0
            if item.kind is NewsKind.GRANTED:
                events.granted.append((seat, item.hold_id))
            else:
                events.gone.append(seat)

    async def _ask(self, line: LineStore, sale: Sale, seats: Sequence[Seat], events: Events, now_ms: int) -> bool:
        """Ask for these places. False if not all of them are known now."""
        sure = True
        for start in range(0, len(seats), limits.TAKE_BATCH_MAX):
            part = seats[start : start + limits.TAKE_BATCH_MAX]
            # A number that was told before is shown like a ticket: it brings back a place that Valkey has lost.
            asks = [LineAsk(seat.user_id, ticket=seat.number if seat.position else 0) for seat in part]
            spots = await line.ask(self.sale_id, asks, now_ms=now_ms, epoch_min=sale.epoch, paid=sale.quantity_paid)
            for seat, spot in zip(part, spots, strict=True):
                sure = _take(seat, spot, events) and sure
        return sure

    async def tell(self, moved: Moved) -> int:
        """Write to everybody whose place looks different now. Returns how many."""
        told = 0
        for seat in self.everybody():
            key = moved.key(seat.position)
            if not seat.number or not seat.position or seat.shown == key:
                continue
            seat.shown = key
            seat.wire.send(moved.message(seat.position, seat.ticket))
            told += 1
            if told % _PER_TURN == 0:
                await asyncio.sleep(0)
        return told


def _ahead(item: NewsItem, number: int) -> bool:
    return item.kind is NewsKind.GRANTED or (item.kind is NewsKind.GONE and item.number < number)


def _take(seat: Seat, spot: Spot, events: Events) -> bool:
    """What the line said to one ask. False if that is no place and no end."""
    match spot.word:
        case LineWord.WAITING | LineWord.GRANTING if seat.position and seat.number != spot.number:
            seat.number = 0
            events.lost.append(seat)  # put back by a ticket on another device: it needs that ticket, too
        case LineWord.WAITING | LineWord.GRANTING:
            seat.number, seat.position, seat.seq = spot.number, spot.position, spot.seq
        case LineWord.GRANTED:
            seat.number = 0
            events.granted.append((seat, spot.hold_id))
        case LineWord.LEFT:
            seat.number = 0
            events.gone.append(seat)
        case LineWord.OVER:
            events.over.append(seat)
        case LineWord.NO_IMAGE | LineWord.STALE_EPOCH:
            return False
        case _:
            if len(events.lost) < _LOST_AT_ONCE:
                seat.number = 0
                events.lost.append(seat)
            return False
    return True


async def in_turns(seats: Iterable[Seat]) -> AsyncIterator[Seat]:
    """All of them, with turns for other work of the gate in between."""
    for count, seat in enumerate(seats, start=1):
        yield seat
        if count % _PER_TURN == 0:
            await asyncio.sleep(0)
