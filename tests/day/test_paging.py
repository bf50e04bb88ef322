"""Ways to reach the person on duty, and the store of pages on both ledgers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from conformance.ledger_bench import MINUTE, LedgerBench
from day.mail_server import post_office
from day.test_scalers import server
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.adapters.paging import OnCallPager
from doorbuster.adapters.postgres.fleet import PostgresFleet, PostgresPages
from doorbuster.adapters.postgres.pool import connect
from doorbuster.engine.day_ports import NotSent, PageCall
from doorbuster.engine.paging import PageStore
from doorbuster.engine.scaling import STALE_MS, Fleet, GateBeat
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.fleet import ReferenceFleet, ReferencePages

CALL = PageCall(key="gates", title="2 of 6 gates are ready", text="Start gates.")


def nobody() -> SmtpMailer:
    return SmtpMailer("smtp+plain://127.0.0.1:9", sender="shop@example.com", timeout_s=1)


async def test_every_way_is_tried_and_one_is_enough() -> None:
    heard: list[Any] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    async with server(hear) as url, post_office() as post:
        mailer = SmtpMailer(post.url, sender="shop@example.com", timeout_s=5)
        pager = OnCallPager([f"{url}/secret-token", "mailto:duty@example.com", "http://127.0.0.1:9/x"], mailer)

        ways = await pager.page(CALL)

    assert list(ways) == ["webhook 127.0.0.1", "mail duty@example.com"]
    assert heard[0]["title"] == CALL.title
    assert heard[0]["resolved"] is False
    [mail] = post.to("duty@example.com")
    assert mail["Subject"] == "[critical] 2 of 6 gates are ready"


async def test_nobody_reached_is_said_without_the_secret() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async with server(refuse) as url:
        with pytest.raises(NotSent, match="answered 500") as problem:
            await OnCallPager([f"{url}/secret-token", "mailto:duty@example.com"], nobody()).page(CALL)

    assert "secret-token" not in str(problem.value)


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_page_follows_nobody_elsewhere(status: int) -> None:
    """Whoever follows makes an empty GET of the page, and takes the answer to that for somebody's."""
    heard: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        heard.append(f"{request.method} {request.path}")
        return (
            web.Response() if request.path == "/other" else web.Response(status=status, headers={"Location": "/other"})
        )

    async with server(elsewhere) as url:
        with pytest.raises(NotSent, match=f"answered {status}"):
            await OnCallPager([f"{url}/duty"], nobody()).page(CALL)

    assert heard == ["POST /duty"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own, of the modules it loads
async def test_apprise_takes_the_rest() -> None:
    heard: list[Any] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    async with server(hear) as url:
        pager = OnCallPager([url.replace("http://", "json://")], nobody())
        assert list(await pager.page(CALL)) == ["apprise json"]

    assert CALL.title in heard[0]["title"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own, of the modules it loads
@pytest.mark.parametrize("address", ["nonsense", "noservice://x"])
def test_address_that_nobody_knows_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_ON_CALL_URLS"):
        OnCallPager([address], nobody())


def test_nobody_configured() -> None:
    assert not OnCallPager([], nobody()).configured


# ---------------------------------------------------------------------------------------- the stores


@pytest.fixture
async def stores(bench: LedgerBench, postgres: str | None) -> AsyncIterator[tuple[PageStore, Fleet]]:
    if postgres is None:
        yield ReferencePages(bench.ledger.clock), ReferenceFleet(bench.ledger.clock)
        return
    database = await connect(postgres)
    try:
        yield PostgresPages(database), PostgresFleet(database)
    finally:
        await database.close()


async def test_matter_is_opened_once_and_can_come_back(bench: LedgerBench, stores: tuple[PageStore, Fleet]) -> None:
    pages, _ = stores
    assert await pages.open(CALL)
    assert not await pages.open(CALL)
    assert [call.key for call in await pages.claim(lease_ms=MINUTE, limit=5)] == ["gates"]
    assert not await pages.claim(lease_ms=MINUTE, limit=5)
    await pages.reached(CALL, ["bell"], again_ms=15 * MINUTE)
    assert list(await pages.ways("gates")) == ["bell"]
    assert [call.title for call in await pages.matters()] == [CALL.title]

    assert await pages.resolve("gates", "there are six")
    assert not await pages.resolve("gates", "again")
    assert not await pages.matters()
    [over] = await pages.claim(lease_ms=MINUTE, limit=5)
    assert (over.resolved, over.text) == (True, "there are six")
    await pages.reached(over, ["bell"], again_ms=15 * MINUTE)
    await bench.ledger.advance_ms(60 * MINUTE)
    assert not await pages.claim(lease_ms=MINUTE, limit=5)

    assert await pages.open(CALL)
    assert list(await pages.ways("gates")) == []


async def test_who_was_never_reached_needs_no_all_clear(bench: LedgerBench, stores: tuple[PageStore, Fleet]) -> None:
    pages, _ = stores
    await pages.open(CALL)
    await pages.claim(lease_ms=MINUTE, limit=5)
    await pages.missed("gates", again_ms=1_000)
    await bench.ledger.advance_ms(1_000)
    assert len(await pages.claim(lease_ms=MINUTE, limit=5)) == 1

    await pages.resolve("gates", "")

    await bench.ledger.advance_ms(60 * MINUTE)
    assert not await pages.claim(lease_ms=MINUTE, limit=5)


async def test_call_that_was_under_way_when_it_was_over_is_followed_by_the_end(
    bench: LedgerBench, stores: tuple[PageStore, Fleet]
) -> None:
    pages, _ = stores
    await pages.open(CALL)
    await pages.claim(lease_ms=MINUTE, limit=5)
    await pages.reached(CALL, ["bell"], again_ms=MINUTE)
    await bench.ledger.advance_ms(MINUTE)
    [again] = await pages.claim(lease_ms=MINUTE, limit=5)
    await pages.resolve("gates", "over")

    await pages.reached(again, ["bell"], again_ms=MINUTE)

    [over] = await pages.claim(lease_ms=MINUTE, limit=5)
    assert over.resolved


async def test_gates_that_are_there(bench: LedgerBench, stores: tuple[PageStore, Fleet]) -> None:
    _, fleet = stores
    ids = SeededIds(3)
    first, second = (
        GateBeat(
            gate_id=ids.new_id(),
            host=f"h{number}",
            pid=number,
            ready=number > 1,
            clock_offset_ms=-600_000,
            pool_share=0.25,
        )
        for number in (1, 2)
    )
    await fleet.beat(first)
    await bench.ledger.advance_ms(STALE_MS - 1)
    await fleet.beat(second)
    found = await fleet.gates()
    assert [(gate.host, gate.ready, gate.clock_offset_ms, gate.pool_share) for gate in found] == [
        ("h1", False, -600_000, 0.25),
        ("h2", True, -600_000, 0.25),
    ]

    await bench.ledger.advance_ms(1)
    assert [gate.host for gate in await fleet.gates()] == ["h2"]
    await fleet.leave(second.gate_id)
    assert not await fleet.gates()
