"""One connection that everybody shares: the calls of one turn of the event loop leave in one write.

Owns: the order of calls and replies on one connection, and what callers are told when it breaks.
Keeps: I1 (a call that left is never repeated here); a cancelled caller never shifts the replies of others.
Knows the wire protocol; knows nothing of sales. Read next: `node.py`, which makes a new one when this one is lost.
"""

import asyncio
from collections import deque
from itertools import islice
from typing import Final, Protocol, cast

import msgspec
from hiredis import HiredisError, Reader, ReplyError

from doorbuster.adapters.valkey.wire import Command, pack
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection."""

    call_timeout_s: float = 2.0
    """Far above any honest call (microseconds) and below the deadline of a commit, which may wait for one."""
    in_flight_max: int = 10_000
    """Calls without a reply. A take carries up to 512 asks, so this is far above what one process can have open."""
    connect_timeout_s: float = 2.0
    backoff_first_s: float = 0.02
    backoff_max_s: float = 0.5
    """A server that is back is found within this time, which recovery within 10 s (I16) includes."""


class Sink(Protocol):
    """Where a reply goes. A future is one; it must not raise."""

    def done(self) -> bool: ...
    def set_result(self, result: object, /) -> None: ...
    def set_exception(self, exception: Exception, /) -> None: ...


class _Ignored:
    """Takes the reply of ASKING."""

    def done(self) -> bool:
        return True

    def set_result(self, result: object, /) -> None: ...
    def set_exception(self, exception: Exception, /) -> None: ...


_IGNORED: Final = _Ignored()
_ASKING: Final = pack(("ASKING",))


class _Call:
    __slots__ = ("asking", "deadline", "packed", "sink")

    def __init__(self, packed: bytes, sink: Sink, deadline: float, asking: bool) -> None:
        self.packed = packed
        self.sink = sink
        self.deadline = deadline
        self.asking = asking


class Mux(asyncio.Protocol):
    """Replies come in the order of the calls. Not thread-safe; lives and dies with one connection."""

    def __init__(self, limits: Limits) -> None:
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._unsent: deque[_Call] = deque()
        self._in_flight: deque[tuple[Sink, float]] = deque()
        self._flush_scheduled = False
        self._paused = False
        self._finishing = False
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------------ calling

    @property
    def waiting(self) -> int:
        """Calls without a reply."""
        return len(self._unsent) + len(self._in_flight)

    def call(self, command: Command, *, asking: bool = False) -> asyncio.Future[object]:
        """A future of the reply. It may be cancelled at any time: the reply is then read and dropped.

        Fails with StoreUnavailable (never left), OutcomeUnknown (left, no reply) or the server's ReplyError."""
        future: asyncio.Future[object] = self._loop.create_future()
        self.send(pack(command), future, asking=asking)
        return future

    def send(self, packed: bytes, sink: Sink, *, asking: bool = False) -> None:
        """Like `call`, for a packed command. Raises StoreUnavailable at once when there is no room."""
        if self._transport is None or self._finishing:
            raise StoreUnavailable("the connection to valkey is closed")
        if self.waiting >= self._limits.in_flight_max:
            raise StoreUnavailable(f"{self.waiting} calls to valkey are waiting already")
        deadline = self._loop.time() + self._limits.call_timeout_s
        self._unsent.append(_Call(packed, sink, deadline, asking))
        if not self._flush_scheduled and not self._paused:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport = self._transport
        if transport is None or self._paused:
            return
        parts: list[bytes] = []
        for call in self._unsent:
            if call.sink.done():  # its caller left before anything was sent
                continue
            if call.asking:
                parts.append(_ASKING)
                self._in_flight.append((_IGNORED, call.deadline))
            parts.append(call.packed)
            self._in_flight.append((call.sink, call.deadline))
        self._unsent.clear()
        if parts:
            transport.write(b"".join(parts))

    # ------------------------------------------------------------------------------------------------ transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        gets, in_flight = self._reader.gets, self._in_flight
        try:
            self._reader.feed(data)
            while (reply := gets()) is not False:
                sink, _ = in_flight.popleft()
                if sink.done():
                    continue
                if type(reply) is ReplyError:
                    sink.set_exception(reply)
                else:
                    sink.set_result(reply)
        except (HiredisError, IndexError):
            # Bytes that are no reply, or a reply that nobody asked for: nothing on this connection can be trusted.
            self.abort()
        if self._finishing:
            self._end_if_finished()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        cause = f"the connection to valkey was lost{f': {exc}' if exc else ''}"
        unsent, in_flight = self._unsent, self._in_flight
        self._unsent, self._in_flight = deque(), deque()
        for sink, _ in in_flight:
            if not sink.done():
                sink.set_exception(OutcomeUnknown(cause))
        for call in unsent:
            if not call.sink.done():
                call.sink.set_exception(StoreUnavailable(cause))
        self.lost.set()

    def pause_writing(self) -> None:
        """The socket is full: what comes now stays here, where it can still be said that it never left."""
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._unsent:
            self._flush()

    def finish(self) -> None:
        """Take no new calls, and end the connection when the last reply has been read or is overdue."""
        self._finishing = True
        self._end_if_finished()

    def _end_if_finished(self) -> None:
        if self._finishing and not self.waiting and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------------ time-outs

    def _expire(self) -> None:
        """Tell callers whose time is over. Their places in the line of replies stay, so that a late reply finds its
        place; a connection that stays silent for twice the time is given up."""
        self._timer = None
        now = self._loop.time()
        timeout = self._limits.call_timeout_s
        if self._in_flight and self._in_flight[0][1] + timeout <= now:
            self.abort()
            return
        while self._unsent and self._unsent[0].deadline <= now:
            call = self._unsent.popleft()
            if not call.sink.done():
                call.sink.set_exception(StoreUnavailable("valkey took no call in time"))
        for sink, deadline in self._in_flight:
            if deadline > now:
                break
            if not sink.done():
                sink.set_exception(OutcomeUnknown("valkey did not answer in time"))
        if self.waiting:
            self._timer = self._loop.call_at(self._next_deadline(now), self._expire)

    def _next_deadline(self, now: float) -> float:
        """When the next caller's time is over, or the silent connection's."""
        times = [self._in_flight[0][1] + self._limits.call_timeout_s] if self._in_flight else []
        times += [call.deadline for call in islice(self._unsent, 1)]
        times += islice((deadline for _, deadline in self._in_flight if deadline > now), 1)
        return min(times)
