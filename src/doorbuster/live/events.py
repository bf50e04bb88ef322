"""The line as Server-Sent Events: `GET /v1/sales/{sale_id}/queue/events`.

Owns: an ASGI response that goes on as long as its reader. The same hub and the same messages as the WebSocket; a reader
who is behind is told the newest message only, so nothing grows.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from doorbuster.live.hub import First, Hub

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

EVENTS_PATH: Final = re.compile(r"/v1/sales/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/queue/events")
_BEAT_S: Final = 25.0
_WAITING_MAX: Final = 8
"""Messages that wait for a slow reader; the oldest goes first, because the newest place is the true one."""


class _Stream:
    """The wire of one reader."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._wake = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    def send(self, message: bytes) -> None:
        self._messages = [*self._messages[-_WAITING_MAX + 1 :], message]
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self._wake.set()

    async def next(self) -> list[bytes]:
        """What is to be sent; nothing after a while of silence."""
        try:
            await asyncio.wait_for(self._wake.wait(), _BEAT_S)
        except TimeoutError:
            return []
        self._wake.clear()
        messages, self._messages = self._messages, []
        return messages


class EventStreams:
    """The ASGI side of the route."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send, sale_id: str) -> None:
        headers = dict(scope["headers"])
        token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")[2]
        stream = _Stream()
        seat = await self._hub.admit(sale_id, First(token=token), stream)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")],
            }
        )
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while not gone.done():
                waiting = asyncio.ensure_future(stream.next())
                await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    break
                messages = waiting.result()
                body = b"".join(b"data: %b\n\n" % message for message in messages) or b": still here\n\n"
                if stream.closed is not None:
                    body += _farewell(*stream.closed)
                await send({"type": "http.response.body", "body": body, "more_body": stream.closed is None})
                if stream.closed is not None:
                    return
        finally:
            gone.cancel()
            if seat is not None:
                self._hub.leave(sale_id, seat)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _farewell(code: int, reason: str) -> bytes:
    """The last event: readers that reconnect by themselves see that they need not."""
    return b"event: close\ndata: %b\n\n" % json.dumps({"code": code, "reason": reason}).encode()
