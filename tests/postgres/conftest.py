"""A ledger of its own for each test, on the session's real PostgreSQL."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from postgres.ledger import Ledger, ledger_at


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with ledger_at(database_url) as ledger:
        yield ledger


@pytest.fixture
async def empty_url(database_url: str) -> AsyncIterator[str]:
    """A database without a schema."""
    connection = await asyncpg.connect(database_url)
    name: str = await connection.fetchval("select current_database()")
    await connection.execute(f"create database {name}_empty")
    yield database_url.replace(name, f"{name}_empty")
    await connection.execute(f"drop database {name}_empty with (force)")
    await connection.close()
