"""A real PostgreSQL for the session, and a database of its own for each test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from doorbuster.adapters.postgres.migrate import migrate
from postgres.ledger import Ledger, ledger_at
from postgres.servers import Server, running

_numbers = itertools.count()


async def _command(url: str, command: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(command)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # Tests do not cut the power: without waiting for the disk they are ten times faster.
    with running("fsync=off", "max_connections=100", "shared_buffers=64MB") as server:
        asyncio.run(_command(server.url(), "create database migrated"))
        migrate(server.url("migrated"))
        yield server


@pytest.fixture
async def empty_url(server: Server) -> AsyncIterator[str]:
    """A database without a schema."""
    name = f"test_{next(_numbers)}"
    await _command(server.url(), f"create database {name}")
    yield server.url(name)
    await _command(server.url(), f"drop database {name} with (force)")


@pytest.fixture
async def ledger(server: Server) -> AsyncIterator[Ledger]:
    name = f"test_{next(_numbers)}"
    await _command(server.url(), f"create database {name} template migrated")
    async with ledger_at(server.url(name)) as ledger:
        yield ledger
    await _command(server.url(), f"drop database {name} with (force)")
