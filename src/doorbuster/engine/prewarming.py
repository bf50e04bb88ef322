"""Has the sale's page and what it loads in the caches of the CDN before the crowd asks for them.

Owns: which addresses are fetched, how often each is tried, and what is reported. Read next: `adapters/fetching.py`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.plan import address_of
from doorbuster.engine.day_ports import Asked, Detail, StepFailed, StepSkipped

AT_ONCE: Final = 8
PAUSES_S: Final = (1.0, 3.0)
"""Before the second and the third try of an address."""
WITHIN_S: Final = 240.0
"""Of the five minutes that the step has: what was fetched by then is reported."""
_CACHE_HEADERS: Final = ("cache-control", "age", "x-cache", "cf-cache-status", "cache-status", "etag")


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """`status` 0: there was no answer, `problem` says why. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = {}
    bytes_read: int = 0
    problem: str = ""


class Fetcher(Protocol):
    async def fetch(self, url: str) -> Fetched:
        """The whole body is read, as a browser's would be, and dropped. Never raises for what a server does."""
        ...


class Prewarming:
    """Each address is fetched twice: once to have it cached, and once to see whether it is."""

    def __init__(
        self, fetcher: Fetcher, base_url: str, *, pauses_s: Sequence[float] = PAUSES_S, within_s: float = WITHIN_S
    ) -> None:
        self._fetcher = fetcher
        self._base_url = base_url
        self._pauses_s = pauses_s
        self._within_s = within_s

    async def step(self, asked: Asked) -> Detail:
        pages = asked.plan.pages
        if not pages:
            raise StepSkipped("the plan names no pages")
        urls = list(dict.fromkeys(url for page in pages if (url := address_of(self._base_url, page))))
        if not urls:
            raise StepSkipped("DOORBUSTER_CDN_BASE_URL is not set, and the plan has only paths")
        found = await self._warm_all(urls)
        bad = {url: one for url, one in found.items() if not 200 <= one.status < 300}
        detail = {
            "fetched": len(urls) - len(bad),
            "failed": len(bad),
            "not_fetched_paths": len(pages) - len(urls) if not self._base_url else 0,
            "cacheable": sum(_cacheable(one) for one in found.values()),
            "from_cache": sum(_from_cache(one) for one in found.values()),
            "bytes": sum(one.bytes_read for one in found.values()),
            "pages": [_named(url, one) for url, one in {**bad, **found}.items()],
        }
        if bad:
            url, one = next(iter(bad.items()))
            raise StepFailed(f"{len(bad)} of {len(urls)} addresses: {url}: {one.problem or one.status}", detail)
        return detail

    async def _warm_all(self, urls: Sequence[str]) -> Mapping[str, Fetched]:
        slots = asyncio.Semaphore(AT_ONCE)
        found = {url: Fetched(status=0, problem="there was no time left for it") for url in urls}

        async def warm(url: str) -> None:
            async with slots:
                found[url] = await self._warm(url)

        works = [asyncio.get_running_loop().create_task(warm(url)) for url in urls]
        try:
            await asyncio.wait(works, timeout=self._within_s)
        finally:
            for work in works:
                work.cancel()
            ended = await asyncio.gather(*works, return_exceptions=True)
        for problem in ended:
            if isinstance(problem, Exception):
                raise problem
        return found

    async def _warm(self, url: str) -> Fetched:
        """An address that fails three times is not looked at once more."""
        one = await self._fetcher.fetch(url)
        for pause_s in self._pauses_s:
            if 200 <= one.status < 300:
                break
            await asyncio.sleep(pause_s)
            one = await self._fetcher.fetch(url)
        return await self._fetcher.fetch(url) if 200 <= one.status < 300 else one


def _named(url: str, one: Fetched) -> Mapping[str, object]:
    headers = {name: one.headers[name] for name in _CACHE_HEADERS if name in one.headers}
    return {"url": url, "status": one.status, "headers": headers, **({"problem": one.problem} if one.problem else {})}


def _cacheable(one: Fetched) -> bool:
    control = one.headers.get("cache-control", "").lower()
    return 200 <= one.status < 300 and bool(control) and not any(word in control for word in ("no-store", "private"))


def _from_cache(one: Fetched) -> bool:
    """By any of the headers that CDNs use to say so (RFC 9111 `Age`, RFC 9211 `Cache-Status`, and older ones)."""
    said = " ".join(one.headers.get(name, "") for name in ("x-cache", "cf-cache-status", "cache-status")).lower()
    return "hit" in said or one.headers.get("age", "0").strip() not in ("", "0")
