"""Every line passes the same battery, and is exact after each check of it."""

from collections.abc import AsyncIterator

import pytest

from conformance.line import exercise_line_store
from conformance.line_bench import LineBench
from conformance.suite import Check
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.reference.line import ReferenceLineStore
from doorbuster.reference.stock import ReferenceStockStore


@pytest.fixture
async def line_bench(valkey: str | None) -> AsyncIterator[LineBench]:
    """An empty stock store, and the line in it."""
    if valkey is None:
        stock = ReferenceStockStore()
        yield LineBench(stock, ReferenceLineStore(stock))
        return
    store = await ValkeyStockStore.connect(valkey)
    line = ValkeyLineStore(store)
    try:
        yield LineBench(store, line)
    finally:
        await line.close()
        await store.close()


@exercise_line_store.parameters()
async def test_line_store(line_bench: LineBench, check: Check[LineBench]) -> None:
    await check(line_bench)

    await line_bench.exact()
