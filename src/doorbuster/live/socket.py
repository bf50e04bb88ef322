"""A WebSocket of the line: `WS /v1/sales/{sale_id}/queue/live`.

Owns: the protocol of one connection, from the upgrade to the close. It drives the `websockets` library's sans-I/O
protocol from the transport's callbacks, without a task, a queue or an application per socket: the figures are in
docs/decisions/0041-live-connections.md. Nothing grows for a slow reader: what does not fit is not sent, and the
connection is dropped. Read next: `hub.py`.
"""

import asyncio
import http
import re
from typing import Any, ClassVar, Final, cast

import msgspec
import structlog
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from doorbuster.live import seats as ends
from doorbuster.live.hub import First, Hub
from doorbuster.live.seats import BUFFER_BYTES_MAX, Seat

log = structlog.get_logger(__name__)

_PATH: Final = re.compile(r"/v1/sales/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/queue/live")
_MESSAGE_BYTES_MAX: Final = 12 * 1024
"""The first message holds a token of at most 8 KiB and a ticket of 1 KiB; nothing after it is read at all."""
_FIRST_S: Final = 5.0
"""For the first message to arrive."""
_ADMIT_S: Final = 10.0
"""For the stores to say where the buyer stands."""
_PING_S: Final = 25.0
"""Between pings: below the 60 s after which common load balancers end a silent connection."""
_SILENT_S: Final = 70.0
"""Without a byte from the client, pongs included."""
_CLOSE_S: Final = 3.0
_CHATTER_MAX: Final = 20
"""Messages after the first that are ignored; whoever sends more has mistaken us for another service."""
_REASON_BYTES_MAX: Final = 120

_first: Final = msgspec.json.Decoder(First)


class LiveSocket(asyncio.Protocol):
    """Made by the server for each upgrade, of a class made by `socket_class`."""

    hub: ClassVar[Hub]
    origins: ClassVar[frozenset[str]] = frozenset()

    __slots__ = (
        "_admitting",
        "_chatter",
        "_closing",
        "_conn",
        "_connections",
        "_heard_at",
        "_loop",
        "_sale_id",
        "_seat",
        "_timer",
        "_transport",
    )

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        del config, app_state, _loop
        self._connections: set[Any] = server_state.connections
        self._loop = asyncio.get_running_loop()
        self._conn: ServerProtocol | None = ServerProtocol(max_size=_MESSAGE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._sale_id = ""
        self._seat: Seat | None = None
        self._admitting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._chatter = 0
        self._closing = False

    # ------------------------------------------------------------------------------------------------ the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)
        self._stop_timer()
        self._transport = None
        self._conn = None
        if self._admitting is not None:
            self._admitting.cancel()
        if self._seat is not None:
            self.hub.leave(self._sale_id, self._seat)
            self._seat = None

    def eof_received(self) -> None:
        if self._conn is not None:
            self._conn.receive_eof()
            self._flush()

    def data_received(self, data: bytes) -> None:
        conn = self._conn
        if conn is None:
            return
        self._heard_at = self._loop.time()
        conn.receive_data(data)
        for event in conn.events_received():
            if isinstance(event, Request):
                self._open(conn, event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()
        if conn.close_expected() and self._transport is not None and not self._closing:
            self._closing = True
            self._restart_timer(_CLOSE_S, self._abort)

    def pause_writing(self) -> None:
        """The reader does not keep up. What it missed is told anew when it comes back."""
        self._abort()

    # ------------------------------------------------------------------------------------------------ the handshake

    def _open(self, conn: ServerProtocol, request: Request) -> None:
        refused = self._refusal(request)
        if refused is not None:
            status, text = refused
            conn.send_response(conn.reject(status, text + "\n"))
            return
        response: Response = conn.accept(request)
        conn.send_response(response)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return
        self._restart_timer(_FIRST_S, lambda: self.close(ends.TOO_LATE, "no token was sent"))

    def _refusal(self, request: Request) -> tuple[http.HTTPStatus, str] | None:
        """Why this is answered as HTTP and not upgraded."""
        path = _PATH.fullmatch(request.path.partition("?")[0])
        if path is None:
            return http.HTTPStatus.NOT_FOUND, "there is no such socket"
        self._sale_id = path[1]
        if not _origin_allowed(request.headers, self.origins):
            return http.HTTPStatus.FORBIDDEN, "pages of this origin may not listen here"
        if self.hub.draining or len(self._connections) > self.hub.sockets_max:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "this gate takes no more listeners; poll, or try again"
        return None

    # ------------------------------------------------------------------------------------------------ frames

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return  # answered by the library
        if self._admitting is not None:
            self._chatter += 1
            if self._chatter > _CHATTER_MAX:
                self.close(ends.TOO_MANY, "nothing is expected after the first message")
            return
        if frame.opcode is not Opcode.TEXT or not frame.fin:
            self.close(ends.BAD_FIRST, "the first message has to be one text frame")
            return
        try:
            first = _first.decode(frame.data)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            self.close(ends.BAD_FIRST, 'the first message has to be {"token": "..."}')
            return
        self._restart_timer(_ADMIT_S, lambda: self.close(ends.UNAVAILABLE, "no decision in time"))
        self._admitting = self.hub.spawn(self._admit(first))

    async def _admit(self, first: First) -> None:
        try:
            seat = await self.hub.admit(self._sale_id, first, self)
        except Exception:
            log.exception("a listener could not be admitted")
            self.close(ends.UNAVAILABLE, "an unforeseen fault")
            return
        if seat is None:
            return
        if self._conn is None or self._conn.state is not State.OPEN:
            self.hub.leave(self._sale_id, seat)
            return
        self._seat = seat
        self._restart_timer(_PING_S * (0.5 + 0.5 * (id(self) % 97) / 97), self._ping)

    def _ping(self) -> None:
        conn = self._conn
        if conn is None or self._loop.time() - self._heard_at > _SILENT_S:
            self._abort()
            return
        if conn.state is State.OPEN:
            conn.send_ping(b"")
            self._flush()
        self._restart_timer(_PING_S, self._ping)

    # ------------------------------------------------------------------------------------------------ the wire

    def send(self, message: bytes) -> None:
        conn, transport = self._conn, self._transport
        if conn is None or transport is None or conn.state is not State.OPEN or transport.is_closing():
            return
        if transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            self._abort()
            return
        # What `ServerProtocol.send_text` makes of it, without its detour: one unmasked text frame (RFC 6455, 5.2).
        size = len(message)
        head = b"\x81%c" % size if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
        transport.write(head + message)

    @property
    def buffered(self) -> int:
        """Bytes that wait for the reader in this process."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        conn = self._conn
        if conn is None or conn.state is not State.OPEN:
            return
        try:
            conn.send_close(code, reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore"))
        except (InvalidState, ProtocolError):
            self._abort()
            return
        self._flush()
        self._restart_timer(_CLOSE_S, self._abort)

    def shutdown(self) -> None:
        """Called by the server when it stops."""
        if self._conn is not None and self._conn.state is State.OPEN:
            self.hub.ask_back(self)
        elif self._transport is not None and (self._conn is None or self._conn.state is State.CONNECTING):
            self._transport.close()  # one that is being closed ends by itself, or by its timer

    # ------------------------------------------------------------------------------------------------ inside

    def _flush(self) -> None:
        conn, transport = self._conn, self._transport
        if conn is None or transport is None or transport.is_closing():
            return
        for data in conn.data_to_send():
            if data:
                transport.write(data)
            else:
                transport.close()
                return

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _restart_timer(self, seconds: float, then: Any) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _origin_allowed(headers: Headers, allowed: frozenset[str]) -> bool:
    """Programs send no Origin; a page has to be of the same host, or on the list."""
    origins = headers.get_all("Origin")
    if not origins:
        return True
    if len(origins) > 1:
        return False
    origin = origins[0].lower()
    host = headers.get("Host", "").lower()
    return origin in allowed or origin in (f"http://{host}", f"https://{host}")


def socket_class(hub: Hub, origins: frozenset[str]) -> type[LiveSocket]:
    """The protocol class of one gate."""
    return type("GateSocket", (LiveSocket,), {"hub": hub, "origins": origins})
