"""The ASGI lane: any ASGI server can carry requests to the dispatch. The reference the fast lane is compared with.

Owns: reading a request of bounded size from ASGI events and sending a reply.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from doorbuster.api.dispatch import Dispatch
from doorbuster.api.http import Reply, Request
from doorbuster.domain import limits

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def body_max(path: str) -> int:
    """How much of a body is read: lists of the operator are long, everything else is not."""
    return limits.ADMIN_BODY_BYTES_MAX if path.startswith("/v1/admin/") else limits.BODY_BYTES_MAX


class AsgiLane:
    """An ASGI 3 application."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404, "reason": "there is no such socket"})
            return
        request = Request(scope["method"], scope["path"], scope["query_string"], list(scope["headers"]), b"")
        request.body, request.body_too_large = await _body(receive, body_max(request.path))
        reply = await self._dispatch.answer(request)
        await _send(send, reply, head_only=request.method == "HEAD", close=request.body_too_large)


async def _body(receive: Receive, size_max: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return b"", False
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > size_max:
            return b"", True
        parts.append(part)
        if not event.get("more_body", False):
            return b"".join(parts), False


async def _send(send: Send, reply: Reply, *, head_only: bool, close: bool) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
        *reply.headers,
    ]
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
