"""A real Valkey for the session, and an empty one with a store for each test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

import pytest
import uvloop
from tests.valkey.images import Raw, raw_at, store_at
from tests.valkey.servers import Server, running

from doorbuster.adapters.valkey.store import ValkeyStockStore

_BOTH_LOOPS: Final = ("test_valkey_mux.py", "test_valkey_take_one.py", "test_valkey_tls.py")
"""Gates run on uvloop, whose transports differ from the library's in small ways."""


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name in _BOTH_LOOPS:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


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
