"""The fast lane: requests are answered from the parser's callbacks, past the ASGI machinery.

Owns: an HTTP protocol on uvicorn's, with one worker per connection in place of a task, a scope, an event and two
callables per request. The worker answers in the order of arrival, so pipelining, flow control and the end of a
connection each have one place. What is rare on this path (upgrades, `Expect`, odd targets) goes to the ASGI lane, in
the same order. It earns its place by the figures in docs/decisions/0020-hot-routes.md; a test holds its answers
against the ASGI lane's. Read next: `dispatch.py`.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from doorbuster.api.dispatch import Dispatch
from doorbuster.api.http import Reply, Request, problem_reply
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = structlog.get_logger(__name__)

_REQUEST_S: Final = 20
"""For a whole request to arrive; a phone on a bad line needs 2. A list of the operator may take `_LIST_S`."""
_LIST_S: Final = 300
_READING_S: Final = 60
"""For a reader who takes nothing of what was written."""
_LINGER_S: Final = 3
"""For what a refused sender has on its way: closing at once would reset the connection and lose the answer."""

_RARE: Final = frozenset({b"upgrade", b"expect"})
_STREAM: Final = b"/queue/events"
"""In the address of what is answered bit by bit."""
_MALFORMED: Final = problem_reply(Refusal(Code.INVALID_REQUEST, "this is not HTTP/1.1"), status=400)

_Work = Request | Reply | tuple[RequestResponseCycle, "ASGI3Application"]
"""What the worker does next: a request, a reply that is known already, or a cycle of the ASGI lane."""


class _Starts:
    """The first bytes of replies: status line and the server's own headers, which change once a second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._known: dict[int, bytes] = {}

    def of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._known = {}
        start = self._known.get(status)
        if start is None:
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            start = self._known[status] = STATUS_LINE[status] + lines
        return start


class FastLane(HttpToolsProtocol):
    """Made by uvicorn for each connection, of a class made by `lane_for`."""

    dispatch: ClassVar[Dispatch]
    starts: ClassVar["_Starts"]
    leaving: ClassVar[bool] = False
    """Set while the gate gives notice: every answer is the last of its connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._queue: deque[_Work] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[_Work | None] | None = None
        self._request: Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._size_max = limits.BODY_BYTES_MAX
        self._receiving = False
        self._last = False
        self._lingering = False
        self._turn = 0
        self._turn_seen = 0
        self._still_s = 0

    # ---------------------------------------------------------------------------------------- what the parser calls

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._request = None
        self._receiving = True
        self._turn += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser: Any = self.parser
        url, headers = self.url, dict(self.headers)
        if self._last:
            return  # the connection ends with an earlier answer
        if url[:1] != b"/" or b"%" in url or b"#" in url or not headers.keys().isdisjoint(_RARE) or _STREAM in url:
            self._hand_over()
            return
        path, _, query = url.partition(b"?")
        method = parser.get_method().decode("ascii")
        request = Request(method, path.decode("latin-1"), query, self.headers, b"", by_name=headers)
        request.keep_alive = parser.should_keep_alive() and (
            b"connection" not in headers or parser.get_http_version() != "1.0"
        )
        self._request = request
        self._parts, self._size, self._size_max = [], 0, limits.BODY_BYTES_MAX
        length = headers.get(b"content-length")
        if length is not None and len(length) > 4:
            self._size = int(length)
            self._check_size(request)
            self._size = 0

    def on_body(self, body: bytes) -> None:
        request = self._request
        if request is None:
            if self._cycle_receives():
                super().on_body(body)
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > self._size_max:
            self._check_size(request)

    def on_message_complete(self) -> None:
        self._receiving = False
        request = self._request
        if request is None:
            if self._cycle_receives():
                super().on_message_complete()
            return
        self._request = None
        parts = self._parts
        if parts:
            request.body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._parts = []
        self._submit(request)

    def _check_size(self, request: Request) -> None:
        """The limit of the route is looked up only for a body that is larger than most may be."""
        self._size_max = self.dispatch.body_max(request)
        if self._size <= self._size_max:
            return
        request.body_too_large = True
        request.keep_alive = False
        self._request = None
        self._parts = []
        self._last = True
        self._submit(request)

    def _hand_over(self) -> None:
        """To the ASGI lane, in turn."""
        headers, url = self.headers, self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        self.cycle = None  # pyright: ignore[reportAttributeAccessIssue] - so that it is given to us at once
        super().on_headers_complete()

    def _cycle_receives(self) -> bool:
        cycle: Any = self.cycle  # None before the first
        return cycle is not None and cycle.more_body

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._submit((cycle, app))

    # ------------------------------------------------------------------------------------------------- one at a time

    def _submit(self, work: _Work) -> None:
        wake = self._wake
        if wake is not None:
            self._wake = None
            wake.set_result(work)
            return
        self._queue.append(work)
        if self._worker is None:
            self._worker = self.loop.create_task(self._work())
            self.tasks.add(self._worker)
            self._worker.add_done_callback(self._worked)
        else:
            self.flow.pause_reading()  # what is in the parser's buffer still comes: at most 256 KiB of requests

    async def _work(self) -> None:
        """Answers until the connection ends. A request under way is finished even when its caller has gone: it may
        be an order."""
        transport, queue = self.transport, self._queue
        while not transport.is_closing() and not self._lingering:
            if queue:
                work: _Work | None = queue.popleft()
            else:
                self.flow.resume_reading()
                self._wake = self.loop.create_future()
                work = await self._wake
            if work is None:
                return
            if isinstance(work, Request):
                self._write(work, await self.dispatch.answer(work))
            elif isinstance(work, Reply):
                self._write(None, work)
            else:
                cycle, app = work
                await cycle.run_asgi(app)
                if self._last and not queue:
                    transport.close()
            if self.flow.write_paused:
                self._turn += 1
                await self.flow.drain()
            self._turn += 1

    def _worked(self, worker: "asyncio.Task[None]") -> None:
        self.tasks.discard(worker)
        problem = None if worker.cancelled() else worker.exception()
        if problem is not None:
            log.error("a connection's worker failed", exc_info=problem)
        if worker.cancelled() or problem is not None:
            self.transport.abort()

    @property
    def _answering(self) -> bool:
        return self._worker is not None and self._wake is None and not self._worker.done()

    def _write(self, request: Request | None, reply: Reply) -> None:
        """One write for the whole reply."""
        self.server_state.total_requests += 1
        transport = self.transport
        if transport.is_closing():
            return
        keep = request is not None and request.keep_alive and not self.leaving and not (self._last and not self._queue)
        end = b"\r\n" if keep else b"connection: close\r\n\r\n"
        head_only = request is not None and request.method == "HEAD"
        start = self.starts.of(reply.status, self.server_state.default_headers)
        transport.write(start + reply.head + end + (b"" if head_only else reply.body))
        if not keep:
            self._end(linger=request is None or request.body_too_large)

    def on_response_complete(self) -> None:
        """Called by a cycle of the ASGI lane; the worker goes on by itself."""
        self.server_state.total_requests += 1

    # -------------------------------------------------------------------------------------------- the connection

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        parser: Any = self.parser
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserCallbackError:
            log.exception("a callback of the parser failed")
            self.transport.abort()
        except httptools.HttpParserError:
            if not self._last:
                self._last = True
                self._receiving = False
                self.dispatch.note(_MALFORMED)
                self._submit(_MALFORMED)

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            self._last = True  # answered as if no upgrade had been asked for; the parser reads nothing after it
        elif self._answering or self._queue:
            self.transport.close()  # a request before the upgrade still waits for its answer
        else:
            self._dismiss()
            self.handle_websocket_upgrade()

    def _dismiss(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.set_result(None)

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client that has said all it wants to say still gets its answers."""
        self._last = True
        return self._answering and not self._lingering

    def connection_lost(self, exc: Exception | None) -> None:
        for work in self._queue:
            if isinstance(work, tuple):
                work[0].disconnected = True
        self._queue.clear()
        self._dismiss()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: what is being answered is finished, nothing else is begun."""
        self._queue.clear()
        if not self._answering:
            self.transport.close()
            return
        self._last = True
        cycle: Any = self.cycle
        if cycle is not None:
            cycle.keep_alive = False

    def _end(self, *, linger: bool) -> None:
        if not linger:
            self.transport.close()
            return
        self._lingering = True
        self._turn += 1
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def sweep(self) -> None:
        """Called once a second: ends what has not moved for longer than its kind may."""
        if self._turn != self._turn_seen:
            self._turn_seen, self._still_s = self._turn, 0
            return
        self._still_s += 1
        if self._lingering:
            patience = _LINGER_S
        elif self._answering:
            patience = _READING_S
            if not self.flow.write_paused:
                return  # the answer is on its way to be made
        elif self._receiving:
            patience = _REQUEST_S if self._size_max <= limits.BODY_BYTES_MAX else _LIST_S
        else:
            patience = self.timeout_keep_alive
        if self._still_s >= patience:
            self.transport.abort()

    def _unset_keepalive_if_required(self) -> None:
        """No timer per request: `sweep` sees who has been idle for too long."""


def lane_for(dispatch: Dispatch) -> type[FastLane]:
    """The protocol class of one gate."""
    return type("GateLane", (FastLane,), {"dispatch": dispatch, "starts": _Starts()})
