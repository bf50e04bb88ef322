"""Sockets of a real gate, from outside: who may listen, what is told, and what ends a connection."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest
import pytest_asyncio

from doorbuster.api.line_shapes import PlaceView
from doorbuster.live.seats import SEATS_PER_BUYER
from faults.shop import SECRET, Operator, Shop, buyer_token, clients, open_shop

Message = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("live")) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


class Caller:
    """A buyer with a session of its own."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession, sale_id: str) -> None:
        self.shop = shop
        self.session = session
        self.sale_id = sale_id

    @property
    def url(self) -> str:
        return f"{self.shop.url}/v1/sales/{self.sale_id}/queue"

    async def join(self, user: str) -> Message:
        headers = {"Authorization": f"Bearer {buyer_token(user)}"}
        async with self.session.post(self.url, headers=headers) as response:
            assert response.status == 202, await response.text()
            return await response.json()

    @contextlib.asynccontextmanager
    async def listen(self, first: str | None, **headers: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        async with self.session.ws_connect(f"{self.url}/live", headers=headers) as socket:
            if first is not None:
                await socket.send_str(first)
            yield socket


def hello(user: str, **more: str) -> str:
    return json.dumps({"token": buyer_token(user), **more})


async def heard(socket: aiohttp.ClientWebSocketResponse, kind: str, within_s: float = 10.0) -> Message:
    """The next message of this kind."""
    async with asyncio.timeout(within_s):
        async for message in socket:
            body: Message = json.loads(message.data)
            if body["type"] == kind:
                return body
    raise AssertionError(f"closed with {socket.close_code} before {kind!r} was told")


async def ended(socket: aiohttp.ClientWebSocketResponse, within_s: float = 10.0) -> int | None:
    """The close code."""
    async with asyncio.timeout(within_s):
        async for _ in socket:
            pass
    return socket.close_code


@contextlib.asynccontextmanager
async def line(shop: Shop, **terms: object) -> AsyncGenerator[tuple[Caller, Operator]]:
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        operator = Operator(shop, session)
        sale_id = await operator.create_sale(**{"mode": "queue", "quantity_available": 1, **terms})
        yield Caller(shop, session, sale_id), operator


async def test_listener_is_told_place_grant_and_end(shop: Shop) -> None:
    async with line(shop, checkout_ttl_seconds=60) as (buyer, _):
        await buyer.join("ann")
        await buyer.join("bob")
        async with buyer.listen(hello("ann")) as ann, buyer.listen(hello("bob")) as bob:
            order = (await heard(ann, "granted"))["order"]
            place = await heard(bob, "standby")
            headers = {"Authorization": f"Bearer {buyer_token('ann')}", "Idempotency-Key": "k"}
            url = f"{shop.url}/v1/orders/{order['order_id']}/payment"
            async with buyer.session.post(url, json={"payment_method": "pm_ok"}, headers=headers) as paid:
                assert paid.status == 200
            told_at = time.monotonic()
            over = await heard(bob, "over")

            assert time.monotonic() - told_at < 2.0
            assert await ended(bob) == 1000
    assert (place["state"], place["ahead"]) == ("standby", place["position"] - 1)
    assert (over["state"], over["poll_after_ms"]) == ("over", None)


FIELDS = [name for name in PlaceView.__struct_fields__ if name != "shop_pass"]
"""Only a granted order of a sale that is paid outside has a pass."""


async def test_message_of_a_moved_place_has_every_field_of_a_place(shop: Shop) -> None:
    """It is written by hand for ten thousand at once, so it is held against the encoder's shape."""
    async with line(shop) as (buyer, operator):
        for user in ("ann", "bob", "cyd"):
            await buyer.join(user)
        async with buyer.listen(hello("cyd")) as cyd:
            first = await heard(cyd, "standby")
            await operator.call("POST", f"/sales/{buyer.sale_id}/pause", {})
            moved = await heard(cyd, "standby")

    assert list(moved) == ["type", *FIELDS] == list(first)
    msgspec.convert({name: value for name, value in moved.items() if name != "type"}, PlaceView)
    assert moved["ticket"] == first["ticket"]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (json.dumps({"token": "not a token"}), 4401),
        (json.dumps({"token": jwt.encode({"sub": "a", "aud": "doorbuster", "exp": 1}, SECRET, "HS256")}), 4401),
        (json.dumps({"token": jwt.encode({"sub": "a", "aud": "else", "exp": 1 << 40}, SECRET, "HS256")}), 4401),
        ("garbage", 4400),
        ("[]", 4400),
        (json.dumps({"token": 7}), 4400),
        (json.dumps({"token": "x", "more": 1}), 4400),
        ("x" * 20_000, 1009),
        (hello("a stranger to this line"), 4404),
        (hello("ann", ticket="forged"), 4400),
        (None, 4408),
    ],
)
async def test_first_message_that_is_no_good_ends_the_connection(shop: Shop, first: str | None, code: int) -> None:
    async with line(shop) as (buyer, _):
        before = await buyer.join("ann")
        async with buyer.listen(first) as socket:
            assert await ended(socket) == code

        assert (await buyer.join("ann"))["ticket"] in (before["ticket"], None)


async def test_binary_first_message_is_refused(shop: Shop) -> None:
    async with line(shop) as (buyer, _), buyer.listen(None) as socket:
        await socket.send_bytes(hello("ann").encode())

        assert await ended(socket) == 4400


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
async def test_page_of_another_origin_is_not_upgraded(shop: Shop, origin: str) -> None:
    async with line(shop) as (buyer, _):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with buyer.listen(hello("ann"), Origin=origin):
                pass

    assert refused.value.status == 403


async def test_page_of_the_same_host_is_upgraded(shop: Shop) -> None:
    async with line(shop) as (buyer, _):
        await buyer.join("ann")
        async with buyer.listen(hello("ann"), Origin=shop.url) as socket:
            assert (await heard(socket, "granted"))["state"] == "granted"


async def test_other_paths_have_no_socket(shop: Shop) -> None:
    async with clients() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{shop.url}/v1/sales/x/queue/live")

    assert refused.value.status == 404


async def test_account_has_a_few_connections_and_the_newest_stay(shop: Shop) -> None:
    async with line(shop, quantity_available=1) as (buyer, _), contextlib.AsyncExitStack() as open_ones:
        await buyer.join("first")
        await buyer.join("ann")
        sockets = [await open_ones.enter_async_context(buyer.listen(hello("ann"))) for _ in range(SEATS_PER_BUYER)]
        for socket in sockets:
            await heard(socket, "standby")
        newest = await open_ones.enter_async_context(buyer.listen(hello("ann")))
        await heard(newest, "standby")

        assert await ended(sockets[0]) == 4410
        assert not sockets[1].closed


async def test_ping_is_answered(shop: Shop) -> None:
    async with line(shop) as (buyer, _):
        await buyer.join("ann")
        async with buyer.listen(hello("ann"), autoping="no") as socket:
            await heard(socket, "granted")
            await socket.ping(b"are you there")
            # aiohttp swallows the pong; that the connection lives on and closes cleanly is what is seen.
            await socket.close()

            assert socket.close_code == 1000


async def test_client_that_talks_on_is_sent_away(shop: Shop) -> None:
    async with line(shop) as (buyer, _):
        await buyer.join("ann")
        async with buyer.listen(hello("ann")) as socket:
            for _ in range(30):
                await socket.send_str("hello?")

            assert await ended(socket) == 4429


async def test_event_stream_tells_the_same(shop: Shop) -> None:
    async with line(shop) as (buyer, _):
        await buyer.join("ann")
        await buyer.join("bob")
        headers = {"Authorization": f"Bearer {buyer_token('bob')}"}
        message: Message = {}
        async with buyer.session.get(f"{buyer.url}/events", headers=headers) as stream:
            assert stream.content_type == "text/event-stream"
            async with asyncio.timeout(10):
                async for raw in stream.content:
                    if raw.startswith(b"data: "):
                        message = json.loads(raw.removeprefix(b"data: "))
                        break

    assert (message["type"], list(message)) == ("standby", ["type", *FIELDS])


async def test_gate_that_stops_ends_its_event_streams_and_is_not_held_up(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as stopping, line(stopping) as (buyer, _):
        for user in ("first", "ann"):
            await buyer.join(user)
        headers = {"Authorization": f"Bearer {buyer_token('ann')}"}
        async with buyer.session.get(f"{buyer.url}/events", headers=headers) as stream:
            await stream.content.readline()
            begun = time.monotonic()
            text, _ = await asyncio.gather(stream.read(), asyncio.to_thread(stopping.stop))

    assert b'event: close\ndata: {"code": 1012' in text
    assert time.monotonic() - begun < 8


async def test_event_stream_of_a_stranger_ends_with_the_reason(shop: Shop) -> None:
    async with line(shop) as (buyer, _), buyer.session.get(f"{buyer.url}/events") as stream:
        text = (await stream.read()).decode()

    assert '"code":"unauthenticated"' in text
    assert "event: close" in text


async def test_thousand_connects_at_once_are_all_told(shop: Shop) -> None:
    buyers = 1_000
    async with line(shop, quantity_available=1) as (buyer, _):
        await asyncio.gather(*(buyer.join(f"u{n}") for n in range(buyers)))

        async def place(n: int) -> int | None:
            async with buyer.listen(hello(f"u{n}")) as socket:
                message = json.loads((await socket.receive(timeout=30)).data)
                return message["position"] if message["type"] in ("place", "standby") else None

        positions = await asyncio.gather(*(place(n) for n in range(buyers)))

    told = [position for position in positions if position is not None]
    assert len(told) >= buyers - 1  # one of them holds the unit
    assert max(told) <= buyers


async def test_listener_of_a_killed_gate_has_the_same_place_elsewhere(tmp_path: Path) -> None:
    async with open_shop(tmp_path, gates=2) as pair, line(pair) as (buyer, _):
        for user in ("first", "ann", "bob"):
            await buyer.join(user)
        async with buyer.listen(hello("bob")) as socket:
            before = await heard(socket, "standby")
            killed = pair.signal("doorbuster gate")
            await ended(socket)
        await pair.replaced("doorbuster gate", killed)
        await pair.ready()
        async with buyer.listen(hello("bob", ticket=before["ticket"])) as socket:
            after = await heard(socket, "standby")

    assert after["ticket"].split(".")[0][:40] == before["ticket"].split(".")[0][:40]
    assert after["position"] <= before["position"]


async def test_gate_that_stops_asks_its_listeners_back(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as stopping, line(stopping) as (buyer, _):
        for user in ("first", "ann"):
            await buyer.join(user)
        async with buyer.listen(hello("ann")) as socket:
            await heard(socket, "standby")
            end = datetime.now(UTC) + timedelta(seconds=20)
            code, _ = await asyncio.gather(ended(socket), asyncio.to_thread(stopping.stop))

    assert code == 1012
    assert datetime.now(UTC) < end
