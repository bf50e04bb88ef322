"""Fetches pages as a browser would: implements `engine.prewarming.Fetcher`.

Owns: time-outs and what is read at most. Redirects are followed, as browsers do.
"""

from typing import Final

import aiohttp

from doorbuster.engine.prewarming import Fetched

_TIMEOUT_S: Final = 15.0
_BYTES_MAX: Final = 50 * 1024 * 1024
"""Larger files are not part of a page that thousands load in one second."""
_ENCODINGS: Final = "gzip, deflate, br, zstd"
"""A CDN keeps a copy for each encoding that is asked for: ask for what browsers ask for."""


def _readable(value: str) -> str:
    """Bytes of a header that are not UTF-8 come as lone surrogates, which nothing can store."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class HttpFetcher:
    """One client for all pages of a step: made at the first, closed by `close`."""

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> Fetched:
        if self._session is None:
            headers = {"User-Agent": "doorbuster-prewarm", "Accept-Encoding": _ENCODINGS}
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=headers, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )  # each look is a new visitor's, and what is not read need not be unpacked
        size = 0
        try:
            async with self._session.get(url) as answer:
                async for piece in answer.content.iter_any():
                    size += len(piece)
                    if size > _BYTES_MAX:
                        return Fetched(status=0, problem=f"more than {_BYTES_MAX} bytes")
                headers = {name.lower(): _readable(value) for name, value in answer.headers.items()}
                return Fetched(status=answer.status, headers=headers, bytes_read=size)
        except (aiohttp.ClientError, OSError, ValueError) as problem:  # a time-out is an OSError
            return Fetched(status=0, problem=f"{type(problem).__name__} {problem}".strip())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
