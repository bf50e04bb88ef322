"""A draw on every ledger in turn."""

from collections.abc import AsyncIterator

import pytest

from conformance.draw_bench import DrawBench
from conformance.ledgers import MemoryLedger, postgres_ledger
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.pool import connect
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.draws import ReferenceDrawLedger


@pytest.fixture(params=["reference", "postgres"])
def postgres(request: pytest.FixtureRequest) -> str | None:
    """Where the real database is, if this is its turn."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else None


@pytest.fixture
async def bench(postgres: str | None) -> AsyncIterator[DrawBench]:
    """An empty ledger."""
    clock = ManualClock()
    if postgres is None:
        memory = MemoryLedger(clock)
        yield DrawBench(memory, ReferenceDrawLedger(memory.rows))
        return
    async with postgres_ledger(postgres, clock) as ledger:
        database = await connect(postgres)
        try:
            yield DrawBench(ledger, PostgresDrawLedger(database))
        finally:
            await database.close()
