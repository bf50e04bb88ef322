"""Keys of a running Doorbuster: made once by two gates, rotated, and the same after a power cut."""

import asyncio
import json

import aiohttp
import jwt
import pytest

from cli.commands import doorbuster
from external.existing_shop import ExistingShop
from external.world import AS_OPERATOR, World, stranger
from faults.shop import SECRET
from helpers.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_two_gates_made_one_key_and_publish_it_alike(world: World) -> None:
    published = await until(lambda: _alike(world), within=45.0)  # a gate may be 30 s behind a rotation

    for key in json.loads(published)["keys"]:
        assert set(key) == {"kty", "crv", "use", "alg", "kid", "x"}  # nothing private


async def test_power_cut_while_the_shop_reports_charges_once_and_sells_the_unit(
    world: World, theirs: ExistingShop
) -> None:
    """The shop checks the pass from its copy of the keys, gets no answer, repeats, and is told PAID."""
    await world.open()
    order, other = await world.order("ann"), await world.order("bob")
    assert (await theirs.checkout(other["pass"], "bob"))[0] == 200  # from here on the shop has the keys
    before = await world.keys()
    world.shop.kill_all()

    selling = asyncio.create_task(theirs.checkout(order["pass"]))
    charge = f"charge-{order['order_id']}"
    await until(lambda: any(line.split()[1] == charge for line in theirs.said))
    await world.shop.start()
    status, answer = await asyncio.wait_for(selling, 60)

    assert (status, answer["status"]) == (200, "PAID")
    assert [line.split()[0] for line in theirs.said if line.split()[1] == charge] == ["authorize", "capture"]
    assert await world.keys() == before
    assert await world.reports() == []
    await world.in_step()


async def test_operator_rotates_and_no_pass_is_lost(world: World, theirs: ExistingShop) -> None:
    """A rotation publishes, and changes nothing yet; a second one within the hour changes nothing at all."""
    await world.open()
    order = await world.order()

    once = await doorbuster(
        "keys", "rotate", "--reason", "test", "--url", world.shop.url, "--json", settings=AS_OPERATOR
    )
    twice = await doorbuster("keys", "rotate", "--url", world.shop.url, settings=AS_OPERATOR)
    listed = await doorbuster("keys", "list", "--url", world.shop.url, settings=AS_OPERATOR)

    assert (once.code, twice.code, listed.code) == (0, 0, 0), once.err + twice.err + listed.err
    states = {key["state"]: key["kid"] for key in json.loads(once.out)["keys"]}
    assert set(states) >= {"next", "signing"}
    assert states["next"] in twice.out
    assert listed.out == twice.out
    assert "private" not in once.out
    assert jwt.get_unverified_header(order["pass"])["kid"] == states["signing"]
    assert (await world.read(order))["pass"] == order["pass"]
    await until(lambda: _all_publish(world, states["next"]), within=45.0)  # the other gate reads them within 30 s
    assert (await stranger(world, order["pass"]))["sub"] == "ann"
    assert (await theirs.checkout(order["pass"]))[0] == 200


async def _by_all_gates(world: World) -> set[str]:
    """What they publish. They share one port: twenty connections reach each of them."""
    found: set[str] = set()
    for _ in range(20):
        async with aiohttp.ClientSession() as session, session.get(f"{world.shop.url}/.well-known/jwks.json") as answer:
            found.add(await answer.text())
    return found


async def _alike(world: World) -> str:
    found = await _by_all_gates(world)
    return found.pop() if len(found) == 1 else ""


async def _all_publish(world: World, kid: str) -> bool:
    return all(kid in published for published in await _by_all_gates(world))


async def test_buyer_may_not_report_nor_rotate(world: World) -> None:
    await world.open()
    order = await world.order()
    before = await world.keys()

    answers = [
        await world.call("POST", f"/v1/admin/orders/{order['order_id']}/paid", body={"reference": "free for me"}),
        await world.call("POST", "/v1/admin/keys/rotate", body={"leaked": True}),
        await world.call("GET", "/v1/admin/keys"),
    ]

    assert [status for status, _ in answers] == [403, 403, 403]
    assert (await world.read(order))["status"] == "RESERVED"
    assert await world.keys() == before


async def test_secrets_are_in_no_log(world: World) -> None:
    """Neither a private key nor a reference that was refused as a card number."""
    await world.open()
    order = await world.order()
    card = "4111111111111111"

    status, answer = await world.operator.call("POST", f"/orders/{order['order_id']}/paid", {"reference": card})

    assert (status, answer["code"]) == (422, "invalid-request")
    assert card not in json.dumps(answer)
    assert card not in world.shop.log_tail()
    assert SECRET not in world.shop.log_tail()
