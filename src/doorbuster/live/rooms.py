"""A room: everybody of one sale who listens at this gate.

Owns: the places of those who listen, moved by what happens in the line. Keeps: I14 (over is told within two seconds of
the ledger's row saying so), places at most two seconds old. One call to Valkey per tick and room, whatever the number
of listeners: a place moves up by as many as left the line ahead of it. Where that cannot be known (the reader was too
far behind, the image is another one, somebody came back with a ticket) every place is asked for anew, in batches.
Read next: `functions/news.lua`; `hub.py`, which runs the rooms.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from doorbuster.domain import limits
from doorbuster.domain.sale import Sale
from doorbuster.engine.line_ports import LineAsk, LineNews, LineStore, LineWord, NewsItem, NewsKind
from doorbuster.live.messages import Moved
from doorbuster.live.seats import REPLACED, SEATS_PER_BUYER, Seat

_DEPARTED = frozenset({NewsKind.GRANTED, NewsKind.GONE})
_PER_TURN = 500
"""Messages written before other work of the gate gets its turn: about ten milliseconds."""


class Events:
    """What a tick found out besides places that moved."""

    def __init__(self) -> None:
        self.granted: list[tuple[Seat, str]] = []
        self.gone: list[Seat] = []
        self.over: list[Seat] = []


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

    async def follow(self, line: LineStore, sale: Sale, now_ms: int) -> tuple[Events, int]:
        """Bring every place up to date. Returns what else happened, and the number of free units. May raise
        StoreUnavailable or OutcomeUnknown: then nothing has changed here."""
        events = Events()
        news = await line.news(self.sale_id, self._seq, self._epoch)
        if news is None:
            return events, 0
        since, known = self._seq, self._epoch == news.epoch and news.complete
        self._epoch, self._seq = news.epoch, news.seq
        if known:
            self._apply(news, since, events)
        back = any(item.kind is NewsKind.BACK for item in news.items)
        waiting = [seat for seat in self.everybody() if seat.number]
        anew = waiting if back or not known else [seat for seat in waiting if not seat.position]
        await self._ask(line, sale, anew, events, now_ms)
        return events, news.stock

    def _apply(self, news: LineNews, since: int, events: Events) -> None:
        """Move everybody by what happened; `since` is the change before the first of the items."""
        if not news.items:
            return
        for item in news.items:
            self._note(item, events)
        departed = sorted(item.number for item in news.items if item.kind in _DEPARTED)
        for seat in self.everybody():
            if not seat.number or not seat.position:
                continue
            if seat.seq <= since:
                seat.position -= bisect_left(departed, seat.number)
            else:  # asked for in between: some of the news was known then
                later = news.items[seat.seq - since :]
                seat.position -= sum(item.kind in _DEPARTED and item.number < seat.number for item in later)
            seat.seq = max(seat.seq, news.seq)

    def _note(self, item: NewsItem, events: Events) -> None:
        if item.kind is NewsKind.ENDED:
            events.over += [seat for seat in self.everybody() if 0 < seat.number <= item.number]
            return
        for seat in self.seats.get(item.user_id, ()):
            if seat.number != item.number:
                continue
            if item.kind is NewsKind.GRANTED:
                seat.number = 0
                events.granted.append((seat, item.hold_id))
            elif item.kind is NewsKind.GONE:
                seat.number = 0
                events.gone.append(seat)

    async def _ask(self, line: LineStore, sale: Sale, seats: Sequence[Seat], events: Events, now_ms: int) -> None:
        for start in range(0, len(seats), limits.TAKE_BATCH_MAX):
            part = seats[start : start + limits.TAKE_BATCH_MAX]
            # A number that was told before is shown like a ticket: it brings back a place that Valkey has lost.
            asks = [LineAsk(seat.user_id, ticket=seat.number if seat.position else 0) for seat in part]
            spots = await line.ask(self.sale_id, asks, now_ms=now_ms, epoch_min=sale.epoch, paid=sale.quantity_paid)
            for seat, spot in zip(part, spots, strict=True):
                match spot.word:
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
                    case _:
                        pass  # being rebuilt, or thrown back: the gate's own requests see to that; asked again soon

    async def tell(self, moved: Moved) -> int:
        """Write to everybody whose place looks different now. Returns how many."""
        told = 0
        for seat in _waiting(self.everybody()):
            key = moved.key(seat.position)
            if seat.shown == key:
                continue
            seat.shown = key
            seat.wire.send(moved.message(seat.position, seat.ticket))
            told += 1
            if told % _PER_TURN == 0:
                await asyncio.sleep(0)
        return told


def _waiting(seats: Iterable[Seat]) -> Iterable[Seat]:
    return (seat for seat in seats if seat.number and seat.position)
