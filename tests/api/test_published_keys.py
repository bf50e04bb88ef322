"""Tokens checked by the keys a shop publishes: which are taken, how often keys are fetched, what if they cannot be."""

import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.gate import SECRET
from doorbuster.api.auth import Buyers, sign
from doorbuster.api.http import Refused
from doorbuster.api.keys import PublishedKeys
from doorbuster.domain.outcomes import Code
from doorbuster.reference.clock import ManualClock

NOW_S = 1_800_000_000
GOOD: dict[str, Any] = {"sub": "ann", "aud": "doorbuster", "exp": NOW_S + 10 * 86_400}
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65_537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, tuple[str, Any]] = {"rsa": ("RS256", RSA), "ec": ("ES256", EC), "ed": ("EdDSA", ED)}


def published(*, kid: str, key: Any) -> dict[str, Any]:
    """The public half as a shop publishes it."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        shape = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        shape = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        shape = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**shape, "kid": kid, "use": "sig"}


def token(kid: str, *, algorithm: str = "", key: Any = None, claims: dict[str, Any] | None = None) -> bytes:
    its_algorithm, its_key = KEYS.get(kid, ("EdDSA", ED))
    head = {"kid": kid} if kid else None
    with warnings.catch_warnings(action="ignore", category=jwt.InsecureKeyLengthWarning):
        text = jwt.encode(claims or GOOD, key or its_key, algorithm=algorithm or its_algorithm, headers=head)
    return b"Bearer " + text.encode()


class Shop:
    """Where the keys are published. `status` is what it answers; `fetches` counts."""

    def __init__(self) -> None:
        self.keys = [published(kid=kid, key=key) for kid, (_, key) in KEYS.items()]
        self.status = 200
        self.padding = ""
        self.fetches = 0
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.fetches += 1
        answer = web.StreamResponse(status=self.status)
        await answer.prepare(request)
        text = json.dumps({"keys": self.keys, "padding": self.padding})
        for start in range(0, len(text), 1000):  # many pieces, as from afar
            await answer.write(text[start : start + 1000].encode())
        await answer.write_eof()
        return answer


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_get("/keys", shop.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield shop
    await runner.cleanup()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S * 1000)


@pytest.fixture
def buyers(shop: Shop, clock: ManualClock) -> Buyers:
    return Buyers("", "doorbuster", clock, PublishedKeys(shop.url, "doorbuster", clock))


async def code_of(buyers: Buyers, authorization: bytes) -> Code | None:
    """The code the token is refused with; None if it is good."""
    try:
        await buyers.identify(authorization)
    except Refused as refused:
        return refused.refusal.code
    return None


def forged() -> dict[str, bytes]:
    public = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    secret_of_public = b"Bearer " + sign_with_bytes(public)
    return {
        "another key": token("rsa", key=rsa.generate_private_key(public_exponent=65_537, key_size=2048)),
        "public key as a secret": secret_of_public,
        "another algorithm than the key's": token("ec", algorithm="RS256", key=RSA),
        "algorithm that is not taken": token("rsa", algorithm="PS256", key=RSA),
        "no algorithm": b"Bearer " + jwt.encode(GOOD, "", algorithm="none", headers={"kid": "rsa"}).encode(),
        "wrong audience": token("ed", claims={**GOOD, "aud": "other"}),
        "expired": token("ed", claims={**GOOD, "exp": NOW_S}),
        "expires never": token("ed", claims={**GOOD, "exp": float("inf")}),
        "expiry that is no number": token("ed", claims={**GOOD, "exp": float("nan")}),
        "expiry as text": token("ed", claims={**GOOD, "exp": str(NOW_S + 60)}),
        "not yet valid": token("ed", claims={**GOOD, "nbf": NOW_S + 30}),
        "no subject": token("ed", claims={"aud": "doorbuster", "exp": NOW_S + 60}),
        "weak key": token("weak", algorithm="RS256", key=WEAK),
        "no key id among several keys": token(""),
    }


def sign_with_bytes(secret: bytes) -> bytes:
    """HS256 under a key that everybody knows."""
    return jwt.encode(GOOD, secret, algorithm="HS256", headers={"kid": "ed"}).encode()


@pytest.mark.parametrize("kind", forged())
async def test_forged_token_is_refused(buyers: Buyers, shop: Shop, kind: str) -> None:
    shop.keys.append(published(kid="weak", key=WEAK))

    assert await code_of(buyers, forged()[kind]) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("kid", KEYS)
async def test_token_of_a_published_key_is_good(buyers: Buyers, kid: str) -> None:
    assert await buyers.identify(token(kid)) == "ann"


async def test_only_key_needs_no_name(buyers: Buyers, shop: Shop) -> None:
    shop.keys = [published(kid="ed", key=ED)]

    assert await buyers.identify(token("")) == "ann"


async def test_key_that_cannot_be_used_spoils_no_other(buyers: Buyers, shop: Shop) -> None:
    odd = [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "x"}, {"kid": "y"}, {"kty": "oct", "k": "AA"}]
    shop.keys = [*odd, *shop.keys]

    assert await buyers.identify(token("ed")) == "ann"


async def test_secret_and_published_keys_work_side_by_side(shop: Shop, clock: ManualClock) -> None:
    buyers = Buyers(SECRET, "doorbuster", clock, PublishedKeys(shop.url, "doorbuster", clock))
    by_secret = b"Bearer " + sign(SECRET, "bob", audience="doorbuster", now_s=NOW_S, ttl_s=60).encode()

    assert await buyers.identify(by_secret) == "bob"
    assert shop.fetches == 0
    assert await buyers.identify(token("ed")) == "ann"


async def test_flood_of_unknown_keys_is_one_fetch(buyers: Buyers, shop: Shop) -> None:
    await buyers.identify(token("ed"))

    codes = {await code_of(buyers, token(f"made up {number}")) for number in range(20)}

    assert codes == {Code.UNAUTHENTICATED}
    assert shop.fetches == 1


async def test_new_key_is_found_after_a_pause(buyers: Buyers, shop: Shop, clock: ManualClock) -> None:
    await buyers.identify(token("ed"))
    shop.keys.append(published(kid="new", key=ED))

    clock.advance_ms(10_000)

    assert await buyers.identify(token("new")) == "ann"
    assert shop.fetches == 2


async def test_shop_that_does_not_answer_is_nobodys_fault(buyers: Buyers, shop: Shop, clock: ManualClock) -> None:
    shop.status = 503

    assert await code_of(buyers, token("ed")) is Code.UNAVAILABLE
    assert await code_of(buyers, token("ed")) is Code.UNAVAILABLE
    assert shop.fetches == 1

    shop.status = 200
    clock.advance_ms(10_000)

    assert await code_of(buyers, token("ed")) is None


@pytest.mark.parametrize("spoilt", ["too much", "no set of keys"])
async def test_answer_that_is_no_set_of_keys_is_not_taken(buyers: Buyers, shop: Shop, spoilt: str) -> None:
    if spoilt == "too much":
        shop.padding = "x" * 300_000
    else:
        shop.keys = 5  # pyright: ignore[reportAttributeAccessIssue]

    assert await code_of(buyers, token("ed")) is Code.UNAVAILABLE


async def test_old_keys_serve_while_new_ones_are_fetched(buyers: Buyers, shop: Shop, clock: ManualClock) -> None:
    await buyers.identify(token("ed"))
    shop.status = 503
    clock.advance_ms(3_600_000)

    assert await code_of(buyers, token("rsa")) is None

    clock.advance_ms(86_400_000)

    assert await code_of(buyers, token("ec")) is Code.UNAVAILABLE


async def test_withdrawn_key_ends_with_the_next_fetch(buyers: Buyers, shop: Shop, clock: ManualClock) -> None:
    await buyers.identify(token("ed"))
    shop.keys = [key for key in shop.keys if key["kid"] != "rsa"]

    clock.advance_ms(10_000)
    await code_of(buyers, token("unknown"))

    assert await code_of(buyers, token("rsa")) is Code.UNAUTHENTICATED
