"""Tokens: ours are checked as strictly as the general library checks them, and whatever is odd is a stranger's."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.gate import ADMIN, SECRET, Gate
from doorbuster.api.auth import Buyers, Mac, sign
from doorbuster.api.http import Refused
from doorbuster.reference.clock import ManualClock

NOW_S = 1_800_000_000
GOOD: dict[str, Any] = {"sub": "ann", "aud": "doorbuster", "exp": NOW_S + 60}


def encoded(claims: dict[str, Any], *, key: str = SECRET, algorithm: str = "HS256", **head: Any) -> str:
    return jwt.encode(claims, key if algorithm != "none" else "", algorithm=algorithm, headers=head or None)


def by_hand(head: dict[str, Any] | bytes, claims: dict[str, Any] | bytes) -> str:
    """A token that no library would write, signed as it should be."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(SECRET.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


TOKENS: dict[str, str] = {
    "good": encoded(GOOD),
    "several audiences": encoded({**GOOD, "aud": ["other", "doorbuster"]}),
    "with more claims": encoded({**GOOD, "iat": NOW_S, "email": "a@b.example"}),
    "valid from now": encoded({**GOOD, "nbf": NOW_S}),
    "expired": encoded({**GOOD, "exp": NOW_S - 1}),
    "expires now": encoded({**GOOD, "exp": NOW_S}),
    "not yet valid": encoded({**GOOD, "nbf": NOW_S + 30}),
    "wrong audience": encoded({**GOOD, "aud": "other"}),
    "no audience": encoded({"sub": "ann", "exp": NOW_S + 60}),
    "no expiry": encoded({"sub": "ann", "aud": "doorbuster"}),
    "no subject": encoded({"aud": "doorbuster", "exp": NOW_S + 60}),
    "forged": encoded(GOOD, key="another secret that is long enough to be one."),
    "HS512": encoded(GOOD, key=SECRET + "and some more", algorithm="HS512"),
    "alg none": encoded(GOOD, algorithm="none"),
    "critical extension": encoded(GOOD, crit=["exp"]),
    "body that is not encoded": by_hand({"alg": "HS256", "b64": False}, GOOD),
    "head without end": by_hand(b'{"alg":"HS256","x":' + b"[" * 4000, GOOD),
    "claims without end": by_hand({"alg": "HS256"}, b'{"sub":"ann","x":' + b"[" * 4000),
    "claims that are a list": by_hand({"alg": "HS256"}, b"[]"),
    "expiry that is true": by_hand({"alg": "HS256"}, {**GOOD, "exp": True}),
    "signature cut": encoded(GOOD)[:-2],
    "claims changed": ".".join(
        (encoded(GOOD).split(".")[0], encoded({**GOOD, "sub": "eve"}).split(".")[1], encoded(GOOD).split(".")[2])
    ),
    "two parts": "a.b",
    "four parts": encoded(GOOD) + ".x",
    "empty parts": "..",
    "not base64": "!!.??.;;",
}


def library_says(token: str) -> str | None:
    """The subject by the general library, at the time of the tests; None if it refuses."""
    try:
        claims = jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],
            audience="doorbuster",
            options={"require": ["sub", "exp", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except (jwt.PyJWTError, RecursionError):
        return None
    if claims["exp"] <= NOW_S or claims.get("nbf", 0) > NOW_S:
        return None
    subject: str = claims["sub"]
    return subject


@pytest.mark.parametrize("kind", TOKENS)
async def test_our_check_agrees_with_the_library(kind: str) -> None:
    buyers = Buyers(SECRET, "doorbuster", ManualClock(NOW_S * 1000))

    try:
        found: str | None = await buyers.identify(b"Bearer " + TOKENS[kind].encode())
    except Refused:
        found = None

    assert found == library_says(TOKENS[kind])


async def test_padded_signature_is_refused_although_the_library_takes_it() -> None:
    """Two spellings of one token would be two entries of the cache."""
    buyers = Buyers(SECRET, "doorbuster", ManualClock(NOW_S * 1000))

    with pytest.raises(Refused):
        await buyers.identify(b"Bearer " + encoded(GOOD).encode() + b"=")


async def test_known_token_still_expires() -> None:
    clock = ManualClock(NOW_S * 1000)
    buyers = Buyers(SECRET, "doorbuster", clock)
    authorization = b"Bearer " + sign(SECRET, "ann", audience="doorbuster", now_s=NOW_S, ttl_s=60).encode()
    assert await buyers.identify(authorization) == "ann"

    clock.advance_ms(60_000)

    with pytest.raises(Refused):
        await buyers.identify(authorization)


@pytest.mark.parametrize("subject", ["", "x" * 201, "a\u0000b", "a\nb", "a\u202eb"])
async def test_subject_that_cannot_be_a_user_is_refused(subject: str) -> None:
    buyers = Buyers(SECRET, "doorbuster", ManualClock(NOW_S * 1000))

    with pytest.raises(Refused):
        await buyers.identify(b"Bearer " + encoded({**GOOD, "sub": subject}).encode())


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token x", "Bearer " + "x" * 9000])
async def test_header_that_names_nobody_is_refused(gate: Gate, header: str) -> None:
    before = await gate.state()

    answer = await gate.call("POST", f"/v1/sales/{gate.sale_id}/orders", headers={"authorization": header}, key="k")

    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert await gate.state() == before


async def test_operator_token_is_no_buyer_token(gate: Gate) -> None:
    answer = await gate.call("POST", f"/v1/sales/{gate.sale_id}/orders", {"quantity": 1}, token=ADMIN, key="k")

    assert (answer.status, answer.code) == (401, "unauthenticated")


@pytest.mark.parametrize("header", [ADMIN, f"Basic {ADMIN}", f"Bearer {ADMIN}x", f"Bearer x{ADMIN}", "Bearer ", ""])
async def test_only_the_operator_is_the_operator(gate: Gate, header: str) -> None:
    answer = await gate.call("GET", "/v1/admin/sales", headers={"authorization": header})

    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers[b"www-authenticate"].startswith(b"Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_scheme_is_read_in_any_case(gate: Gate, scheme: str) -> None:
    answer = await gate.call("GET", "/v1/admin/sales", headers={"authorization": f"{scheme}  {ADMIN} "})

    assert answer.status == 200


async def test_gate_without_operator_token_has_no_operator() -> None:
    from pydantic import SecretStr

    gate = Gate(admin_token=SecretStr(""))

    answer = await gate.call("GET", "/v1/admin/sales", token="")

    assert (answer.status, answer.code) == (401, "unauthenticated")


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_our_mac_is_the_standard_one(key: bytes, message: bytes) -> None:
    assert Mac(key).of(message) == hmac.digest(key, message, "sha256")


def test_short_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="fewer than 32 bytes"):
        Buyers("short", "doorbuster", ManualClock())


def test_our_tokens_are_good_for_the_library() -> None:
    token = sign(SECRET, "ann", audience="doorbuster", now_s=int(time.time()), ttl_s=60)

    assert jwt.decode(token, SECRET, algorithms=["HS256"], audience="doorbuster")["sub"] == "ann"
    assert json.loads(json.dumps(jwt.get_unverified_header(token))) == {"alg": "HS256", "typ": "JWT"}


# ------------------------------------------------------------------------------------------ crowds of rehearsals

REHEARSAL = "01a20d5c-3559-70c7-8b1a-479d994d6560"
KEY = bytes(range(32))


def rehearsed(
    user: str = "rehearsal:1-2", *, key: bytes = KEY, kid: str = REHEARSAL, audience: str = "", **when: int
) -> bytes:
    times = {"now_s": NOW_S, "ttl_s": 60, **when}
    token = sign(key.hex(), user, audience=audience or "doorbuster-rehearsal", kid=kid, **times)
    return b"Bearer " + token.encode()


def some_buyers() -> Buyers:
    return Buyers(SECRET, "doorbuster", ManualClock(NOW_S * 1000))


async def test_crowd_is_known_while_its_rehearsal_runs() -> None:
    buyers = some_buyers()
    with pytest.raises(Refused):
        await buyers.identify(rehearsed())
    buyers.admit_rehearsals({REHEARSAL: KEY})
    assert await buyers.identify(rehearsed()) == "rehearsal:1-2"
    assert await buyers.identify(b"Bearer " + encoded(GOOD).encode()) == "ann", "and buyers are who they were"
    buyers.admit_rehearsals({})
    with pytest.raises(Refused):
        await buyers.identify(rehearsed("rehearsal:1-3"))


@pytest.mark.parametrize(
    "header",
    [
        rehearsed("ann"),
        rehearsed(key=bytes(32)),
        rehearsed(kid="another"),
        rehearsed(audience="doorbuster"),
        rehearsed(ttl_s=0),
        b"Bearer " + encoded({**GOOD, "sub": "rehearsal:1-2"}).encode(),
        b"Bearer " + encoded({**GOOD, "sub": "rehearsal:1-2", "aud": "doorbuster-rehearsal"}).encode(),
        b"Bearer a.b",
    ],
)
async def test_who_only_says_to_be_of_a_crowd_is_refused(header: bytes) -> None:
    buyers = some_buyers()
    buyers.admit_rehearsals({REHEARSAL: KEY})
    with pytest.raises(Refused):
        await buyers.identify(header)
