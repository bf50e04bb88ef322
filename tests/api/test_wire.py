"""Clients that are slow, greedy, rude or gone: each gets the right answer or a closed door, and costs little."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from api.gate import ADMIN, Gate
from api.wire import Client, Served, order, request
from doorbuster.engine.ports import CommitBatch, Committed
from helpers.waiting import until

LIVE = request("GET", "/livez")


@pytest.fixture
async def served(gate: Gate) -> AsyncIterator[Served]:
    served = await Served.gates(gate)
    yield served
    await served.stop()


class HeldUp:
    """Orders wait in the ledger from now on until `go`, and go on by themselves when the test ends."""

    def __init__(self, gate: Gate) -> None:
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        self._commit = gate.shop.orders.commit
        gate.shop.orders.commit = self._wait

    async def _wait(self, batch: CommitBatch) -> Sequence[Committed]:
        self.arrived.set()
        await self.go.wait()
        return await self._commit(batch)


@pytest.fixture
def held_up(gate: Gate, served: Served) -> Iterator[HeldUp]:
    held_up = HeldUp(gate)
    yield held_up
    held_up.go.set()


# ------------------------------------------------------------------------------------------------- what is not HTTP

RUDE = {
    "no HTTP at all": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(100),
    "two lengths": b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "chunk that is no number": b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "header without a name": b"GET /livez HTTP/1.1\r\n: x\r\n\r\n",
    "header with a zero": b"GET /livez HTTP/1.1\r\nHost: x\0y\r\n\r\n",
    "folded header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n: d\r\n\r\n",
    "unknown method": b"BUY /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/9.9": b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", RUDE)
async def test_what_is_not_http_is_refused_and_the_door_closed(gate: Gate, served: Served, kind: str) -> None:
    client = await served.connect()

    await client.send(RUDE[kind])
    answer = await client.read()

    assert (answer.status, answer.code) == (400, "invalid-request")
    assert answer.headers["connection"] == "close"
    assert await client.ended() == b""
    assert gate.counts.answers["invalid-request"] == 1
    await client.close()


async def test_answers_before_rubbish_are_given_first(served: Served) -> None:
    answers = await served.say(LIVE + LIVE + b"rubbish\r\n\r\n", answers=3)

    assert [answer.status for answer in answers] == [200, 200, 400]


async def test_address_that_is_no_text_is_not_found(served: Served) -> None:
    answer = (await served.say(b"GET /v1/sales/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"))[0]

    assert answer.status in {400, 404}


async def test_random_bytes_never_stop_the_server(gate: Gate, served: Served) -> None:
    chance = random.Random(7)
    good = order(gate) + request("GET", f"/v1/sales/{gate.sale_id}") + LIVE
    for _ in range(200):
        spoilt = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        client = await served.connect()
        await client.send(bytes(spoilt))
        await client.close()

    answer = (await served.say(LIVE))[0]

    assert answer.status == 200
    await until(lambda: not served.connections)


# --------------------------------------------------------------------------------------------------- what is too much


@pytest.mark.parametrize("how", ["announced", "in chunks"])
async def test_endless_body_is_refused_and_the_answer_arrives(gate: Gate, served: Served, how: str) -> None:
    """The sender goes on sending after the answer: it must read it nevertheless, and not be reset."""
    before = await gate.state()
    client = await served.connect()
    piece = b"x" * 60_000
    if how == "announced":
        await client.send(order(gate, "ann", "Content-Length: 10000000", body=None))
    else:
        await client.send(order(gate, "ann", "Transfer-Encoding: chunked", body=None))
        piece = b"%x\r\n" % len(piece) + piece + b"\r\n"

    for _ in range(100):
        client.writer.write(piece)
    answer = await client.read()

    assert (answer.status, answer.code, answer.headers["connection"]) == (422, "invalid-request", "close")
    assert await gate.state() == before
    await client.close()


async def test_client_that_asks_first_is_not_told_to_send_too_much(gate: Gate, served: Served) -> None:
    asking = order(gate, "ann", "Content-Length: 10000000", "Expect: 100-continue", body=None)

    answer = (await served.say(asking))[0]

    assert (answer.status, answer.code) == (422, "invalid-request")


async def test_operator_may_send_a_long_list_and_nobody_else(gate: Gate, served: Served) -> None:
    path = f"/v1/admin/sales/{gate.sale_id}/blocklist"
    rows = "\n".join(f"user-{number:06}" for number in range(30_000)).encode()
    tell = ["Content-Type: text/csv", f"Authorization: Bearer {ADMIN}"]

    operator = (await served.say(request("PUT", path, tell, rows)))[0]
    stranger = (await served.say(request("PUT", path, tell[:1], rows)))[0]

    assert (operator.status, operator.body) == (200, b'{"added":30000,"removed":0,"total":30000}')
    assert (stranger.status, stranger.headers["connection"]) == (401, "close")


async def test_reader_who_takes_nothing_is_not_written_to_for_ever(gate: Gate, served: Served) -> None:
    """A client sends requests and reads no answer: after a while nothing more is read from it."""
    see = request("GET", "/openapi.json")
    sent = 0
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        pushed_back = 0
        while pushed_back < 20:
            try:
                sent += client.send(see * 1000)
                pushed_back = 0
            except BlockingIOError:
                pushed_back += 1
            await asyncio.sleep(0)
        (connection,) = served.connections

        assert sent < 20_000_000
        assert connection.transport.get_write_buffer_size() < 2_000_000

        for _ in range(61):
            connection.sweep()
        await until(lambda: not served.connections, what="the door is closed")


# ------------------------------------------------------------------------------------------------------ what is slow


async def test_half_a_request_does_not_keep_the_door_open(gate: Gate, served: Served) -> None:
    client = await served.connect()
    await client.send(order(gate)[:-5])
    await until(lambda: served.connections)
    (connection,) = served.connections

    for _ in range(19):
        connection.sweep()
    assert not connection.transport.is_closing()
    for _ in range(2):
        connection.sweep()

    assert await client.ended() == b""
    assert await gate.shop.all_orders(gate.sale_id) == []
    await client.close()


async def test_one_byte_at_a_time_does_not_stretch_the_time(gate: Gate, served: Served) -> None:
    client = await served.connect()
    await client.send(order(gate)[:10])
    await until(lambda: served.connections)
    (connection,) = served.connections

    for byte in order(gate)[10:40]:
        connection.sweep()
        if not connection.transport.is_closing():
            client.writer.write(bytes([byte]))
        await asyncio.sleep(0)

    assert await client.ended() == b""
    await client.close()


async def test_idle_connection_is_kept_for_a_minute(served: Served) -> None:
    client = await served.connect()
    await client.send(LIVE)
    await client.read()
    (connection,) = served.connections

    for _ in range(61):
        connection.sweep()
    await client.send(LIVE)

    assert (await client.read()).status == 200
    for _ in range(70):
        connection.sweep()
    assert await client.ended() == b""
    await client.close()


async def test_order_that_waits_for_the_ledger_is_not_hurried(gate: Gate, served: Served, held_up: HeldUp) -> None:
    client = await served.connect()
    await client.send(order(gate))
    await held_up.arrived.wait()

    for _ in range(200):
        served.connections[0].sweep()
    held_up.go.set()

    assert (await client.read()).status == 201
    await client.close()


# -------------------------------------------------------------------------------------------------- how it may end


async def test_client_that_has_said_everything_still_gets_answers(gate: Gate, served: Served, held_up: HeldUp) -> None:
    client = await served.connect()
    await client.send(order(gate) + LIVE + request("GET", "/%6civez"))
    client.writer.write_eof()
    await held_up.arrived.wait()
    held_up.go.set()

    answers = [await client.read() for _ in range(3)]

    assert [answer.status for answer in answers] == [201, 200, 200]
    assert await client.ended() == b""
    await client.close()


async def test_order_of_a_client_who_left_is_still_made(gate: Gate, served: Served, held_up: HeldUp) -> None:
    client = await served.connect()
    await client.send(order(gate))
    await held_up.arrived.wait()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()  # a reset: unlike an end, nobody is there to read
    await until(lambda: not served.connections)

    held_up.go.set()

    orders = await until(lambda: gate.shop.all_orders(gate.sale_id))
    assert [each.user_id for each in orders] == ["ann"]


async def test_stop_answers_what_is_under_way_and_closes_the_rest(gate: Gate, served: Served, held_up: HeldUp) -> None:
    busy, idle, fresh = await served.connect(), await served.connect(), await served.connect()
    await busy.send(order(gate) + LIVE)
    await idle.send(LIVE)
    await idle.read()
    await held_up.arrived.wait()
    await until(lambda: len(served.connections) == 3)

    served.server.should_exit = True

    assert await idle.ended() == b""
    assert await fresh.ended() == b""
    held_up.go.set()
    answer = await busy.read()
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    assert await busy.ended() == b"", "nothing new is begun"
    await served.ended()
    await _close(busy, idle, fresh)


async def test_signal_is_first_told_and_then_obeyed(gate: Gate) -> None:
    """A gate with a port of its own says that it is not ready while it still answers."""
    served = await Served.gates(gate)
    served.server._notice_s = 0.5  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    client = await served.connect()
    await client.send(request("GET", "/readyz"))
    assert (await client.read()).status == 200

    served.signal()
    await client.send(request("GET", "/readyz"))
    answer = await client.read()

    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert (await served.say(order(gate)))[0].status == 201
    await served.ended()
    await client.close()


async def test_second_signal_ends_the_notice(gate: Gate) -> None:
    served = await Served.gates(gate)
    served.server._notice_s = 3600  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]

    served.signal()
    served.signal()

    async with asyncio.timeout(5):
        await served.ended()


async def test_socket_that_is_not_offered_is_refused(served: Served) -> None:
    lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="

    answer = (await served.say(request("GET", "/v1/sales/x/queue/live", [*lines, key])))[0]

    assert answer.status == 403


async def _close(*clients: Client) -> None:
    for client in clients:
        await client.close()
