"""The shop's published keys (JWKS): fetched, kept, and asked for again when a token names one that is not known.

Owns: the pace of fetching. Keeps: fail closed. A flood of made-up key ids is one fetch in a while, not one each; keys
of a shop that does not answer are used for a day, then no longer.
"""

import asyncio
from typing import Any, Final

import aiohttp
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from doorbuster.api.auth import Claims, Head, unauthenticated
from doorbuster.api.http import Refused
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import Clock

log = structlog.get_logger(__name__)

_FETCH_TIMEOUT_S: Final = 5.0
_FETCH_PAUSE_S: Final = 10.0
"""At most one fetch in this time, whatever is asked."""
_FRESH_S: Final = 600.0
"""Older keys are still used while new ones are fetched behind the requests' backs."""
_TRUSTED_S: Final = 86_400.0
_BYTES_MAX: Final = 256 * 1024
_ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
"""Public-key algorithms only: a published key must never be taken for a shared secret."""
_RSA_BITS_MIN: Final = 2048


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


class PublishedKeys:
    """Implements `auth.KeySet`."""

    def __init__(self, url: str, audience: str, clock: Clock) -> None:
        self._url = url
        self._audience = audience
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def claims(self, token: str, head: Head) -> Claims:
        if head.alg not in _ALGORITHMS:
            raise unauthenticated(f"tokens are not taken with the algorithm {head.alg[:20]!r}")
        key = await self._key(head.kid)
        if key.algorithm_name != head.alg:
            raise unauthenticated("the token's algorithm is not that of its key")
        try:
            # Times are checked by the caller, against the database's clock.
            found = jwt.decode(
                token,
                key,
                algorithms=[head.alg],
                audience=self._audience,
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["sub", "exp", "aud"],
                },
            )
            return msgspec.convert(found, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, RecursionError) as problem:
            raise unauthenticated(f"the token is not good: {problem}") from problem

    async def _key(self, kid: str) -> jwt.PyJWK:
        age_s = self._clock.monotonic() - self._fetched_at
        key = self._find(kid) if age_s < _TRUSTED_S else None
        if key is None:
            fetching = self._refresh()
            if fetching is not None:
                await asyncio.shield(fetching)
                age_s = self._clock.monotonic() - self._fetched_at
                key = self._find(kid) if age_s < _TRUSTED_S else None
        elif age_s > _FRESH_S:
            self._refresh()
        if key is not None:
            return key
        if self._tried_at > self._fetched_at:  # it may be one of the keys that could not be fetched
            raise Refused(Refusal(Code.UNAVAILABLE, "the shop's keys cannot be fetched"))
        raise unauthenticated("the token names a key the shop has not published")

    def _find(self, kid: str) -> jwt.PyJWK | None:
        """By its id; a shop with a single key need not name it."""
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _refresh(self) -> "asyncio.Task[None] | None":
        """The fetch under way, begun now if it is time for one."""
        if self._fetching is None:
            now = self._clock.monotonic()
            if now - self._tried_at < _FETCH_PAUSE_S:
                return None
            self._tried_at = now
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, _: "asyncio.Task[None]") -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        """Keys that cannot be fetched stay as they were."""
        try:
            found = _usable(msgspec.json.decode(await self._get(), type=_Document))
        except (aiohttp.ClientError, OSError, ValueError, msgspec.DecodeError, RecursionError) as problem:
            log.warning("the shop's keys cannot be fetched", url=self._url, problem=str(problem) or repr(problem))
            return
        self._keys, self._fetched_at = found, self._clock.monotonic()

    async def _get(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
            response.raise_for_status()
            content = b""
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > _BYTES_MAX:
                    raise ValueError(f"more than {_BYTES_MAX} bytes")
            return content


def _usable(document: _Document) -> dict[str, jwt.PyJWK]:
    """The keys that can check a signature; one that cannot be used does not spoil the others."""
    found: dict[str, jwt.PyJWK] = {}
    for raw in document.keys:
        if raw.get("kty") == "oct" or raw.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(raw)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < _RSA_BITS_MIN
        if key.algorithm_name in _ALGORITHMS and not weak:
            found[str(raw.get("kid", ""))] = key
    return found
