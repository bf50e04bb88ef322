"""The shop of the guide, and a whole Doorbuster with two gates: what a pass opens, and what it does not."""

import asyncio
from pathlib import Path

import aiohttp
import jwt
import pytest

from cli.commands import doorbuster
from external.existing_shop import ExistingShop, existing_shop
from external.world import AS_OPERATOR, Answer, World, forgeries, parts, seconds, stranger
from faults.shop import buyer_token
from helpers.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


# ---------------------------------------------------------------------------------------- what does not open


async def test_no_forgery_opens_the_shop_and_nothing_is_charged(world: World, theirs: ExistingShop) -> None:
    await world.open()
    order = await world.order()
    kid = parts(order["pass"])[0]["kid"]
    public = next(key for key in (await world.published())["keys"] if key["kid"] == kid)
    before = theirs.said

    answers = {name: await theirs.checkout(text) for name, text in forgeries(order["pass"], public).items()}

    assert {name: status for name, (status, _) in answers.items() if status != 403} == {}
    assert theirs.said == before
    assert (await world.read(order))["status"] == "RESERVED"


async def test_pass_of_somebody_else_does_not_open(world: World, theirs: ExistingShop) -> None:
    await world.open()
    order = await world.order("ann")

    status, answer = await theirs.checkout(order["pass"], account="eve")

    assert (status, answer) == (403, "the pass belongs to another account")


async def test_pass_for_another_shop_does_not_open(world: World, tmp_path: Path) -> None:
    await world.open()
    order = await world.order()

    async with existing_shop(tmp_path, world.shop.url, AUDIENCE="the other shop") as other:
        status, answer = await other.checkout(order["pass"])

    assert status == 403
    assert "audience" in answer.lower()


async def test_pass_with_too_little_time_does_not_begin_a_charge(world: World, theirs: ExistingShop) -> None:
    await world.open(checkout_ttl_seconds=5)
    order = await world.order()

    status, answer = await theirs.checkout(order["pass"])

    assert status == 403
    assert "time" in answer


async def test_expired_pass_is_none(world: World) -> None:
    await world.open(checkout_ttl_seconds=1)
    order = await world.order()

    with pytest.raises(jwt.ExpiredSignatureError):
        await until(lambda: _expired(world, order["pass"]))

    assert await until(lambda: _ended(world, order)) == "EXPIRED"
    assert "pass" not in (await world.operator.orders(world.sale_id))[0]


async def _expired(world: World, text: str) -> bool:
    await stranger(world, text)
    return False


async def _ended(world: World, order: Answer) -> str:
    read = await world.read(order)
    return "" if read["status"] == "RESERVED" else str(read["status"])


async def test_pass_is_no_buyers_token(world: World) -> None:
    await world.open()
    order = await world.order()

    url = f"{world.shop.url}/v1/orders/{order['order_id']}"
    async with world.session.get(url, headers={"Authorization": f"Bearer {order['pass']}"}) as answer:
        assert answer.status == 401


async def test_late_money_is_given_back_and_kept_for_a_person(world: World, theirs: ExistingShop) -> None:
    """The pass is still good when the operator takes the unit away: the answer to the report decides."""
    await world.open()
    order = await world.order()
    await world.operator.call("POST", f"/orders/{order['order_id']}/cancelled", {"reason": "fraud"})

    status, answer = await theirs.checkout(order["pass"])

    assert (status, answer["code"]) == (409, "order-closed")
    charge = f"charge-{order['order_id']}"
    assert [line.split()[:2] for line in theirs.said[-2:]] == [["authorize", charge], ["void", charge]]
    (report,) = await world.reports()
    assert (report["order_id"], report["answer"], report["amount_cents"]) == (order["order_id"], "order-closed", 4900)
    said = await doorbuster("sale", "reports", world.sale_id, "--url", world.shop.url, settings=AS_OPERATOR)
    assert (said.code, order["order_id"] in said.out, "order_closed" in said.out) == (0, True, True)
    await world.in_step()


# ---------------------------------------------------------------------------------------- what opens


async def test_shop_sells_a_unit_of_a_race(world: World, theirs: ExistingShop) -> None:
    """Two clicks are one charge."""
    await world.open()
    order = await world.order()
    expires = int(seconds(order["expires_at"]))

    claims = await stranger(world, order["pass"])
    answers = await asyncio.gather(theirs.checkout(order["pass"]), theirs.checkout(order["pass"]))

    assert claims == {
        "iss": "doorbuster",
        "aud": "shop",
        "sub": "ann",
        "jti": order["order_id"],
        "iat": int(seconds(order["reserved_at"])),
        "exp": expires,
        "sale_id": world.sale_id,
        "order_id": order["order_id"],
        "product_id": "sneaker",
        "quantity": 1,
        "amount_cents": 4900,
        "currency": "EUR",
    }
    assert [(status, answer["status"]) for status, answer in answers] == [(200, "PAID"), (200, "PAID")]
    assert theirs.said.count(f"capture charge-{order['order_id']}") == 1
    read = await world.read(order)
    assert (read["status"], read["payment"]["gateway"], "pass" in read) == ("PAID", "external", False)
    assert await world.reports() == []
    await world.in_step()


async def test_refunded_unit_is_sold_again_and_no_gateway_of_ours_is_called(world: World, theirs: ExistingShop) -> None:
    """The shop has the money: here the refund is a mark, and the books have nothing to compare."""
    await world.open(quantity_available=1, max_lapsed_holds=None)
    first = await world.order("ann")
    assert (await theirs.checkout(first["pass"], "ann"))[0] == 200

    cancelled = await theirs.give_up(first["pass"], "ann")
    refunded = await world.operator.call("POST", f"/orders/{first['order_id']}/refund", {"reason": "sent back"})
    second = await until(lambda: _sold_to(world, "bob"))

    assert (cancelled[0], cancelled[1]["code"]) == (409, "conflict")
    assert (refunded[0], refunded[1]["status"], refunded[1]["payment"]["state"]) == (200, "PAID", "REFUNDED")
    assert (await theirs.checkout(second["pass"], "bob"))[1]["status"] == "PAID"
    status, books = await world.operator.call("POST", f"/sales/{world.sale_id}/reconcile", {})
    assert (status, books["verdict"], books["charges"], books["paid_orders"]) == (200, "in_balance", 0, 0)
    assert [row["finding"] for row in await world.reports()] == ["paid_before"]
    await world.in_step()


async def _sold_to(world: World, user: str) -> Answer:
    """An order, once the unit is back."""
    status, order = await world.call("POST", f"/v1/sales/{world.sale_id}/orders", user, {"quantity": 1})
    return order if status == 201 else {}


async def test_every_gate_gives_the_same_pass_every_time(world: World) -> None:
    """Two gates share one port: twenty connections reach both of them."""
    await world.open()
    order = await world.order()
    headers = {"Authorization": f"Bearer {buyer_token('ann')}"}
    url = f"{world.shop.url}/v1/orders/{order['order_id']}"

    async def fresh() -> str:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.status != 429
            return (await answer.json())["pass"]

    assert {await until(fresh) for _ in range(20)} == {order["pass"]}
