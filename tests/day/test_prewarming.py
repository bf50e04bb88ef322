"""Pages fetched before a sale, from a server that behaves like a CDN, or does not."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from conformance.ledger_bench import HOUR, LedgerBench
from conformance.ledgers import MemoryLedger
from day.test_scalers import server
from doorbuster.adapters.fetching import HttpFetcher
from doorbuster.domain.plan import Plan, plan_problems
from doorbuster.engine.day_ports import Asked, StepFailed, StepSkipped
from doorbuster.engine.prewarming import AT_ONCE, PAUSES_S, Prewarming
from doorbuster.reference.clock import ManualClock


class Cdn:
    """Each address is a miss the first time; `bad` ones fail so often."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bad: dict[str, int] = {}
        self.most_at_once = self.now = self.seen_cookies = 0
        self.encodings: set[str] = set()
        self.crowd = 1
        self.full = asyncio.Event()
        self.hangs: set[str] = set()

    async def _together(self) -> None:
        """The first ones are answered when so many are here."""
        if self.now >= self.crowd:
            self.full.set()
        await self.full.wait()

    async def answer(self, request: web.Request) -> web.Response:
        self.now += 1
        self.most_at_once = max(self.now, self.most_at_once)
        await asyncio.wait_for(self._together(), 5)
        if request.path in self.hangs:
            await asyncio.Event().wait()
        self.seen_cookies += len(request.cookies)
        self.encodings.add(request.headers["Accept-Encoding"])
        self.asked[request.path] += 1
        times = self.asked[request.path]
        self.now -= 1
        if times <= self.bad.get(request.path, 0):
            return web.Response(status=503)
        headers = {"Cache-Control": "public, max-age=60", "X-Cache": "MISS" if times == 1 else "HIT"}
        return web.Response(text="page", headers={**headers, "Set-Cookie": "seen=1; Path=/"})


@asynccontextmanager
async def cdn() -> AsyncGenerator[tuple[Cdn, str]]:
    behaved = Cdn()
    async with server(behaved.answer) as url:
        yield behaved, url.replace("127.0.0.1", "localhost")  # an address would get no cookie


async def asked(*pages: str) -> Asked:
    bench = LedgerBench(MemoryLedger(ManualClock()))
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    return Asked(sale=sale, plan=Plan(pages=pages), now_ms=bench.now_ms(), attempt=1)


async def warm(url: str, *pages: str, within_s: float = 60) -> dict[str, object]:
    fetcher = HttpFetcher(timeout_s=30)
    warming = Prewarming(fetcher, url, pauses_s=[0.0] * len(PAUSES_S), within_s=within_s)
    try:
        return dict(await warming.step(await asked(*pages)))
    finally:
        await fetcher.close()


async def test_pages_are_cached_and_it_is_seen() -> None:
    async with cdn() as (behaved, url):
        detail = await warm(url, "/sale", "/app.js", f"{url}/logo.svg", "/sale")

    assert (detail["fetched"], detail["failed"], detail["cacheable"], detail["from_cache"]) == (3, 0, 3, 3)
    assert behaved.asked == {"/sale": 2, "/app.js": 2, "/logo.svg": 2}
    assert behaved.encodings == {"gzip, deflate, br, zstd"}
    assert behaved.seen_cookies == 0
    pages = detail["pages"]
    assert isinstance(pages, list)
    assert {
        "url": f"{url}/sale",
        "status": 200,
        "headers": {"cache-control": "public, max-age=60", "x-cache": "HIT"},
    } in pages


async def test_page_that_fails_at_first_is_tried_again() -> None:
    async with cdn() as (behaved, url):
        behaved.bad["/sale"] = 2
        assert (await warm(url, "/sale"))["failed"] == 0


async def test_page_that_fails_is_named_and_the_others_are_fetched() -> None:
    async with cdn() as (behaved, url):
        behaved.bad["/sale"] = 99
        with pytest.raises(StepFailed, match=r"1 of 2 addresses: .*/sale: 503") as problem:
            await warm(url, "/sale", "/app.js")
    assert problem.value.detail["fetched"] == 1


async def test_what_was_fetched_is_told_also_if_the_rest_takes_too_long() -> None:
    async with cdn() as (behaved, url):
        behaved.hangs.add("/slow")
        with pytest.raises(StepFailed, match=r"1 of 2 addresses: .*/slow: there was no time left") as problem:
            await warm(url, "/sale", "/slow", within_s=3)
    assert (problem.value.detail["fetched"], problem.value.detail["failed"]) == (1, 1)


async def test_paths_are_below_the_base_whatever_they_look_like() -> None:
    async with cdn() as (behaved, url):
        await warm(f"{url}/shop/", "/sale", "//elsewhere.example/x", "/go?to=https://elsewhere.example")
        with pytest.raises(StepSkipped, match="DOORBUSTER_CDN_BASE_URL"):
            await warm("", "/go?to=https://elsewhere.example")
    assert set(behaved.asked) == {"/shop/sale", "/shop/elsewhere.example/x", "/shop/go"}


async def test_server_that_is_away() -> None:
    async with cdn() as (_, url):
        pass
    with pytest.raises(StepFailed, match="ClientConnectorError"):
        await warm(url, "/sale")


async def test_many_pages_come_a_few_at_a_time() -> None:
    async with cdn() as (behaved, url):
        behaved.crowd = AT_ONCE
        detail = await warm(url, *(f"/{number}" for number in range(100)))
    assert detail["fetched"] == 100
    assert behaved.most_at_once == AT_ONCE == 8


async def test_header_that_is_not_utf_8_can_be_stored() -> None:
    """aiohttp hands such bytes on as lone surrogates."""

    async def latin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "\xe9"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(latin, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        detail = await warm(f"http://127.0.0.1:{port}", "/sale")
    assert b"etag" in msgspec.json.encode(detail)


async def test_nothing_to_fetch() -> None:
    with pytest.raises(StepSkipped, match="names no pages"):
        await warm("http://127.0.0.1:9")
    with pytest.raises(StepSkipped, match="DOORBUSTER_CDN_BASE_URL"):
        await warm("", "/sale")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(expected_crowd=-1), "expected_crowd"),
        (Plan(pages=("sale",)), r"pages\[0\]"),
        (Plan(pages=("/a b",)), r"pages\[0\]"),
        (Plan(pages=("javascript:x",)), r"pages\[0\]"),
        (Plan(pages=("/a",) * 201), "more than 200"),
        (Plan(thresholds={"tea": 1}), "no rule 'tea'"),
        (Plan(thresholds={"error-rate": float("nan")}), "error-rate"),
    ],
)
def test_plan_that_cannot_be(plan: Plan, words: str) -> None:
    import re

    assert any(re.search(words, problem) for problem in plan_problems(plan, frozenset({"error-rate"})))


def test_plan_that_can_be() -> None:
    pages: Sequence[str] = ("/", "https://cdn.example.com/x.js")
    assert plan_problems(Plan(expected_crowd=5, pages=tuple(pages)), frozenset()) == []
