"""The API on the reference stores: every answer in milliseconds, no server anywhere."""

from collections.abc import AsyncIterator

import pytest

from api.gate import Gate


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A gate whose sale has 3 units at 10.00 EUR, open for an hour."""
    gate = Gate()
    await gate.start()
    yield gate
    await gate.stop()
