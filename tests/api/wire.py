"""A gate behind a real socket, and a client that says what it wants byte by byte."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any, Final

import uvicorn

from api.gate import Gate
from doorbuster.api.asgi import AsgiLane
from doorbuster.api.fastlane import FastLane
from doorbuster.api.server import GateServer, server_for

PATIENCE_S: Final = 10.0


class Served:
    """A server on a port of its own, until `stop`. `gates` is the one a gate runs, `plain` uvicorn's with our ASGI
    lane."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._running: asyncio.Task[None] | None = None

    @classmethod
    async def gates(cls, gate: Gate) -> "Served":
        served = cls(server_for(gate.api, host="127.0.0.1", port=0, fd=0))
        await served._start()
        return served

    @classmethod
    async def plain(cls, gate: Gate) -> "Served":
        app: Any = AsgiLane(gate.api.dispatch)
        config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, server_header=False)
        served = cls(uvicorn.Server(config))
        await served._start()
        return served

    async def _start(self) -> None:
        config = self.server.config
        config.load()
        self.server.lifespan = config.lifespan_class(config)
        await self.server.startup(sockets=[self._socket])
        await self.server.on_tick(0)
        self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self.server.main_loop()
        await self.server.shutdown(sockets=[self._socket])

    async def stop(self) -> None:
        """Returns when everything under way has been answered."""
        self.server.should_exit = True
        await self.ended()

    async def ended(self) -> None:
        assert self._running is not None
        await self._running

    def signal(self) -> None:
        """As SIGTERM would."""
        assert isinstance(self.server, GateServer)
        self.server.handle_exit(15, None)

    @property
    def connections(self) -> list[FastLane]:
        return [each for each in self.server.server_state.connections if isinstance(each, FastLane)]

    async def connect(self) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Client(reader, writer)

    async def say(self, *parts: bytes, answers: int = 1, to_head: bool = False) -> "list[Response]":
        """Send the parts one by one over a connection of its own and read that many answers."""
        client = await self.connect()
        try:
            await client.send(*parts)
            return [await client.read(to_head=to_head) for _ in range(answers)]
        finally:
            await client.close()


class Response:
    """One answer as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.first = first
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body

    @property
    def code(self) -> str:
        document: dict[str, Any] = json.loads(self.body)
        return str(document.get("code", ""))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)  # so that it arrives by itself

    async def read(self, *, to_head: bool = False) -> Response:
        """The next answer, 100 Continue included. EOFError if the server closes first."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = (await self._reader.readuntil(b"\r\n\r\n"))[:-4]
                response = Response(head, b"")
                if response.status >= 200 and not to_head:
                    response.body = await self._reader.readexactly(int(response.headers["content-length"]))
            except asyncio.IncompleteReadError as problem:
                raise EOFError(problem.partial) from problem
            return response

    async def ended(self) -> bytes:
        """What still comes until the server closes, in order or by a reset."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def request(
    method: str, path: str, lines: Sequence[str] = (), body: bytes | None = None, *, version: str = "HTTP/1.1"
) -> bytes:
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {path} {version}", "Host: x", *lines, *length, "", ""])
    return head.encode("latin-1") + (body or b"")


def order(gate: Gate, user: str = "ann", *lines: str, body: bytes | None = b'{"quantity":1}', key: str = "k") -> bytes:
    """A request for one unit."""
    given = [f"Authorization: Bearer {gate.token(user)}", f"Idempotency-Key: {key}", "Content-Type: application/json"]
    return request("POST", f"/v1/sales/{gate.sale_id}/orders", [*given, *lines], body)
