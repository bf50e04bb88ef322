"""A reader who takes nothing: what does not fit is not kept for it, and its connection ends."""

import asyncio

import msgspec

from api.gate import Gate
from doorbuster.api.live_views import LiveViews
from doorbuster.live.hub import Hub
from doorbuster.live.seats import BUFFER_BYTES_MAX
from doorbuster.live.socket import LiveSocket, socket_class
from helpers.waiting import until

HANDSHAKE = (
    "GET /v1/sales/{sale}/queue/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class ServerState(msgspec.Struct):
    """What the server shares with its connections."""

    connections: set[LiveSocket] = msgspec.field(default_factory=set[LiveSocket])


async def test_reader_who_takes_nothing_is_dropped() -> None:
    gate = Gate()
    await gate.start()
    queueing = gate.services.queueing
    hub = Hub(
        board=gate.board,
        queueing=queueing,
        line=gate.shop.line,
        describer=gate.describer,
        watch=gate.watch,
        identify=gate.api.buyers.identify_token,
        views=LiveViews(gate.watch),
        clock=gate.clock,
        ids=gate.ids,
        sockets_max=10,
    )
    state, kind = ServerState(), socket_class(hub, frozenset())
    server = await asyncio.get_running_loop().create_server(lambda: kind(None, state, None), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE.format(sale=gate.sale_id).encode())
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    [socket] = state.connections

    sent = 0
    while state.connections and sent < 100_000:
        socket.send(b"x" * 4_000)
        sent += 1
        await asyncio.sleep(0)
        buffered = socket.buffered
        assert buffered <= BUFFER_BYTES_MAX + 4_096

    await until(lambda: not state.connections)
    writer.close()
    server.close()
    await server.wait_closed()
    await hub.stop()
    await gate.stop()
    assert sent < 100_000, "a reader who takes nothing was written to for ever"
