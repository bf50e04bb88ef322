"""A running Doorbuster seen by its buyers and its operator, and what strangers make of a pass."""

import base64
import hmac
import json
from datetime import datetime
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faults.shop import ADMIN, Operator, Shop, buyer_token
from helpers.waiting import until

Answer = dict[str, Any]
AS_OPERATOR = {"DOORBUSTER_ADMIN_TOKEN": ADMIN}


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
        """An order in a race. Who is told that nothing can be decided asks again with the same key."""

        async def ask() -> Answer:
            status, order = await self.call("POST", f"/v1/sales/{self.sale_id}/orders", user, {"quantity": 1})
            assert status == 201, order
            return order

        return await until(ask)

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


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
