"""Gateways and shops for the payment tests."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from payments.gateway_process import GatewayProcess, gateway_process


@pytest.fixture(scope="session")
def shared_process(tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess, None, None]:
    """One gateway for all tests that let it live: every test looks at its own orders only."""
    with gateway_process(tmp_path_factory.mktemp("gateway") / "book.jsonl") as process:
        yield process


@pytest.fixture
def own_process(tmp_path: Path) -> Generator[GatewayProcess, None, None]:
    """A gateway that a test may kill."""
    with gateway_process(tmp_path / "book.jsonl") as process:
        yield process


@pytest.fixture
async def gateway(shared_process: GatewayProcess) -> AsyncGenerator[SimulatedGateway, None]:
    gateway = SimulatedGateway(shared_process.url)
    yield gateway
    await gateway.close()
