"""A shop that is told, on the session's real PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from webhooks.world import World, a_world


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as world:
        yield world
