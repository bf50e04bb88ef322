"""The fast lane: requests of the crowd are answered from the parser's callbacks, past the ASGI machinery.

Owns: an HTTP protocol that is uvicorn's own, but for one thing: a request whose path starts with a fast prefix gets no
scope, no queue of events and no chain of callables; its handler runs as one task and its reply is one write. Parsing,
keep-alive, pipelining, flow control, time-outs and shutdown stay uvicorn's. It earns its place by the figures in
docs/decisions/0020-hot-routes.md; a test holds its answers against the ASGI lane's.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from doorbuster.api.dispatch import Dispatch
from doorbuster.api.http import Reply, Request
from doorbuster.domain import limits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = structlog.get_logger(__name__)

_FAST_PREFIXES: Final = (b"/v1/sales/", b"/v1/orders/")


class _FastCycle:
    """Stands where uvicorn keeps the cycle of a request: same attributes, a shorter way."""

    __slots__ = (
        "body",
        "disconnected",
        "expect_100_continue",
        "keep_alive",
        "message_event",
        "more_body",
        "protocol",
        "request",
        "response_complete",
        "started",
        "task",
        "too_large",
    )

    def __init__(self, protocol: "FastLane", request: Request, *, keep_alive: bool, expect_100_continue: bool) -> None:
        self.protocol = protocol
        self.request = request
        self.keep_alive = keep_alive
        self.expect_100_continue = expect_100_continue
        self.body = b""
        self.more_body = True
        self.too_large = False
        self.started = False
        self.disconnected = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self.message_event = self  # `set` is called when more of the body is there, or when the client has gone

    def start(self) -> None:
        """Its turn has come: nothing before it on this connection waits for an answer."""
        self.started = True
        if self.expect_100_continue and self.more_body:
            self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.more_body or self.too_large:
            self._run()

    def set(self) -> None:
        if self.disconnected or self.response_complete:
            return
        if len(self.body) > limits.BODY_BYTES_MAX and not self.too_large:
            self.too_large = True
            if self.started:
                self._run()
        elif not self.more_body and self.started and not self.too_large:
            self._run()

    def _run(self) -> None:
        self.request.body = b"" if self.too_large else bytes(self.body)
        self.request.body_too_large = self.too_large
        # The cycle is the task's one owner. A stopping server waits for the connection, so it waits for this too.
        self.task = self.protocol.loop.create_task(self._answer())

    async def _answer(self) -> None:
        reply = await self.protocol.dispatch.answer(self.request)
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        self.protocol.reply(self, reply)


class FastLane(HttpToolsProtocol):
    """Made by uvicorn for each connection; `dispatch` is set on the class made by `lane_for`."""

    dispatch: Dispatch

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        parser = self.parser
        assert parser is not None  # it calls us
        if not self.url.startswith(_FAST_PREFIXES) or parser.should_upgrade():
            self._begin_scope()
            super().on_headers_complete()
            return
        path, _, query = self.url.partition(b"?")
        http_version = parser.get_http_version()
        cycle = _FastCycle(
            self,
            Request(parser.get_method().decode("ascii"), path.decode("latin-1"), query, self.headers, b""),
            keep_alive=http_version != "1.0" and parser.should_keep_alive(),
            expect_100_continue=self.expect_100_continue,
        )
        before: Any = self.cycle
        self.cycle = cycle  # pyright: ignore[reportAttributeAccessIssue]
        if before is None or before.response_complete:
            cycle.start()
        else:
            self.flow.pause_reading()
            waiting: Any = (cycle, None)  # a fast cycle needs no application
            self.pipeline.appendleft(waiting)

    def _begin_scope(self) -> None:
        headers, url, expects = self.headers, self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)

    def _start_asgi_task(self, cycle: Any, app: "ASGI3Application") -> None:
        if isinstance(cycle, _FastCycle):
            cycle.start()
        else:
            super()._start_asgi_task(cycle, app)

    def reply(self, cycle: _FastCycle, reply: Reply) -> None:
        """One write for the whole reply; then the connection is as uvicorn leaves it."""
        keep = cycle.keep_alive and not cycle.too_large
        parts = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (
            b"content-type: ",
            reply.content_type,
            b"\r\ncontent-length: ",
            str(len(reply.body)).encode(),
            b"\r\n",
        )
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
        if cycle.request.method != "HEAD":
            parts.append(reply.body)
        if self.transport.is_closing():
            return
        self.transport.write(b"".join(parts))
        if not keep:
            self.transport.close()
        self.on_response_complete()


def lane_for(dispatch: Dispatch) -> type[FastLane]:
    """The protocol class of one gate."""
    return type("GateLane", (FastLane,), {"dispatch": dispatch})
