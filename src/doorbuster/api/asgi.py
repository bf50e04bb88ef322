"""The ASGI lane: any ASGI server can carry requests to the dispatch. The reference the fast lane is compared with.

Owns: reading a request of bounded size from ASGI events and sending a reply.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from doorbuster.api.dispatch import Dispatch
from doorbuster.api.http import Reply, Request

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Stream(Protocol):
    """Answers with what goes on for as long as its reader."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, sale_id: str, /) -> None: ...

    def drain(self) -> None:
        """End all answers soon: the server stops."""
        ...


class AsgiLane:
    """An ASGI 3 application."""

    def __init__(self, dispatch: Dispatch, streams: Mapping[re.Pattern[str], Stream] | None = None) -> None:
        """`streams` answer what goes on for as long as its reader: by the pattern of the path, whose group is the
        sale's id."""
        self._dispatch = dispatch
        self._streams = streams or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404, "reason": "there is no such socket"})
            return
        for pattern, stream in self._streams.items():
            found = pattern.fullmatch(scope["path"]) if scope["method"] == "GET" else None
            if found is not None:
                await stream(scope, receive, send, found[1])
                return
        request = Request(scope["method"], scope["path"], scope["query_string"], list(scope["headers"]), b"")
        await self._read(request, receive)
        reply = await self._dispatch.answer(request)
        await _send(send, reply, head_only=request.method == "HEAD", close=request.body_too_large)

    async def _read(self, request: Request, receive: Receive) -> None:
        """A body that says it is too large is not asked for: the client is not even told to continue."""
        size_max = self._dispatch.body_max(request)
        if int(request.header(b"content-length") or b"0") > size_max:
            request.body_too_large = True
            return
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > size_max:
                request.body_too_large = True
                return
            more = event.get("more_body", False)
        request.body = b"".join(parts)


async def _send(send: Send, reply: Reply, *, head_only: bool, close: bool) -> None:
    headers = reply.lines()
    if close:
        headers.append((b"connection", b"close"))  # what is left of the body is not read
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else reply.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
