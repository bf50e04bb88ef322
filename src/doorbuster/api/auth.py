"""Who is calling.

Owns: the check of buyer tokens (HS256 by secret, or the shop's published keys) and of the operator's token.
The HS256 check is our own: it is on the path of every request of the crowd and costs a sixth of the general library's,
which a test holds it against token by token. Fails closed: what cannot be checked is not known.
"""

import base64
import binascii
import hmac
from collections import OrderedDict
from typing import Annotated, Final, Protocol

import msgspec

from doorbuster.api.http import Refused
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import Clock

_CACHED_MAX: Final = 50_000
_SECRET_BYTES_MIN: Final = 32


class _Head(msgspec.Struct):
    alg: str
    typ: str | None = None
    kid: str | None = None
    crit: list[str] | None = None


class _Claims(msgspec.Struct):
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.USER_ID_LENGTH_MAX)]
    exp: int | float
    aud: str | list[str]
    nbf: int | float | None = None


_heads = msgspec.json.Decoder(_Head)
_claims = msgspec.json.Decoder(_Claims)


class KeySet(Protocol):
    """Checks tokens by published keys; answers the claims as JSON, or raises `Refused`."""

    async def claims(self, token: str) -> dict[str, object]: ...


def unauthenticated(detail: str) -> Refused:
    return Refused(Refusal(Code.UNAUTHENTICATED, detail))


class Buyers:
    """Buyer tokens. A token that was good is remembered and only its time is looked at again."""

    def __init__(self, secret: str, audience: str, clock: Clock, keys: KeySet | None = None) -> None:
        if secret and len(secret.encode()) < _SECRET_BYTES_MIN:
            raise ValueError(f"the buyer secret has fewer than {_SECRET_BYTES_MIN} bytes")
        self._secret = secret.encode()
        self._audience = audience
        self._clock = clock
        self._keys = keys
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def recall(self, authorization: bytes | None, now_ms: int) -> str | None:
        """The buyer of a token that is known, or can be checked without waiting. None: ask `identify`."""
        if authorization is not None:
            known = self._known.get(authorization)
            if known is not None and known[1] * 1000 > now_ms:
                return known[0]
        if self._keys is None:
            return self._check(authorization)
        return None

    async def identify(self, authorization: bytes | None) -> str:
        """The user id of the caller. Raises Refused (unauthenticated) for every token that is not good."""
        user_id = self.recall(authorization, self._clock.now_ms())
        if user_id is not None:
            return user_id
        assert self._keys is not None
        token = bearer(authorization)
        if self._secret and _algorithm(token) == "HS256":
            return self._check(authorization)
        claims = await self._keys.claims(token.decode())
        try:
            return self._accept(authorization or b"", msgspec.convert(claims, _Claims))
        except msgspec.ValidationError as problem:
            raise unauthenticated(f"the token's claims cannot be used: {problem}") from problem

    def _check(self, authorization: bytes | None) -> str:
        token = bearer(authorization)
        if not self._secret:
            raise unauthenticated("no way to check buyer tokens is configured")
        try:
            signed, _, signature = token.rpartition(b".")
            head, _, body = signed.partition(b".")
            if _heads.decode(_unpadded(head)).alg != "HS256" or _heads.decode(_unpadded(head)).crit is not None:
                raise unauthenticated("the token is not signed with HS256")
            if not hmac.compare_digest(hmac.digest(self._secret, signed, "sha256"), _unpadded(signature)):
                raise unauthenticated("the token's signature is wrong")
            claims = _claims.decode(_unpadded(body))
        except (msgspec.DecodeError, binascii.Error, ValueError) as problem:
            raise unauthenticated("the token cannot be read") from problem
        return self._accept(authorization or b"", claims)

    def _accept(self, authorization: bytes, claims: _Claims) -> str:
        now = self._clock.now_ms() / 1000
        if claims.exp <= now:
            raise unauthenticated("the token has expired")
        if claims.nbf is not None and claims.nbf > now:
            raise unauthenticated("the token is not valid yet")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise unauthenticated(f"the token is not for {self._audience!r}")
        if not claims.sub.isprintable():
            raise unauthenticated("the token's subject has characters that cannot be shown")
        if len(self._known) >= _CACHED_MAX:
            self._known.popitem(last=False)
        self._known[authorization] = (claims.sub, float(claims.exp))
        return claims.sub


def bearer(authorization: bytes | None) -> bytes:
    """The token of an Authorization header."""
    if authorization is None:
        raise unauthenticated("the Authorization header is missing")
    if authorization[:7].lower() != b"bearer ":
        raise unauthenticated("the Authorization header has another scheme than Bearer")
    token = authorization[7:].strip()
    if not token or len(token) > limits.TOKEN_BYTES_MAX:
        raise unauthenticated("the bearer token is empty or too long")
    return token


def is_operator(authorization: bytes | None, admin_token: str) -> bool:
    """Compared in constant time; False also while no operator token is configured."""
    if authorization is None or not admin_token or authorization[:7].lower() != b"bearer ":
        return False
    return hmac.compare_digest(authorization[7:].strip(), admin_token.encode())


def sign(secret: str, user_id: str, *, audience: str, now_s: int, ttl_s: int) -> str:
    """A buyer token, as a shop's backend would make it; for tools and for --dev-identities."""
    head = _padless(b'{"alg":"HS256","typ":"JWT"}')
    claims = {"sub": user_id, "aud": audience, "iat": now_s, "exp": now_s + ttl_s}
    signed = head + b"." + _padless(msgspec.json.encode(claims))
    return (signed + b"." + _padless(hmac.digest(secret.encode(), signed, "sha256"))).decode()


def _algorithm(token: bytes) -> str:
    try:
        return _heads.decode(_unpadded(token.partition(b".")[0])).alg
    except (msgspec.DecodeError, binascii.Error, ValueError) as problem:
        raise unauthenticated("the token cannot be read") from problem


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def _unpadded(text: bytes) -> bytes:
    """Base64url without padding, strictly: nothing but its own letters."""
    if b"+" in text or b"/" in text or b"=" in text:
        raise ValueError("not base64url")
    return binascii.a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4), strict_mode=True)


def _padless(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
