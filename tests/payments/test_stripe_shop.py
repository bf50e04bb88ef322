"""A shop that is paid through Stripe, on a real ledger and a local server of Stripe's API."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from doorbuster.adapters.payments.stripe import StripeGateway
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.paying import Paid
from payments.postgres_shop import PostgresStores, postgres_stores
from payments.shop import OPERATOR, Shop
from payments.stripe_server import StripeServer, Trouble


@pytest.fixture
async def shop(bank: StripeGateway, database_url: str) -> AsyncGenerator[tuple[Shop, PostgresStores], None]:
    async with postgres_stores(database_url) as stores:
        shop: Any = Shop(stores, bank)  # pyright: ignore[reportArgumentType]
        await shop.open()
        yield shop, stores


async def test_order_is_paid_through_stripe(
    shop: tuple[Shop, PostgresStores], bank: StripeGateway, stripe: StripeServer
) -> None:
    front, _ = shop
    order = await front.order()

    answer = await front.gate().pay(order.order_id, order.user_id, payment_method="pm_card_visa", key="k")
    back = await front.refunding().refund(order.order_id, OPERATOR)

    assert isinstance(answer, Paid)
    assert answer.settled
    assert not isinstance(back, Refusal)
    assert await front.states(order) == [PaymentState.REFUNDED]
    (intent,) = stripe.intents.values()
    assert intent["metadata"]["order_id"] == order.order_id
    assert intent["latest_charge"]["amount_refunded"] == order.amount_cents


@pytest.mark.parametrize("call", ["POST /v1/payment_intents", "POST .*/confirm", "POST .*/capture"])
@pytest.mark.parametrize("trouble", list(Trouble))
async def test_one_charge_whatever_is_lost(
    shop: tuple[Shop, PostgresStores], stripe: StripeServer, call: str, trouble: Trouble
) -> None:
    """The gate tries, the resolver goes on; in the end the order is paid once or not at all."""
    front, _ = shop
    order = await front.order()
    stripe.script(call, trouble)
    await front.gate().pay(order.order_id, order.user_id, payment_method="pm_card_visa", key="k")
    for _ in range(3):
        await front.resolve()

    status = (await front.read(order)).status
    captured = [one for one in stripe.intents.values() if one["amount_received"]]
    held = [one for one in stripe.intents.values() if one["status"] == "requires_capture"]
    assert len(captured) == (1 if status is OrderStatus.PAID else 0)
    assert held == []


async def test_decline_is_told(shop: tuple[Shop, PostgresStores]) -> None:
    front, _ = shop
    order = await front.order()

    answer = await front.gate().pay(order.order_id, order.user_id, payment_method="pm_card_chargeDeclined", key="k")

    assert isinstance(answer, Refusal)
    assert answer.code is Code.PAYMENT_DECLINED
    assert "generic_decline" in answer.detail


async def test_capture_that_is_refused_for_good(shop: tuple[Shop, PostgresStores]) -> None:
    front, _ = shop
    order = await front.order()

    await front.gate().pay(order.order_id, order.user_id, payment_method="pm_card_captureFails", key="k")

    assert (await front.read(order)).status is OrderStatus.CANCELLED
