"""Passes of buyers who waited: by poll, by socket, by event stream, from a draw, and to the last unit of a sale."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from external.existing_shop import ExistingShop
from external.world import Answer, World, stranger
from faults.shop import buyer_token
from helpers.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_given_up_unit_goes_to_the_next_in_line_with_a_pass_over_the_socket(
    world: World, theirs: ExistingShop
) -> None:
    await world.open(mode="queue", quantity_available=1)
    path = f"/v1/sales/{world.sale_id}/queue"
    for user in ("ann", "bob"):
        assert (await world.call("POST", path, user))[0] == 202
    place = await until(lambda: _granted(world, path, "ann"))
    waiting = (await world.call("GET", f"{path}/me", "bob"))[1]

    async with world.session.ws_connect(f"{world.shop.url}{path}/live") as socket:
        await socket.send_json({"token": buyer_token("bob")})
        status, _ = await theirs.give_up(place["pass"])
        told = await _heard(socket, "granted")

    assert status == 200
    assert "pass" not in waiting
    assert "pass" not in place["order"]
    assert (await stranger(world, told["pass"]))["sub"] == "bob"
    assert told["pass"] == (await world.call("GET", f"{path}/me", "bob"))[1]["pass"]
    assert (await theirs.checkout(told["pass"], "bob"))[1]["status"] == "PAID"
    assert "pass" not in (await world.call("GET", f"{path}/me", "bob"))[1]
    await world.in_step()


async def test_pass_comes_by_event_stream(world: World) -> None:
    await world.open(mode="queue")
    path = f"/v1/sales/{world.sale_id}/queue"
    await world.call("POST", path, "ann")
    place = await until(lambda: _granted(world, path, "ann"))

    headers = {"Authorization": f"Bearer {buyer_token('ann')}"}
    async with world.session.get(f"{world.shop.url}{path}/events", headers=headers) as answer:
        async with asyncio.timeout(10):
            async for line in answer.content:
                if line.startswith(b"data:") and b'"type":"granted"' in line:
                    told = json.loads(line[5:])
                    break
            else:
                raise AssertionError("nothing was granted")

    assert told["pass"] == place["pass"]


async def test_holder_keeps_the_pass_when_the_sale_ends(world: World, theirs: ExistingShop) -> None:
    await world.open(mode="queue")
    path = f"/v1/sales/{world.sale_id}/queue"
    await world.call("POST", path, "ann")
    place = await until(lambda: _granted(world, path, "ann"))
    await world.operator.call("POST", f"/sales/{world.sale_id}/end", {})

    after = await until(lambda: _over(world, path))

    assert after["pass"] == place["pass"]
    assert (await theirs.checkout(after["pass"]))[0] == 200
    await world.in_step()


async def _granted(world: World, path: str, user: str) -> Answer:
    place = (await world.call("GET", f"{path}/me", user))[1]
    return place if place.get("state") == "granted" else {}


async def _over(world: World, path: str) -> Answer:
    place = (await world.call("GET", f"{path}/me"))[1]
    return place if place.get("state") == "over" else {}


async def _heard(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Answer:
    async with asyncio.timeout(10):
        async for message in socket:
            body: Answer = json.loads(message.data)
            if body["type"] == kind:
                return body
    raise AssertionError(f"{kind} was never told")


async def test_sale_through_the_shop_sells_out_exactly(world: World, theirs: ExistingShop) -> None:
    """Twelve buyers for five units: some leave the checkout, the next in line get their units, five pay."""
    await world.open(mode="queue")
    path = f"/v1/sales/{world.sale_id}/queue"
    users = [f"buyer-{number}" for number in range(12)]
    for user in users:
        assert (await world.call("POST", path, user))[0] == 202

    async def visit(number: int, user: str) -> str:
        place = await until(lambda: _settled(world, path, user), within=30.0)
        if place["state"] != "granted":
            return str(place["state"])
        act = theirs.give_up if number < 3 else theirs.checkout
        status, answer = await act(place["pass"], user)
        assert status == 200, answer
        return str(answer["status"])

    ends = await asyncio.gather(*(visit(number, user) for number, user in enumerate(users)))

    assert sorted(ends) == ["CANCELLED"] * 3 + ["PAID"] * 5 + ["over"] * 4
    sale = (await world.operator.call("GET", f"/sales/{world.sale_id}"))[1]
    assert sale["availability"] == {"state": "sold_out", "free": 0, "held": 0, "sold": 5}
    assert await world.reports() == []
    await world.in_step()


async def _settled(world: World, path: str, user: str) -> Answer:
    place = (await world.call("GET", f"{path}/me", user))[1]
    return place if place.get("state") in ("granted", "over") else {}


async def test_winner_of_a_draw_has_a_pass(world: World) -> None:
    start = datetime.now(UTC) + timedelta(seconds=2)
    await world.open(mode="draw", quantity_available=1, start_time=start.isoformat())
    path = f"/v1/sales/{world.sale_id}/queue"
    users = ["ann", "bob", "cyd"]
    entered = [(await world.call("POST", path, user))[1] for user in users]

    granted: dict[str, Answer] = await until(lambda: _drawn(world, path, users), within=20.0)

    assert all("pass" not in place for place in entered)
    assert [user for user, place in granted.items() if "pass" in place] == [
        user for user, place in granted.items() if place["state"] == "granted"
    ]
    (winner,) = [user for user, place in granted.items() if "pass" in place]
    assert (await stranger(world, granted[winner]["pass"]))["sub"] == winner


async def _drawn(world: World, path: str, users: list[str]) -> dict[str, Answer]:
    places = {user: (await world.call("GET", f"{path}/me", user))[1] for user in users}
    states = [place.get("state") for place in places.values()]  # none while the drawn line is being written
    return places if None not in states and "granted" in states else {}
