"""The shop's published keys (JWKS): fetched, kept, and asked for again when a token names one that is not known.

Owns: the pace of fetching. Keeps: fail closed; a flood of made-up key ids is one fetch in a while, not one each.
"""

import asyncio
import json
from typing import Any, Final

import aiohttp
import jwt

from doorbuster.api.auth import unauthenticated
from doorbuster.engine.ports import Clock

_FETCH_TIMEOUT_S: Final = 5.0
_FETCH_PAUSE_S: Final = 10.0
"""At most one fetch in this time, whatever is asked."""
_KEEP_S: Final = 600.0
_BYTES_MAX: Final = 256 * 1024
_ALGORITHMS: Final = ["RS256", "ES256", "EdDSA"]
"""Public-key algorithms only: a published key must never be taken for a shared secret."""


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

    async def claims(self, token: str) -> dict[str, object]:
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.PyJWTError as problem:
            raise unauthenticated("the token cannot be read") from problem
        key = await self._key(kid)
        try:
            # Times are checked by the caller, against the database's clock.
            return jwt.decode(
                token,
                key.key,
                algorithms=_ALGORITHMS,
                audience=self._audience,
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["sub", "exp", "aud"],
                },
            )
        except jwt.PyJWTError as problem:
            raise unauthenticated(f"the token is not good: {problem}") from problem

    async def _key(self, kid: str) -> jwt.PyJWK:
        stale = self._clock.monotonic() - self._fetched_at > _KEEP_S
        if kid not in self._keys or stale:
            await self._refresh()
        key = self._keys.get(kid)
        if key is None:
            raise unauthenticated("the token names a key the shop has not published")
        return key

    async def _refresh(self) -> None:
        if self._fetching is None:
            if self._clock.monotonic() - self._tried_at < _FETCH_PAUSE_S:
                return
            self._tried_at = self._clock.monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)

    def _fetched(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        """Keys that cannot be fetched stay as they were."""
        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
                if response.status != 200:
                    return
                document: dict[str, Any] = json.loads(await response.content.read(_BYTES_MAX))
            found = {
                str(key["kid"]): jwt.PyJWK(key) for key in document["keys"] if "kid" in key and key.get("kty") != "oct"
            }
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, jwt.PyJWTError):
            return
        self._keys, self._fetched_at = found, self._clock.monotonic()
