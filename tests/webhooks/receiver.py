"""A shop's receiver over real HTTP, and one that speaks bytes for what no library would send."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Received:
    """One request."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.path = request.path
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.body = body
        self.id = self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def type(self) -> str:
        return str(self.json["type"])

    def verified_by(self, secret: str) -> dict[str, Any]:
        """As a shop does it. Raises if the signature is not of this secret, or the time is not now."""
        document: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return document


class Receiver:
    """Answers 204, or as `answer` and `handler` say, and remembers everything."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], web.StreamResponse] = lambda _: web.Response(status=204)
        self.handler: Handler | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(request, await request.read())
        self.received.append(received)
        return self.answer(received) if self.handler is None else await self.handler(request)

    def answers(self, status: int, body: str = "", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _: web.Response(status=status, text=body, headers=named)

    @property
    def types(self) -> list[str]:
        return [received.type for received in self.received]

    def of(self, aggregate_id: str) -> list[str]:
        """The types received of one order, or one sale."""
        return [
            received.type
            for received in self.received
            if aggregate_id in (received.json["data"].get("order_id"), received.json["data"].get("sale_id"))
            and ("order_id" in received.json["data"]) == (received.json["data"].get("order_id") == aggregate_id)
        ]


@asynccontextmanager
async def a_receiver(
    host: str = "127.0.0.1", *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    scheme = "http" if tls is None else "https"
    receiver.url = "{}://{}:{}/hook".format(scheme, *runner.addresses[0][:2])
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_raw_receiver(*answers: bytes, keep_open: bool = False) -> AsyncGenerator[str]:
    """The URL of a server that reads a request, sends these bytes and hangs up, or does not."""
    open_ends = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for answer in answers:
                writer.write(answer)
                await writer.drain()
            if keep_open:
                await open_ends.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield "http://{}:{}/".format(*server.sockets[0].getsockname()[:2])
    finally:
        open_ends.set()
        server.close()
