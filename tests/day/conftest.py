"""Both ledgers in turn."""

from collections.abc import AsyncIterator

import pytest

from conformance.ledger_bench import LedgerBench
from conformance.ledgers import MemoryLedger, postgres_ledger
from doorbuster.reference.clock import ManualClock


@pytest.fixture(params=["reference", "postgres"])
def postgres(request: pytest.FixtureRequest) -> str | None:
    """Where the real database is, if this is its turn."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else None


@pytest.fixture
async def bench(postgres: str | None) -> AsyncIterator[LedgerBench]:
    """An empty ledger."""
    clock = ManualClock()
    if postgres is None:
        yield LedgerBench(MemoryLedger(clock))
        return
    async with postgres_ledger(postgres, clock) as ledger:
        yield LedgerBench(ledger)
