"""The line as Server-Sent Events: `GET /v1/sales/{sale_id}/queue/events`.

Owns: an ASGI response that goes on as long as its reader. The same hub and the same messages as the WebSocket; a reader
who is behind is told the newest messages only, and one who takes nothing is dropped by the server's lane, so nothing
grows.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

from doorbuster.live.hub import First, Hub

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

EVENTS_PATH: Final = re.compile(r"/v1/sales/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/queue/events")
_BEAT_S: Final = 25.0
_ADMIT_S: Final = 10.0
"""For the stores to say where the buyer stands."""
_WAITING_MAX: Final = 8
"""Messages that wait for a slow reader; the oldest goes first, because the newest place is the true one."""
_FULL: Final = (
    b'{"type":"about:blank","title":"unavailable","status":503,"code":"unavailable",'
    b'"detail":"this gate takes no more listeners; poll, or try again"}'
)


class _Stream:
    """The wire of one reader."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._wake = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    def send(self, message: bytes) -> None:
        if self.closed is None:
            self._messages = [*self._messages[-_WAITING_MAX + 1 :], message]
            self._wake.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self._wake.set()

    async def next(self) -> bytes:
        """What is to be sent; a sign of life after a while of silence."""
        try:
            async with asyncio.timeout(_BEAT_S):
                await self._wake.wait()
        except TimeoutError:
            return b": still here\n\n"
        self._wake.clear()
        messages, self._messages = self._messages, []
        body = b"".join(b"data: %b\n\n" % message for message in messages)
        return body if self.closed is None else body + _farewell(*self.closed)


class EventStreams:
    """The ASGI side of the route."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def drain(self) -> None:
        """The server stops: everybody who listens is asked to come back, sockets too."""
        self._hub.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, sale_id: str, /) -> None:
        if self._hub.full:
            await _unavailable(send)
            return
        token = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").partition(" ")[2]
        ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [None])[0]
        stream = _Stream()
        try:
            async with asyncio.timeout(_ADMIT_S):
                seat = await self._hub.admit(sale_id, First(token=token, ticket=ticket), stream)
        except TimeoutError:
            await _unavailable(send)
            return
        try:
            await _start(send, 200, b"text/event-stream", [(b"cache-control", b"no-store")])
            await _carry(stream, receive, send)
        finally:
            if seat is not None:
                self._hub.leave(sale_id, seat)


async def _start(send: Send, status: int, content_type: bytes, more: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type), *more]})


async def _unavailable(send: Send) -> None:
    await _start(send, 503, b"application/problem+json", [(b"retry-after", b"5")])
    await send({"type": "http.response.body", "body": _FULL})


async def _carry(stream: _Stream, receive: Receive, send: Send) -> None:
    """Until the reader goes or is sent away."""
    gone = asyncio.ensure_future(_gone(receive))
    gone.add_done_callback(lambda _: stream.close(0, ""))
    try:
        more = True
        while more:
            body = await stream.next()
            if gone.done():
                return
            more = stream.closed is None
            await send({"type": "http.response.body", "body": body, "more_body": more})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _farewell(code: int, reason: str) -> bytes:
    """The last event: readers that reconnect by themselves see that they need not."""
    return b"event: close\ndata: %b\n\n" % json.dumps({"code": code, "reason": reason}).encode()
