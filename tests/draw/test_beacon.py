"""The beacon over real HTTP: whatever a server does, a draw gets a value of its round or a reason."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from doorbuster.adapters.beacon import HttpBeacon, build_beacon
from doorbuster.config import Settings
from doorbuster.domain.draw import BeaconNote
from doorbuster.engine.drawing import BeaconAnswer
from helpers.waiting import until

SIGNATURE = "b7" * 48
VALUE = hashlib.sha256(bytes.fromhex(SIGNATURE)).hexdigest()
RIGHT: dict[str, Any] = {"round": 7, "randomness": VALUE, "signature": SIGNATURE}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A server of rounds that answers as its test says."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.requests: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        assert self.handler is not None
        return await self.handler(request)

    def answers(self, body: object = None, *, status: int = 200, raw: bytes | None = None, **headers: str) -> None:
        content = json.dumps(body).encode() if raw is None else raw

        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(body=content, status=status, headers=headers)

        self.handler = handler

    def beacon(self, timeout_s: float = 0.05) -> HttpBeacon:
        return HttpBeacon(self.url + "/public/{round}", timeout_s)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield served
    await runner.cleanup()


async def given_up(beacon: HttpBeacon) -> BeaconAnswer:
    """The answer once patience is used up."""

    async def final() -> BeaconAnswer | None:
        answer = await beacon.value(7)
        return None if answer.wait else answer

    answer = await until(final)
    assert answer is not None
    return answer


@pytest.mark.parametrize("signature", [SIGNATURE, None], ids=["signed", "unsigned"])
async def test_value_of_the_round_is_taken(server: Server, signature: str | None) -> None:
    said = {key: value for key, value in (RIGHT | {"signature": signature}).items() if value is not None}
    server.answers(said | {"previous_signature": "00"})

    assert await server.beacon().value(7) == BeaconAnswer(value=VALUE)

    assert server.requests == ["/public/7"]


@pytest.mark.parametrize(
    "body",
    [
        RIGHT | {"round": 8},
        RIGHT | {"round": "7"},
        RIGHT | {"randomness": VALUE[:-2]},
        RIGHT | {"randomness": "z" * 64},
        RIGHT | {"randomness": "0" * 64},
        RIGHT | {"signature": "b8" * 48},
        RIGHT | {"signature": "zz"},
        {"round": 7},
        [7, VALUE],
        None,
    ],
    ids=[
        "another round",
        "round as text",
        "short value",
        "no hex",
        "another value",
        "another signature",
        "signature no hex",
        "no value",
        "a list",
        "null",
    ],
)
async def test_wrong_content_is_refused(server: Server, body: object) -> None:
    server.answers(body)

    assert await given_up(server.beacon()) == BeaconAnswer(note=BeaconNote.UNUSABLE)


@pytest.mark.parametrize("raw", [b"", b"garbage", b"\xff\xfe", b"[" * 10_000, b'{"round":7'])
async def test_garbage_is_refused(server: Server, raw: bytes) -> None:
    server.answers(raw=raw)

    assert await given_up(server.beacon()) == BeaconAnswer(note=BeaconNote.UNUSABLE)


async def test_too_large_an_answer_is_not_read_to_its_end(server: Server) -> None:
    broken = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 10_000)
        except ConnectionError:
            broken.set()
            raise

    server.handler = endless

    assert await given_up(server.beacon()) == BeaconAnswer(note=BeaconNote.UNUSABLE)
    await asyncio.wait_for(broken.wait(), 10)


@pytest.mark.parametrize("status", [201, 404, 425, 500, 503])
async def test_status_that_is_no_answer_is_waited_out(server: Server, status: int) -> None:
    server.answers(RIGHT, status=status)

    assert await given_up(server.beacon()) == BeaconAnswer(note=BeaconNote.UNREACHABLE)


async def test_redirect_is_not_followed(server: Server) -> None:
    server.answers(status=302, Location=f"{server.url}/elsewhere")

    assert await given_up(server.beacon()) == BeaconAnswer(note=BeaconNote.UNREACHABLE)

    assert set(server.requests) == {"/public/7"}


async def test_slow_server_is_not_waited_for(server: Server) -> None:
    never = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    server.handler = slow
    loop = asyncio.get_running_loop()
    begun = loop.time()

    answer = await given_up(server.beacon(0.2))

    assert answer == BeaconAnswer(note=BeaconNote.UNREACHABLE)
    assert loop.time() - begun < 5
    never.set()


async def test_nobody_there_is_a_reason_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        beacon = HttpBeacon(f"http://127.0.0.1:{taken.getsockname()[1]}/{{round}}", 0.05)

        assert await given_up(beacon) == BeaconAnswer(note=BeaconNote.UNREACHABLE)


async def test_round_that_comes_later_is_waited_for(server: Server) -> None:
    server.answers(status=404)
    beacon = server.beacon(30)
    first = await beacon.value(7)
    assert first.wait
    assert (await beacon.value(7)).wait  # and the server is left alone meanwhile
    assert len(server.requests) == 1

    server.answers(RIGHT)

    assert await given_up(beacon) == BeaconAnswer(value=VALUE)


async def test_patience_is_counted_for_each_round(server: Server) -> None:
    server.answers(status=500)
    beacon = server.beacon()
    assert (await given_up(beacon)).note

    server.answers(RIGHT | {"round": 8})

    assert await beacon.value(8) == BeaconAnswer(value=VALUE)
    assert not (await beacon.value(7)).wait


def test_beacon_is_made_of_the_settings() -> None:
    assert build_beacon(Settings(beacon_url="")) is None
    assert build_beacon(Settings()) is not None
    for url in ("http://beacon.example/latest", "file:///{round}"):
        with pytest.raises(ValueError, match="beacon_url"):
            Settings(beacon_url=url)
