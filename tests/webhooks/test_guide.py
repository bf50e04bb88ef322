"""The guide says what is true, and its receiver works."""

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from doorbuster.domain.shop_events import PING, RETRY_AFTER_MS, EventType
from webhooks.world import ORDERS, World, some_orders

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "webhooks.md").read_text()
EXAMPLE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[0]
UNITS = {"s": 1_000, "min": 60_000, "h": 3_600_000}


class Shop:
    """The guide's receiver at work."""

    def __init__(self, url: str, inbox: sqlite3.Connection) -> None:
        self.url = url
        self.inbox = inbox

    def ids(self) -> list[str]:
        return [row[0] for row in self.inbox.execute("select id from inbox order by rowid")]


@pytest.fixture
async def shop(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """With the first endpoint's secret in its environment."""
    endpoint, secret = await world.endpoint(event_types=ORDERS)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "receiver"}
    exec(compile(EXAMPLE, "webhooks.md", "exec"), names)
    app, inbox = names["app"], names["inbox"]
    assert isinstance(app, web.Application)
    assert isinstance(inbox, sqlite3.Connection)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop = Shop("http://{}:{}/hooks/doorbuster".format(*runner.addresses[0][:2]), inbox)
    await world.outbox.change(endpoint, url=shop.url, description=None, event_types=None, enabled=None)
    yield shop
    await runner.cleanup()
    inbox.close()


async def test_receiver_of_the_guide_refuses_what_is_not_signed(shop: Shop) -> None:
    async with ClientSession() as session, session.post(shop.url, json={"type": "order.paid"}) as answer:
        assert answer.status == 401

    assert shop.ids() == []


async def test_receiver_of_the_guide_keeps_each_event_once(world: World, shop: Shop) -> None:
    await some_orders(world, 3)
    assert (await world.tell())["delivered"] == 3
    await world.ledger.sql.execute("update webhook_deliveries set state = 'pending', closed_at = null, next_at = now()")

    assert (await world.tell())["delivered"] == 3

    assert len(shop.ids()) == 3


def test_example_is_short() -> None:
    assert len(EXAMPLE.splitlines()) <= 27
    assert len([line for line in EXAMPLE.splitlines() if line]) <= 25


def test_guide_names_every_event() -> None:
    table = GUIDE[GUIDE.index("## What is told") : GUIDE.index("```json")]

    assert set(re.findall(r"`((?:order|sale)\.\w+|ping)`", table)) == {*EventType, PING}


def test_guide_has_the_schedule() -> None:
    told: list[int] = []
    for first, last, amount, unit in re.findall(r"^\| (\d+)(?: to (\d+))? \| (\d+) (s|min|h) \|$", GUIDE, re.MULTILINE):
        told += [int(amount) * UNITS[unit]] * (int(last or first) - int(first) + 1)

    assert tuple(told) == RETRY_AFTER_MS
