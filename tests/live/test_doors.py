"""The door of a socket, byte by byte: when it is shut, and what happens when the house behind it is in trouble."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

import msgspec
import pytest

from api.gate import Gate
from doorbuster.api.live_views import LiveViews
from doorbuster.domain.outcomes import Refusal
from doorbuster.live.hub import Hub
from doorbuster.live.socket import LiveSocket, socket_class
from helpers.waiting import until

HANDSHAKE = (
    "GET /v1/sales/{sale}/queue/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class ServerState(msgspec.Struct):
    """What the server shares with its connections."""

    connections: set[LiveSocket] = msgspec.field(default_factory=set[LiveSocket])


class House:
    """A hub behind a socket of its own, with nothing between them and the test."""

    def __init__(self, gate: Gate, sockets_max: int) -> None:
        self.gate = gate
        self.state = ServerState()
        self.port = 0
        self.broken = False
        self.hub = Hub(
            board=gate.board,
            queueing=gate.services.queueing,
            line=gate.shop.line,
            describer=gate.describer,
            watch=gate.watch,
            identify=self.identify,
            views=LiveViews(gate.watch),
            clock=gate.clock,
            ids=gate.ids,
            sockets_max=sockets_max,
        )

    async def identify(self, token: str) -> tuple[str, int] | Refusal:
        if self.broken:
            raise ZeroDivisionError
        return await self.gate.api.buyers.identify_token(token)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """A connection, and the head of the answer to its upgrade."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(HANDSHAKE.format(sale=self.gate.sale_id).encode())
        return reader, writer, await reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def house(sockets_max: int = 10) -> AsyncGenerator[House]:
    gate = Gate()
    await gate.start()
    gate.sale_id = await gate.line(quantity_available=1)
    await gate.board.refresh()
    built = House(gate, sockets_max)
    kind = socket_class(built.hub, frozenset())
    server = await asyncio.get_running_loop().create_server(lambda: kind(None, built.state, None), "127.0.0.1", 0)
    built.port = server.sockets[0].getsockname()[1]
    try:
        yield built
    finally:
        server.close()
        for connection in list(built.state.connections):
            connection.shutdown()
        await until(lambda: not built.state.connections)
        await server.wait_closed()
        await built.hub.stop()
        await gate.stop()


def masked(opcode: int, body: bytes) -> bytes:
    """A frame of a client, with a mask that changes nothing."""
    size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + bytes(4) + body


def close_code(frame: bytes) -> int:
    assert frame[0] == 0x88, frame
    return int.from_bytes(frame[2:4], "big")


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    size = head[1]
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    return head + await reader.readexactly(size)


async def test_full_gate_refuses_before_the_upgrade() -> None:
    async with house(sockets_max=1) as full:
        _, first, opened = await full.open()
        _, second, refused = await full.open()

        assert b" 101 " in opened.splitlines()[0]
        assert b" 503 " in refused.splitlines()[0]
        for writer in (first, second):
            writer.close()


async def test_gate_that_stops_refuses_before_the_upgrade() -> None:
    async with house() as stopping:
        stopping.hub.drain()
        _, writer, refused = await stopping.open()

        assert b" 503 " in refused.splitlines()[0]
        writer.close()


async def test_unforeseen_fault_ends_the_connection_and_leaves_nobody_waiting() -> None:
    async with house() as troubled:
        troubled.broken = True
        reader, writer, _ = await troubled.open()
        writer.write(masked(1, json.dumps({"token": "any"}).encode()))

        assert close_code(await frame_of(reader)) == 4503
        writer.close()
        await until(lambda: not troubled.state.connections)


async def test_ping_is_answered_with_its_own_words() -> None:
    async with house() as calm:
        reader, writer, _ = await calm.open()
        writer.write(masked(9, b"are you there"))

        assert await frame_of(reader) == b"\x8a\x0d" + b"are you there"
        writer.close()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x05hello", 1002),  # no mask
        (b"\xf1\x80" + bytes(4), 1002),  # bits nobody agreed on
        (b"\x83\x80" + bytes(4), 1002),  # an opcode there is not
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),  # a terabyte, it says
        (b"\x01\x82" + bytes(4) + b"{}", 4400),  # the first part of many
    ],
)
async def test_frames_that_are_none_end_the_connection(frames: bytes, code: int) -> None:
    async with house() as calm:
        reader, writer, _ = await calm.open()
        writer.write(frames)

        assert close_code(await frame_of(reader)) == code
        writer.close()


async def test_connection_that_closes_during_its_admission_leaves_no_seat() -> None:
    async with house() as calm:
        await calm.gate.join(calm.gate.sale_id, "ann")
        _, writer, _ = await calm.open()
        writer.write(masked(1, json.dumps({"token": calm.gate.token("ann")}).encode()))
        writer.transport.abort()

        await until(lambda: not calm.state.connections)
        assert calm.hub.listening == 0
