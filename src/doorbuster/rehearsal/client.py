"""An HTTP client that costs as little as a client can: the crowd shares its cores with what it measures.

Owns: kept connections, one request at a time on each, and what a lost one means. A request that was sent and not
answered is `Lost`: nobody knows what became of it.
"""

import asyncio
import contextlib
from collections import deque
from typing import Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

_TIMEOUT_S: Final = 30.0


class Lost(Exception):
    """The request left, and no answer came."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    retry_after_s: float


class _Connection(asyncio.Protocol):
    """One connection; `ask` may be called again when the answer is there."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._retry_after_s = 0.0
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._parser = httptools.HttpResponseParser(self)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(Lost(str(exc) if exc else "the connection was closed"))

    def data_received(self, data: bytes) -> None:
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._fail(Lost(f"not HTTP: {problem}"))
            self.close()

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._body = []
        self._retry_after_s = 0.0
        self._transport.write(request)
        return self._waiting

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self._retry_after_s = float(value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser, waiting = self._parser, self._waiting
        self._waiting = None
        if parser is None or waiting is None or waiting.done():
            return
        if not parser.should_keep_alive():
            self.close()
        waiting.set_result(Answer(parser.get_status_code(), b"".join(self._body), self._retry_after_s))

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def _fail(self, problem: Lost) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(problem)


class Client:
    """A pool of at most `connections`; whoever finds none free waits in line. What `url` has of a path comes first."""

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._head = f" HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n".encode()
        self._free: deque[_Connection] = deque()
        self._places = asyncio.Semaphore(connections)
        self._all: set[_Connection] = set()
        self.requests = 0

    async def ask(self, method: str, path: str, headers: bytes = b"", body: bytes = b"") -> Answer:
        """One request. `headers` are whole lines. Raises Lost, also when no connection can be made."""
        async with self._places:
            connection = await self._connection()
            length = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body) if body else b""
            request = b"".join((f"{method} {self._prefix}{path}".encode(), self._head, headers, length, b"\r\n", body))
            self.requests += 1
            try:
                answer = await asyncio.wait_for(connection.ask(request), _TIMEOUT_S)
            except TimeoutError as problem:
                connection.close()
                raise Lost("no answer in time") from problem
            finally:
                if connection.usable:
                    self._free.append(connection)
                else:
                    self._all.discard(connection)
            return answer

    async def _connection(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return connection
            self._all.discard(connection)
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                _Connection, self._host, self._port, ssl=self._tls or None
            )
        except OSError as problem:
            raise Lost(f"no connection: {problem.strerror}") from problem
        self._all.add(made)
        return made

    async def close(self) -> None:
        for connection in self._all:
            connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
