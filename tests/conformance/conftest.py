"""Every implementation in turn."""

from collections.abc import AsyncIterator

import pytest

from conformance.ledger_bench import LedgerBench
from conformance.ledgers import MemoryLedger, postgres_ledger
from conformance.stock_bench import StockBench
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.reference.clock import ManualClock
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


@pytest.fixture(params=["reference", "postgres"])
def postgres(request: pytest.FixtureRequest) -> str | None:
    """Where the real database is, if this is its turn."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else None


@pytest.fixture
async def ledger_bench(postgres: str | None) -> AsyncIterator[LedgerBench]:
    """An empty ledger."""
    clock = ManualClock()
    if postgres is None:
        yield LedgerBench(MemoryLedger(clock))
        return
    async with postgres_ledger(postgres, clock) as ledger:
        yield LedgerBench(ledger)
