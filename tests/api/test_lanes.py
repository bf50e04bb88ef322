"""The two lanes on a real socket: whatever is sent, the fast lane answers as the ASGI lane does."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from api.gate import Gate
from doorbuster.api.asgi import AsgiLane
from doorbuster.api.fastlane import lane_for


class Lane:
    """One server of a gate on a port of its own."""

    def __init__(self, gate: Gate, http: Any) -> None:
        self._config = uvicorn.Config(
            AsgiLane(gate.api.dispatch), http=http, ws="none", lifespan="off", log_config=None, server_header=False
        )
        self._server = uvicorn.Server(self._config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._socket])
        self._task = asyncio.ensure_future(self._server.main_loop())

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        await self._server.shutdown(sockets=[self._socket])

    async def send(self, *parts: bytes) -> bytes:
        """Send the parts one by one, then everything that comes until the server closes or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            received = b""
            while True:
                try:
                    piece = await asyncio.wait_for(reader.read(65_536), 0.3)
                except TimeoutError:
                    return received
                if not piece:
                    return received
                received += piece
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def lanes(gate: Gate) -> AsyncIterator[tuple[Lane, Lane]]:
    fast, plain = Lane(gate, lane_for(gate.api.dispatch)), Lane(gate, "httptools")
    await fast.start()
    await plain.start()
    yield fast, plain
    await fast.stop()
    await plain.stop()


def comparable(raw: bytes) -> list[tuple[bytes, frozenset[bytes], bytes]]:
    """Status line, headers and body of each response, without what differs from moment to moment."""
    raw = re.sub(rb'"server_time":"[^"]*"', b"", raw)
    raw = re.sub(rb"content-length: \d+", b"content-length: n", raw)
    found: list[tuple[bytes, frozenset[bytes], bytes]] = []
    for response in re.split(rb"(?=HTTP/1\.1 \d)", raw)[1:]:
        head, _, body = response.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        kept = frozenset(line.lower() for line in lines if not line.lower().startswith((b"date:", b"retry-after:")))
        found.append((first, kept, re.sub(rb'"retry_after_ms":\d+', b"", body)))
    return found


def order_request(gate: Gate, user: str, body: bytes = b'{"quantity":1}', *lines: str, length: bool = True) -> bytes:
    head = [
        f"POST /v1/sales/{gate.sale_id}/orders HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {gate.token(user)}",
        "Idempotency-Key: k",
        "Content-Type: application/json",
        *([f"Content-Length: {len(body)}"] if length else []),
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def requests(gate: Gate) -> dict[str, tuple[bytes, ...]]:
    sale = f"/v1/sales/{gate.sale_id}"
    chunked = order_request(gate, "ann", b"", "Transfer-Encoding: chunked", length=False)
    whole = order_request(gate, "ann")
    expecting = order_request(gate, "ann", b"", "Content-Length: 14", "Expect: 100-continue", length=False)
    return {
        "order": (whole,),
        "order twice on one connection": (whole, whole),
        "order pipelined": (whole + whole + whole,),
        "order byte by byte": tuple(bytes([byte]) for byte in whole),
        "order in chunks": (chunked + b"5\r\n" + b'{"qua\r\n' + b"9\r\n" + b'ntity":1}\r\n' + b"0\r\n\r\n",),
        "order expecting 100": (expecting, b'{"quantity":1}'),
        "bad body": (order_request(gate, "ann", b"{"),),
        "body too large": (order_request(gate, "ann", b"x" * 100_000),),
        "no token": (f"POST {sale}/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode(),),
        "sale": (f"GET {sale} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),),
        "sale, head only": (f"HEAD {sale} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),),
        "sale by HTTP/1.0": (f"GET {sale} HTTP/1.0\r\n\r\n".encode(),),
        "sale and close": (f"GET {sale} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),),
        "sale with a query": (f"GET {sale}?x=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),),
        "sale with an escaped path": (f"GET {sale.replace('sales', 'sal%65s')} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),),
        "unknown sale": (b"GET /v1/sales/x HTTP/1.1\r\nHost: x\r\n\r\n",),
        "unknown path": (b"GET /v1/sales/x/y/z HTTP/1.1\r\nHost: x\r\n\r\n",),
        "wrong method": (f"PUT {sale} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode(),),
        "fast, slow, fast": (
            f"GET {sale} HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
            f"GET {sale} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        ),
        "request id": (f"GET {sale} HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n\r\n".encode(),),
    }


@pytest.mark.parametrize("kind", requests(Gate()).keys())
async def test_fast_lane_answers_as_the_plain_one(gate: Gate, lanes: tuple[Lane, Lane], kind: str) -> None:
    fast, plain = lanes
    sent = requests(gate)[kind]
    await gate.order("ann", key="k")  # so that both lanes see the same order

    answers = [comparable(await lane.send(*sent)) for lane in (fast, plain)]

    assert answers[0], "no answer at all"
    assert answers[0] == answers[1]


async def test_client_that_leaves_leaves_nothing_behind(gate: Gate, lanes: tuple[Lane, Lane]) -> None:
    """Sent, and gone before the answer: the order exists, and the server goes on."""
    fast, _ = lanes
    _, writer = await asyncio.open_connection("127.0.0.1", fast.port)
    writer.write(order_request(gate, "bob"))
    writer.close()
    await writer.wait_closed()

    again = await fast.send(order_request(gate, "bob"))

    assert b"201 Created" in again
    orders = await gate.shop.all_orders(gate.sale_id)
    assert len(orders) == 1
