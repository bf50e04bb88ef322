"""Traces of everything that `up` starts, as a collector gets them."""

import asyncio
import time
from pathlib import Path

import aiohttp

from day.test_day import buy, inside
from faults.shop import ADMIN, Operator, buyer_token, open_shop
from helpers.waiting import until
from tracing.collector import a_collector


async def test_order_and_payment_are_followed_through_the_stores(tmp_path: Path) -> None:
    async with a_collector() as collector:
        settings = {"DOORBUSTER_TRACES_URL": collector.url, "DOORBUSTER_TRACES_SAMPLE": "1"}
        async with open_shop(tmp_path, settings=settings) as shop, aiohttp.ClientSession() as session:
            operator = Operator(shop, session)
            sale_id = await operator.create_sale(quantity_available=2, price_cents=4900)
            later = await operator.create_sale(start_time=inside(minutes=50), end_time=inside(hours=2))
            await buy(shop, sale_id, "ann")
            headers = {"Authorization": f"Bearer {buyer_token('ann')}", "X-Request-Id": "mine"}
            async with session.get(f"{shop.url}/v1/sales/{sale_id}", headers=headers) as answer:
                assert answer.status == 200

            def arrived() -> bool:
                wanted = ("POST /v1/orders/{order_id}/payment", "GET /v1/sales/{sale_id}", "step warm-up")
                return all(collector.named(name) for name in wanted)

            await until(arrived, within=30, what="the spans arrive")
        spans = {span.id: span for span in collector.spans}

        [order] = collector.named("POST /v1/sales/{sale_id}/orders")
        assert order.service == "doorbuster-gate"
        assert order.attributes["http.response.status_code"] == 201
        assert order.attributes["doorbuster.sale_id"] == sale_id
        below = {span.name for span in collector.under(order)}
        assert "postgresql write" in below
        assert "valkey take" in below
        [payment] = collector.named("POST /v1/orders/{order_id}/payment")
        assert "gateway POST" in {span.name for span in collector.under(payment)}
        assert any(span.attributes.get("doorbuster.request_id") == "mine" for span in collector.spans)
        [warm_up] = [s for s in collector.named("step warm-up") if s.attributes["doorbuster.sale_id"] == later]
        assert warm_up.service == "doorbuster-worker"
        assert all(span.trace == spans[span.parent].trace for span in collector.spans if span.parent in spans)
        for secret in (ADMIN, buyer_token("ann"), "pm_ok", "ann"):
            assert f'"{secret}"'.encode() not in collector.raw
            assert secret.encode() not in collector.raw or secret == "ann", secret  # three letters are in many words


async def test_collector_that_is_away_costs_nobody_anything(tmp_path: Path) -> None:
    """Orders are taken, and the processes stop as ever."""
    settings = {"DOORBUSTER_TRACES_URL": "http://127.0.0.1:9", "DOORBUSTER_TRACES_SAMPLE": "1"}
    async with open_shop(tmp_path, settings=settings) as shop, aiohttp.ClientSession() as session:
        sale_id = await Operator(shop, session).create_sale(quantity_available=50, price_cents=4900)
        await asyncio.gather(*(buy(shop, sale_id, f"u{number}") for number in range(50)))
        begun = time.monotonic()
        await asyncio.to_thread(shop.stop)
        assert time.monotonic() - begun < 25
