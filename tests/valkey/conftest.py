"""A real Valkey for the session, and an empty one with a store for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.valkey.images import Raw, raw_at, store_at
from tests.valkey.servers import Server, running

from doorbuster.adapters.valkey.store import ValkeyStockStore


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
async def raw(server: Server) -> AsyncIterator[Raw]:
    async with raw_at(server.url) as raw:
        yield raw
        await raw.do("FLUSHALL")


@pytest.fixture
async def store(server: Server, raw: Raw) -> AsyncIterator[ValkeyStockStore]:
    async with store_at(server.url) as store:
        yield store
