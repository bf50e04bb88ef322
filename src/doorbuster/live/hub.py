"""The hub of one gate: who listens to which sale, and the tick that tells them.

Owns: admission to a room, the pace of ticks, drains. Keeps: places at most two seconds old, everybody told of the end.
A connection that asks for a place is answered by the same use case as a poll; from then on it hears what changes.
Read next: `rooms.py`; `socket.py` and `events.py`, which carry the messages.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.place import Place, nothing_comes_back
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import EntryState, SaleStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.describing import Describer
from doorbuster.engine.line_ports import LineStore
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.queueing import Queueing, not_drawn
from doorbuster.engine.watching import LineWatch
from doorbuster.live import seats as ends
from doorbuster.live.messages import KINDS, Moved, refused_message
from doorbuster.live.rooms import Events, Room, in_turns
from doorbuster.live.seats import Seat, Wire

log = structlog.get_logger(__name__)

TICK_S: Final = 0.25
"""How often a gate asks what is new in a line: who got a unit hears of it within this."""
PLACES_S: Final = 1.0
"""How often places are told that only moved: half the age they may have, the other half is for writing them."""
DRAIN_SPREAD_MS: Final = 5_000
"""Over which those who listen are asked to come back when a gate stops: not all in one second."""
_ORDERS_AT_ONCE: Final = 16

_CLOSES: Final = {
    Code.UNAUTHENTICATED: ends.UNAUTHENTICATED,
    Code.FORBIDDEN: ends.FORBIDDEN,
    Code.NOT_FOUND: ends.NOT_FOUND,
    Code.RATE_LIMITED: ends.TOO_MANY,
    Code.UNAVAILABLE: ends.UNAVAILABLE,
    Code.INVALID_REQUEST: ends.BAD_FIRST,
}


class Views(Protocol):
    """How places and sales are written; the API's own way."""

    def place(self, place: Place, kind: str) -> bytes:
        """The place as JSON with `type` in front."""
        ...

    def sale(self, sale: Sale, now_ms: int) -> bytes:
        """The public view as JSON, `type` `sale`."""
        ...

    def stamp(self, ms: int) -> str: ...


class First(msgspec.Struct, forbid_unknown_fields=True):
    """The first message of a client."""

    token: str
    ticket: str | None = None


Identify = Callable[[str], Awaitable[tuple[str, int] | Refusal]]
"""The buyer of a token, and until when it is good (milliseconds); or why it is not."""


class Hub:
    """One per gate. `start` before use; `drain` before the server stops, then `stop`."""

    def __init__(
        self,
        *,
        board: SaleBoard,
        queueing: Queueing,
        line: LineStore,
        describer: Describer,
        watch: LineWatch,
        identify: Identify,
        views: Views,
        clock: Clock,
        ids: Ids,
        sockets_max: int,
    ) -> None:
        self._board = board
        self._queueing = queueing
        self._line = line
        self._describer = describer
        self._watch = watch
        self._identify = identify
        self._views = views
        self._clock = clock
        self._ids = ids
        self._rooms: dict[str, Room] = {}
        self._task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._orders = asyncio.Semaphore(_ORDERS_AT_ONCE)
        self.sockets_max = sockets_max
        self.draining = False
        self.told = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> None:
        """Ask everybody to connect anew, elsewhere, spread over some seconds."""
        self.draining = True
        for room in self._rooms.values():
            for seat in room.everybody():
                self.ask_back(seat.wire)

    def ask_back(self, wire: Wire) -> None:
        wait_ms = int(DRAIN_SPREAD_MS * self._ids.jitter())
        wire.close(ends.RESTART, json.dumps({"reconnect_after_ms": wait_ms}))

    @property
    def listening(self) -> int:
        return sum(room.size for room in self._rooms.values())

    @property
    def full(self) -> bool:
        """Nobody new is taken."""
        return self.draining or self.listening >= self.sockets_max

    # ------------------------------------------------------------------------------------------------ coming, going

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def admit(self, sale_id: str, first: First, wire: Wire) -> Seat | None:
        """Check the token, tell the place, keep the seat. None: the wire was told why not, and closed."""
        who = await self._identify(first.token)
        if isinstance(who, Refusal):
            return self._turn_away(who, wire)
        user_id, expires_ms = who
        place = await self._queueing.place(sale_id, user_id, first.ticket)
        if isinstance(place, Refusal):
            return self._turn_away(place, wire)
        seat = Seat(user_id, wire, expires_ms)
        self._show(seat, place)
        if place.state in (EntryState.OVER, EntryState.LEFT):
            wire.close(ends.DONE, place.state.value)
            return None
        room = self._rooms.get(sale_id)
        if room is None:
            room = self._rooms[sale_id] = Room(sale_id)
        room.add(seat)
        return seat

    def leave(self, sale_id: str, seat: Seat) -> None:
        room = self._rooms.get(sale_id)
        if room is not None:
            room.remove(seat)
            if not room.size:
                del self._rooms[sale_id]

    def _turn_away(self, refusal: Refusal, wire: Wire) -> None:
        wire.send(refused_message(refusal.code.value, refusal.detail, refusal.retry_after_ms))
        wire.close(_CLOSES.get(refusal.code, ends.REFUSED), refusal.code.value)

    def _show(self, seat: Seat, place: Place) -> None:
        """Tell a place that was found by itself. Somebody who waits is taken along from the next tick on."""
        seat.number = 1 if place.state in (EntryState.WAITING, EntryState.STANDBY) else 0
        seat.position = 0  # exact only with the change it belongs to: asked for in the next tick
        seat.ticket = b"null" if place.ticket is None else json.dumps(place.ticket).encode()
        seat.wire.send(self._views.place(place, KINDS[place.state]))

    # ------------------------------------------------------------------------------------------------ the tick

    async def _run(self) -> None:
        while True:
            begun = self._clock.monotonic()
            await self.tick()
            await asyncio.sleep(max(0.05, TICK_S - (self._clock.monotonic() - begun)))

    async def tick(self) -> None:
        """Tell everybody what has changed, room by room."""
        for room in list(self._rooms.values()):
            try:
                await self._tell(room)
            except (StoreUnavailable, OutcomeUnknown):
                continue  # places grow old meanwhile, and say so: nothing is sent
            except Exception:
                log.exception("a room could not be told", sale_id=room.sale_id)

    async def _tell(self, room: Room) -> None:
        sale = await self._board.look(room.sale_id)
        if sale is None:
            return
        now_ms = self._clock.now_ms()
        telling = self._clock.monotonic() - room.told_at >= PLACES_S
        if telling:
            room.told_at = self._clock.monotonic()
            self._expire(room, now_ms)
        await self._tell_sale(room, sale, now_ms)
        if nothing_comes_back(sale, now_ms):
            await self._end(room, [seat for seat in room.everybody() if seat.number], self._describer.over(sale))
        if not room.size or sale.epoch == 0 or not_drawn(sale):
            return
        events, free = await room.follow(self._line, sale, now_ms, telling=telling)
        await self._tell_events(room, sale, events)
        if telling and free is not None:
            line = self._watch.now(sale.sale_id)
            moved = Moved(self._describer, sale, line, free=free, now_ms=now_ms, stamp=self._views.stamp)
            self.told += await room.tell(moved)

    def _expire(self, room: Room, now_ms: int) -> None:
        for seat in room.everybody():
            if seat.expires_ms <= now_ms:
                self.leave(room.sale_id, seat)
                seat.wire.close(ends.UNAUTHENTICATED, "the token has expired")

    async def _tell_sale(self, room: Room, sale: Sale, now_ms: int) -> None:
        """Pause, resume and end. That nothing is free, or something is again, stands in every place."""
        selling = sale.status in (SaleStatus.ACTIVE, SaleStatus.SOLD_OUT)
        before, room.shown_status = room.shown_status, "selling" if selling else sale.status.value
        if before and before != room.shown_status:
            message = self._views.sale(sale, now_ms)
            async for seat in in_turns(room.everybody()):
                seat.wire.send(message)

    async def _tell_events(self, room: Room, sale: Sale, events: Events) -> None:
        for seat, order_id in events.granted:
            self.spawn(self._alone(room, seat, self._tell_grant(room, seat, order_id)))
        for seat in events.lost:
            self.spawn(self._alone(room, seat, self._look_again(room, seat)))
        await self._end(room, events.gone, self._describer.left(sale))
        await self._end(room, events.over, self._describer.over(sale))

    async def _end(self, room: Room, seats: Sequence[Seat], place: Place) -> None:
        """The last message of these, which is the same for all."""
        message = self._views.place(place, KINDS[place.state])
        async for seat in in_turns(seats):
            seat.number = 0
            seat.wire.send(message)
            seat.wire.close(ends.DONE, place.state.value)
            self.leave(room.sale_id, seat)

    async def _alone(self, room: Room, seat: Seat, work: Coroutine[Any, Any, None]) -> None:
        """Something for one buyer, beside the tick, a few at once."""
        try:
            async with self._orders:
                await work
        except (StoreUnavailable, OutcomeUnknown):
            seat.number, seat.position = 1, 0  # asked for anew in the next tick
        except Exception:
            log.exception("a listener could not be told", sale_id=room.sale_id)
            self.leave(room.sale_id, seat)
            seat.wire.close(ends.UNAVAILABLE, "an unforeseen fault")

    async def _tell_grant(self, room: Room, seat: Seat, order_id: str) -> None:
        place = await self._queueing.granted(room.sale_id, order_id)
        if place is None:
            seat.number, seat.position = 1, 0
        elif place.state is EntryState.GRANTED:
            self._show(seat, place)
        else:
            await self._end(room, [seat], place)

    async def _look_again(self, room: Room, seat: Seat) -> None:
        """As its poll would: that shows the ticket, and has a doubtful image noted."""
        place = await self._queueing.place(room.sale_id, seat.user_id, json.loads(seat.ticket))
        if isinstance(place, Refusal) and place.code is Code.UNAVAILABLE:
            seat.number, seat.position = 1, 0
        elif isinstance(place, Refusal):
            self._turn_away(place, seat.wire)
            self.leave(room.sale_id, seat)
        elif place.state in (EntryState.OVER, EntryState.LEFT):
            await self._end(room, [seat], place)
        else:
            self._show(seat, place)
