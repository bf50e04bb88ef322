"""Who is calling.

Owns: the check of buyer tokens (HS256 by secret, or the shop's published keys) and of the operator's token.
The HS256 check is our own: it is on the path of every request of the crowd and costs a sixth of the general library's,
which a test holds it against token by token. Fails closed: what cannot be checked is not known.
"""

import binascii
import hmac
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Protocol

import msgspec

from doorbuster.api.http import Refused
from doorbuster.api.lately import Lately
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import AUDIENCE, USER_PREFIX
from doorbuster.engine.ports import Clock

_KNOWN_MAX: Final = 50_000
_KNOWN_BYTES_MAX: Final = 2048
"""Longer tokens are checked each time: the memory of a gate is not theirs."""
_HEADS_MAX: Final = 64
_UNKNOWN_MS: Final = 3_600_000
"""How long a connection lasts whose token was too long to be remembered with its end."""
_SECRET_BYTES_MIN: Final = 32
_BLOCK_BYTES: Final = 64
"""Of SHA-256."""


class Head(msgspec.Struct):
    """The head of a token. What it calls critical we do not know, so it must not call anything so."""

    alg: str
    typ: str | None = None
    kid: str = ""
    crit: Any = msgspec.UNSET
    b64: Any = msgspec.UNSET


class Claims(msgspec.Struct):
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.USER_ID_LENGTH_MAX)]
    exp: int | float
    aud: str | list[str]
    nbf: int | float | None = None


_heads = msgspec.json.Decoder(Head)
_claims = msgspec.json.Decoder(Claims)


class Mac:
    """HMAC-SHA256 (RFC 2104) under one key: the two keyed blocks are made once. Half the cost of `hmac.digest`."""

    def __init__(self, key: bytes) -> None:
        key = sha256(key).digest() if len(key) > _BLOCK_BYTES else key
        self._inner = bytes(byte ^ 0x36 for byte in key.ljust(_BLOCK_BYTES, b"\0"))
        self._outer = bytes(byte ^ 0x5C for byte in key.ljust(_BLOCK_BYTES, b"\0"))

    def of(self, message: bytes) -> bytes:
        return sha256(self._outer + sha256(self._inner + message).digest()).digest()


class KeySet(Protocol):
    """Checks tokens by published keys. Raises `Refused` for one that is not good."""

    async def claims(self, token: str, head: Head) -> Claims: ...


def unauthenticated(detail: str) -> Refused:
    return Refused(Refusal(Code.UNAUTHENTICATED, detail))


class Buyers:
    """Buyer tokens. A token that was good is remembered and only its time is looked at again."""

    def __init__(self, secret: str, audience: str, clock: Clock, keys: KeySet | None = None) -> None:
        if secret and len(secret.encode()) < _SECRET_BYTES_MIN:
            raise ValueError(f"the buyer secret has fewer than {_SECRET_BYTES_MIN} bytes")
        self._mac = Mac(secret.encode()) if secret else None
        self._audience = audience
        self._clock = clock
        self._keys = keys
        self._known: Lately[bytes, tuple[str, float]] = Lately(_KNOWN_MAX)
        self._heads: set[bytes] = set()
        self._rehearsals: dict[bytes, Mac] = {}

    def admit_rehearsals(self, secrets: Mapping[str, bytes]) -> None:
        """The secrets of the crowds that are at work now, by the `kid` of their tokens, which are signed with the
        secret's hex; those before are forgotten. Their buyers are nobody outside a rehearsal."""
        if secrets or self._rehearsals:
            self._rehearsals = {_head_naming(kid): Mac(secret.hex().encode()) for kid, secret in secrets.items()}

    def recall(self, authorization: bytes | None, now_ms: int) -> str | None:
        """The buyer of a token that is known, or can be checked without waiting. None: ask `identify`."""
        if authorization is not None:
            known = self._known.get(authorization)
            if known is not None and known[1] * 1000 > now_ms:
                return known[0]
            if self._rehearsals:
                rehearsed = self._rehearsed(authorization, now_ms)
                if rehearsed is not None:
                    return rehearsed
        if self._keys is None:
            return self._check(authorization, now_ms)
        return None

    async def identify(self, authorization: bytes | None) -> str:
        """The user id of the caller. Raises Refused (unauthenticated) for every token that is not good."""
        now_ms = self._clock.now_ms()
        user_id = self.recall(authorization, now_ms)
        if user_id is not None:
            return user_id
        assert self._keys is not None
        token = bearer(authorization)
        head = _head(token.partition(b".")[0])
        if self._mac is not None and head.alg == "HS256":
            return self._check(authorization, now_ms)
        claims = await self._keys.claims(token.decode("latin-1"), head)
        return self._accept(authorization or b"", claims, self._clock.now_ms())

    async def identify_token(self, token: str) -> tuple[str, int] | Refusal:
        """The buyer of a bare token and until when it is good, in milliseconds; or why it is not."""
        authorization = b"Bearer " + token.encode(errors="replace")
        try:
            user_id = await self.identify(authorization)
        except Refused as refused:
            return refused.refusal
        known = self._known.get(authorization)
        return user_id, int(known[1] * 1000) if known is not None else self._clock.now_ms() + _UNKNOWN_MS

    def _check(self, authorization: bytes | None, now_ms: int) -> str:
        token = bearer(authorization)
        if self._mac is None:
            raise unauthenticated("no way to check buyer tokens is configured")
        signed, _, signature = token.rpartition(b".")
        head, _, body = signed.partition(b".")
        if head not in self._heads:
            if _head(head).alg != "HS256":
                raise unauthenticated("the token is not signed with HS256")
            if len(self._heads) < _HEADS_MAX:
                self._heads.add(head)  # every token of a shop has the same
        if not hmac.compare_digest(_padless(self._mac.of(signed)), signature):
            raise unauthenticated("the token's signature is wrong")
        try:
            claims = _claims.decode(binascii.a2b_base64(body.translate(_STANDARD) + b"=="))
        except (msgspec.DecodeError, ValueError, RecursionError) as problem:
            raise unauthenticated(f"the token's claims cannot be used: {problem}") from problem
        return self._accept(authorization or b"", claims, now_ms)

    def _rehearsed(self, authorization: bytes, now_ms: int) -> str | None:
        """The buyer of a token of a rehearsal's crowd; None for every other token."""
        signed, _, signature = authorization[7:].strip().rpartition(b".")
        head, _, body = signed.partition(b".")
        found = self._rehearsals.get(head)
        if found is None or not hmac.compare_digest(_padless(found.of(signed)), signature):
            return None
        claims = _claims.decode(_unpadded(body))
        if (
            claims.aud != AUDIENCE
            or not claims.sub.startswith(USER_PREFIX)
            or not now_ms / 1000 < claims.exp < math.inf
        ):
            return None
        self._known.put(authorization, (claims.sub, claims.exp))
        return claims.sub

    def _accept(self, authorization: bytes, claims: Claims, now_ms: int) -> str:
        """Written so that a time that is no number is never good."""
        now = now_ms / 1000
        if not now < claims.exp < math.inf:
            raise unauthenticated("the token has expired")
        if claims.nbf is not None and not claims.nbf <= now:
            raise unauthenticated("the token is not valid yet")
        if self._audience != claims.aud and (isinstance(claims.aud, str) or self._audience not in claims.aud):
            raise unauthenticated(f"the token is not for {self._audience!r}")
        if not claims.sub.isprintable():
            raise unauthenticated("the token's subject has characters that cannot be shown")
        if claims.sub.startswith(USER_PREFIX):
            raise unauthenticated(f"accounts that begin with {USER_PREFIX!r} are those of rehearsals")
        if len(authorization) <= _KNOWN_BYTES_MAX:
            self._known.put(authorization, (claims.sub, claims.exp))
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


def sign(secret: str, user_id: str, *, audience: str, now_s: int, ttl_s: int, kid: str = "") -> str:
    """A buyer token, as a shop's backend would make it; for tools, for --dev-identities and for rehearsals."""
    head = _head_naming(kid)
    claims = {"sub": user_id, "aud": audience, "iat": now_s, "exp": now_s + ttl_s}
    signed = head + b"." + _padless(msgspec.json.encode(claims))
    return (signed + b"." + _padless(hmac.digest(secret.encode(), signed, "sha256"))).decode()


def _head_naming(kid: str) -> bytes:
    """The head of a token that `sign` makes."""
    named = b',"kid":"%s"' % kid.encode() if kid else b""
    return _padless(b'{"alg":"HS256","typ":"JWT"%s}' % named)


def _head(part: bytes) -> Head:
    try:
        head = _heads.decode(_unpadded(part))
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise unauthenticated("the token cannot be read") from problem
    if head.crit is not msgspec.UNSET or head.b64 is not msgspec.UNSET:
        raise unauthenticated("the token asks for an extension that is not known here")
    return head


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def _unpadded(text: bytes) -> bytes:
    """Base64url without padding, strictly: nothing but its own letters."""
    if b"+" in text or b"/" in text or b"=" in text:
        raise ValueError("not base64url")
    return binascii.a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4), strict_mode=True)


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def _padless(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")
