"""A door in front of a server that can be slow, silent or shut, in the ways networks are."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

_CHUNK: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST instead of FIN."""


class Proxy:
    """Passes bytes both ways between a TCP port of its own and a server. Change the attributes at any time.

    `latency_s` delays every piece, each way. `questions` and `answers` say whether that direction passes: what arrives
    while it does not is kept and passes later. Nothing passes a black hole: `questions = answers = False`.
    """

    def __init__(self, url: str) -> None:
        self._target = _target(url)
        self._pairs: set[_Pair] = set()
        self._listener: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._questions = True
        self._answers = True
        self.latency_s = 0.0
        self.port = 0
        self.url = ""
        self._given = url
        self.accepted = 0
        """Connections taken so far."""

    @property
    def questions(self) -> bool:
        return self._questions

    @questions.setter
    def questions(self, passes: bool) -> None:
        self._questions = passes
        self._wake()

    @property
    def answers(self) -> bool:
        return self._answers

    @answers.setter
    def answers(self, passes: bool) -> None:
        self._answers = passes
        self._wake()

    def black_hole(self) -> None:
        """Everything is accepted, nothing arrives."""
        self.questions = self.answers = False

    def heal(self) -> None:
        """Everything passes at once."""
        self.latency_s = 0.0
        self.questions = self.answers = True

    def reset(self) -> None:
        """Every connection ends with RST on both sides; new ones are taken."""
        for pair in list(self._pairs):
            pair.reset()

    def half_close(self) -> None:
        """The server side of every connection is told that no more questions come; answers still pass."""
        for pair in list(self._pairs):
            pair.half_close()

    async def refuse(self) -> None:
        """No new connection is taken: the port is closed. `open` opens it again."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def open(self) -> None:
        """Take connections; on the same port as before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        self.url = _through(self._given, self.port)

    async def close(self) -> None:
        await self.refuse()
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        await asyncio.gather(*(pair.ended() for pair in pairs))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            await self._passing(lambda: self._questions)
            to_reader, to_writer = await self._target()
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(self, (reader, writer), (to_reader, to_writer))
        self._pairs.add(pair)
        try:
            await pair.ended()
        finally:
            self._pairs.discard(pair)

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        """One direction, until its end."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.latency_s:
                    await _delay(self.latency_s)
                await self._passing(passes)
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def _passing(self, passes: Callable[[], bool]) -> None:
        while not passes():
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """The two connections of one client."""

    def __init__(self, proxy: Proxy, client: _Stream, server: _Stream) -> None:
        self._writers = (client[1], server[1])
        self._work = [
            asyncio.ensure_future(proxy.pass_on(client[0], server[1], lambda: proxy.questions)),
            asyncio.ensure_future(proxy.pass_on(server[0], client[1], lambda: proxy.answers)),
        ]

    async def ended(self) -> None:
        try:
            await asyncio.gather(*self._work, return_exceptions=True)
        finally:
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            endpoint = writer.get_extra_info("socket")
            if endpoint is not None and endpoint.family == socket.AF_INET:
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        for work in self._work:
            work.cancel()

    def half_close(self) -> None:
        self._work[0].cancel()
        with contextlib.suppress(OSError):
            self._writers[1].write_eof()


@contextlib.asynccontextmanager
async def proxy_to(url: str) -> AsyncGenerator[Proxy]:
    """An open proxy to the PostgreSQL or Valkey (or any host:port) at this URL; `proxy.url` leads through it."""
    proxy = Proxy(url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()


async def _delay(seconds: float) -> None:
    """Until the loop's clock says so: a delay is what is being tested here."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await done.wait()


def _target(url: str) -> Callable[[], Awaitable[_Stream]]:
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [""])[0]
    if parts.scheme == "unix":
        return lambda: asyncio.open_unix_connection(unquote(parts.path))
    if parts.scheme == "postgresql" and host.startswith("/"):
        return lambda: asyncio.open_unix_connection(f"{host}/.s.PGSQL.5432")
    assert parts.port is not None, f"no port in {url}"
    return lambda: asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port)


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        user = f"{parts.username}@" if parts.username else ""
        return f"postgresql://{user}127.0.0.1:{port}{parts.path}"
    scheme = "redis" if parts.scheme == "unix" else parts.scheme
    return f"{scheme}://127.0.0.1:{port}"
