"""PostgreSQL dies under payments: what was answered stands, what was not is finished (C26)."""

import asyncio

import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.paying import Paid
from doorbuster.engine.ports import StoreUnavailable
from helpers.servers import Servers
from payments.postgres_shop import postgres_stores
from payments.shop import Shop, finished

CROWD = 120


async def test_money_agrees_after_the_ledger_was_killed(own_servers: Servers, gateway: SimulatedGateway) -> None:
    server = await own_servers.postgres()
    async with postgres_stores(server.url) as stores:
        shop = Shop(stores, gateway)
        await shop.open(units=CROWD)
        orders = [await shop.order() for _ in range(CROWD)]
        gate = shop.gate()
        paying = [
            asyncio.ensure_future(gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k"))
            for order in orders
        ]
        await asyncio.wait(paying, return_when=asyncio.FIRST_COMPLETED)

        await server.kill()
        answers = await asyncio.gather(*paying)
        await server.start()

        acknowledged = [
            order for order, answer in zip(orders, answers, strict=True) if isinstance(answer, Paid) and answer.settled
        ]
        assert all(answer.code is Code.UNAVAILABLE for answer in answers if isinstance(answer, Refusal))
        for order in acknowledged:
            assert (await shop.read(order)).status is OrderStatus.PAID
        repeated = await asyncio.gather(
            *(shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k") for order in orders)
        )
        assert all(isinstance(answer, Paid) for answer in repeated)

        async def all_paid() -> bool:
            await shop.resolve()
            return (await shop.sale()).quantity_paid == CROWD

        await finished(all_paid, within_s=60)
        await shop.assert_laws()
        for order in orders:
            assert len(await shop.charges(order)) == 1


async def test_a_ledger_that_is_down_begins_nothing(own_servers: Servers, gateway: SimulatedGateway) -> None:
    server = await own_servers.postgres()
    async with postgres_stores(server.url) as stores:
        shop = Shop(stores, gateway)
        await shop.open()
        order = await shop.order()
        await server.kill()

        answer = await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

        assert isinstance(answer, Refusal)
        assert (answer.code, answer.retry_after_ms is not None) == (Code.UNAVAILABLE, True)
        with pytest.raises(StoreUnavailable):
            await shop.resolve()
        assert await shop.charges(order) == []
        await server.start()
        assert await shop.attempts(order) == []
        await shop.assert_laws()
