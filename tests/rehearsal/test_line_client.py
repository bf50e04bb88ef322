"""The socket of one buyer: who it is comes first, news of the sale is passed over, a lost socket is said to be lost."""

import json

import pytest
from websockets.asyncio.server import ServerConnection, serve

from doorbuster.rehearsal.line_client import CutOff, open_live


async def test_a_socket_that_cannot_be_opened_is_cut_off() -> None:
    with pytest.raises(CutOff):
        await open_live("http://127.0.0.1:9", "s", "t")


async def test_places_are_told_in_order_and_the_end_is_cut_off() -> None:
    heard: list[object] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        heard.extend((socket.request.path, json.loads(await socket.recv())))
        await socket.send('{"type":"sale","availability":{"state":"all_held"}}')
        await socket.send('{"type":"standby","state":"standby","position":3,"new_field":[1]}')
        await socket.send(b'{"type":"granted","state":"granted","position":null}')

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with await open_live(f"http://127.0.0.1:{port}", "sale-1", "token") as live:
            told = [await live.place(), await live.place()]
            with pytest.raises(CutOff):
                await live.place()

    assert [(one.state, one.position) for one in told] == [("standby", 3), ("granted", None)]
    assert heard == ["/v1/sales/sale-1/queue/live", {"token": "token"}]
