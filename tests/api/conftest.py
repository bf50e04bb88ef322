"""The API on the reference stores: every answer in milliseconds, no server anywhere."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from api.gate import Gate


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop a gate runs on: its sockets behave in their own way."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A gate whose sale has 3 units at 10.00 EUR, open for an hour."""
    gate = Gate()
    await gate.start()
    yield gate
    await gate.stop()
