"""A stage of each kind."""

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from conformance.ledgers import MemoryLedger, postgres_ledger
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.stock import ReferenceStockStore
from scenarios.stage import Stage, ValkeyServer, stage_in_memory


@pytest.fixture(autouse=True)
def _quiet_agents() -> Iterator[None]:
    """What the agents log is of no interest here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture(params=["reference", "real"])
def servers(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """Where the real servers are, if this is their turn."""
    if request.param == "reference":
        return None
    return request.getfixturevalue("database_url"), request.getfixturevalue("valkey_url")


@pytest.fixture
async def stage(servers: tuple[str, str] | None) -> AsyncIterator[Stage]:
    clock = ManualClock()
    if servers is None:
        yield stage_in_memory(MemoryLedger(clock), ReferenceStockStore())
        return
    database_url, valkey_url = servers
    valkey = await ValkeyStockStore.connect(valkey_url)
    line = ValkeyLineStore(valkey)
    try:
        async with postgres_ledger(database_url, clock) as ledger:
            yield Stage(ledger, valkey, ValkeyServer(valkey_url), line=line)
    finally:
        await line.close()
        await valkey.close()
