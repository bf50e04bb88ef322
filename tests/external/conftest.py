"""Desks for the tests of an existing shop's reports."""

from collections.abc import AsyncGenerator

import pytest

from external.desk import Desk, desk_on


@pytest.fixture(params=["reference", "postgres"])
def ledger(request: pytest.FixtureRequest) -> str:
    """Each kind of ledger in turn: where it is; nowhere is in memory."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else ""


@pytest.fixture
async def desk(ledger: str) -> AsyncGenerator[Desk]:
    """An open sale; when the test is over, the laws hold."""
    async with desk_on(ledger) as desk:
        await desk.open()
        yield desk
        await desk.assert_laws()
