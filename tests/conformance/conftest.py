"""Every implementation in turn."""

from collections.abc import AsyncIterator

import pytest

from conformance.stock_bench import StockBench
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.reference.stock import ReferenceStockStore


@pytest.fixture(params=["reference", "valkey"])
def valkey(request: pytest.FixtureRequest) -> str | None:
    """Where the real server is, if this is its turn."""
    return request.getfixturevalue("valkey_url") if request.param == "valkey" else None


@pytest.fixture
async def stock_bench(valkey: str | None) -> AsyncIterator[StockBench]:
    """An empty stock store."""
    if valkey is None:
        yield StockBench(ReferenceStockStore())
        return
    store = await ValkeyStockStore.connect(valkey)
    try:
        yield StockBench(store)
    finally:
        await store.close()
