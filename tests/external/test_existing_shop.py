"""A whole Doorbuster with two gates, and the shop of the guide: what a pass opens, and what it does not."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.commands import doorbuster
from external.existing_shop import ExistingShop, existing_shop
from faults.shop import ADMIN, SECRET, Operator, Shop, buyer_token, open_shop
from helpers.waiting import until

Answer = dict[str, Any]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("external"), gates=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theirs(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExistingShop]:
    async with existing_shop(tmp_path_factory.mktemp("theirs"), shop.url) as running:
        yield running


class World:
    """One caller with the operator's token and those of buyers."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession) -> None:
        self.shop = shop
        self.session = session
        self.operator = Operator(shop, session)
        self.sale_id = ""

    async def open(self, **terms: object) -> None:
        self.sale_id = await self.operator.create_sale(
            **{"payment_mode": "external", "price_cents": 4900, "quantity_available": 5, **terms}
        )

    async def call(self, method: str, path: str, user: str = "ann", body: Answer | None = None) -> tuple[int, Answer]:
        """The answer; a buyer who was too fast asks again."""
        headers = {"Authorization": f"Bearer {buyer_token(user)}", "Idempotency-Key": "key"}

        async def ask() -> tuple[int, Answer]:
            async with self.session.request(method, self.shop.url + path, json=body, headers=headers) as answer:
                assert answer.status != 429
                return answer.status, await answer.json()

        return await until(ask)

    async def order(self, user: str = "ann") -> Answer:
        """An order in a race."""
        status, order = await self.call("POST", f"/v1/sales/{self.sale_id}/orders", user, {"quantity": 1})
        assert status == 201, order
        return order

    async def read(self, order: Answer, user: str = "ann") -> Answer:
        return (await self.call("GET", f"/v1/orders/{order['order_id']}", user))[1]

    async def published(self) -> Answer:
        async with self.session.get(f"{self.shop.url}/.well-known/jwks.json") as answer:
            assert answer.status == 200
            assert answer.headers["cache-control"] == "public, max-age=300"
            return await answer.json()

    async def keys(self) -> list[Answer]:
        """As the ledger has them."""
        return (await self.operator.call("GET", "/keys"))[1]["keys"]

    async def reports(self) -> list[Answer]:
        return (await self.operator.call("GET", f"/sales/{self.sale_id}/reports"))[1]["reports"]

    async def in_step(self) -> None:
        assert (await self.operator.in_step(self.sale_id, 20.0))["verdict"] == "in_step"


@pytest_asyncio.fixture(loop_scope="module")
async def world(shop: Shop) -> AsyncIterator[World]:
    async with aiohttp.ClientSession() as session:
        yield World(shop, session)


async def stranger(world: World, text: str, audience: str = "shop") -> Answer:
    """Somebody who has the keys over HTTP, and nothing else."""
    keys = jwt.PyJWKSet.from_dict(await world.published())
    key = keys[jwt.get_unverified_header(text)["kid"]]
    return jwt.decode(text, key, algorithms=["EdDSA"], audience=audience, issuer="doorbuster")


def parts(text: str) -> tuple[Answer, Answer, str]:
    head, claims, signature = text.split(".")
    return _json(head), _json(claims), signature


def _json(part: str) -> Answer:
    found: Answer = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def _part(value: Answer) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forgeries(text: str, public: Answer) -> dict[str, str]:
    """What somebody might make of a pass with everything that is public."""
    head, claims, signature = parts(text)
    raw = base64.urlsafe_b64decode(public["x"] + "==")
    foreign = Ed25519PrivateKey.generate()
    dearer = {**claims, "amount_cents": 1}
    confused = _signed_with(raw, {**head, "alg": "HS256"}, claims)
    return {
        "unsigned": f"{_part({**head, 'alg': 'none'})}.{_part(claims)}.",
        "the public key as a secret": confused,
        "another key": jwt.encode(claims, foreign, algorithm="EdDSA", headers={"kid": head["kid"]}),
        "a key of its own": jwt.encode(claims, foreign, algorithm="EdDSA", headers={"kid": "0" * 16}),
        "no key named": jwt.encode(claims, foreign, algorithm="EdDSA"),
        "cheaper": f"{text.partition('.')[0]}.{_part(dearer)}.{signature}",
        "cut": text[:-4],
        "a buyer's token": buyer_token("ann"),
        "words": "let me in",
    }


def _signed_with(secret: bytes, head: Answer, claims: Answer) -> str:
    text = f"{_part(head)}.{_part(claims)}"
    mark = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


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
    await world.in_step()


# ---------------------------------------------------------------------------------------- what opens


async def test_shop_sells_a_unit_of_a_race(world: World, theirs: ExistingShop) -> None:
    """Two clicks are one charge."""
    await world.open()
    order = await world.order()
    expires = int(_seconds(order["expires_at"]))

    claims = await stranger(world, order["pass"])
    answers = await asyncio.gather(theirs.checkout(order["pass"]), theirs.checkout(order["pass"]))

    assert claims == {
        "iss": "doorbuster",
        "aud": "shop",
        "sub": "ann",
        "jti": order["order_id"],
        "iat": int(_seconds(order["reserved_at"])),
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


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


async def test_every_gate_gives_the_same_pass_every_time(world: World) -> None:
    """Two gates share one port: twenty connections reach both of them."""
    await world.open()
    order = await world.order()
    headers = {"Authorization": f"Bearer {buyer_token('ann')}"}
    url = f"{world.shop.url}/v1/orders/{order['order_id']}"

    async def fresh() -> str:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return (await answer.json())["pass"]

    assert {await fresh() for _ in range(20)} == {order["pass"]}


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
    assert time.time() < _seconds(order["expires_at"])


# ---------------------------------------------------------------------------------------- keys, and power cuts


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
    settings = {"DOORBUSTER_ADMIN_TOKEN": ADMIN}

    once = await doorbuster("keys", "rotate", "--reason", "test", "--url", world.shop.url, "--json", settings=settings)
    twice = await doorbuster("keys", "rotate", "--url", world.shop.url, settings=settings)
    listed = await doorbuster("keys", "list", "--url", world.shop.url, settings=settings)

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
