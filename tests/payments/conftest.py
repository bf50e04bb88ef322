"""Gateways and shops for the payment tests."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.payments.stripe import StripeGateway
from payments.gateway_process import GatewayProcess, gateway_process
from payments.postgres_shop import postgres_stores
from payments.reference_shop import ReferenceStores
from payments.shop import Shop, Stores
from payments.stripe_server import StripeServer

STRIPE_SECRETS = ["whsec_now", "whsec_before"]
"""Both are good: one is being exchanged for the other."""


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


@pytest.fixture
async def impatient(shared_process: GatewayProcess) -> AsyncGenerator[SimulatedGateway, None]:
    """The same gateway as seen by someone who waits for no answer longer than a moment."""
    gateway = SimulatedGateway(shared_process.url, call_s=0.2)
    yield gateway
    await gateway.close()


@pytest.fixture
async def own_gateway(own_process: GatewayProcess) -> AsyncGenerator[SimulatedGateway, None]:
    gateway = SimulatedGateway(own_process.url, call_s=1.0)
    yield gateway
    await gateway.close()


@pytest.fixture(params=["reference", "postgres"])
def ledger(request: pytest.FixtureRequest) -> str:
    """Each kind of ledger in turn: where it is; nowhere is in memory."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else ""


@pytest.fixture
async def stores(ledger: str) -> AsyncGenerator[Stores, None]:
    if not ledger:
        yield ReferenceStores()
        return
    async with postgres_stores(ledger) as stores:
        yield stores


@pytest.fixture
async def shop(stores: Stores, gateway: SimulatedGateway) -> AsyncGenerator[Shop, None]:
    """An open sale; when the test is over, the laws hold."""
    shop = Shop(stores, gateway)
    await shop.open()
    yield shop
    await shop.assert_laws()


@pytest.fixture
async def own_shop(stores: Stores, own_gateway: SimulatedGateway) -> AsyncGenerator[Shop, None]:
    """A shop whose gateway a test may kill; it has to be running again when the test is over."""
    shop = Shop(stores, own_gateway)
    await shop.open()
    yield shop
    await shop.assert_laws()


@pytest.fixture
async def stripe() -> AsyncGenerator[StripeServer, None]:
    server = StripeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bank(stripe: StripeServer) -> AsyncGenerator[StripeGateway, None]:
    gateway = StripeGateway("sk_test_x", webhook_secrets=STRIPE_SECRETS, api_base=stripe.url)
    yield gateway
    await gateway.close()
