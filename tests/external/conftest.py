"""Desks for the tests of an existing shop's reports; a running Doorbuster and a running shop for the rest."""

from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from external.desk import Desk, desk_on
from external.existing_shop import ExistingShop, existing_shop
from external.world import World
from faults.shop import Shop, open_shop


@pytest.fixture(params=["reference", "postgres"])
def ledger(request: pytest.FixtureRequest) -> str:
    """Each kind of ledger in turn: where it is; nowhere is in memory."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else ""


@pytest.fixture
async def desk(ledger: str) -> AsyncGenerator[Desk]:
    """An open sale; when the test is over, the laws hold."""
    async with desk_on(ledger) as desk:
        await desk.open()
        yield desk
        await desk.assert_laws()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("external"), gates=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theirs(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExistingShop]:
    async with existing_shop(tmp_path_factory.mktemp("theirs"), shop.url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(shop: Shop) -> AsyncIterator[World]:
    async with aiohttp.ClientSession() as session:
        yield World(shop, session)
