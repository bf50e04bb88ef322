"""A sale's day on everything that `up` starts: real servers, real gates, real mails as files."""

import email
import email.policy
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cli.commands import doorbuster
from faults.shop import ADMIN, Operator, Shop, buyer_token, open_shop
from helpers.waiting import until

AS_OPERATOR = {"DOORBUSTER_ADMIN_TOKEN": ADMIN}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("day"), gates=1) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def operator(shop: Shop) -> AsyncIterator[Operator]:
    async with aiohttp.ClientSession() as session:
        yield Operator(shop, session)


pytestmark = pytest.mark.asyncio(loop_scope="module")


def inside(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


async def steps(operator: Operator, sale_id: str) -> dict[str, dict[str, Any]]:
    status, found = await operator.call("GET", f"/sales/{sale_id}/timeline")
    assert status == 200
    return {step["step"]: step for step in found["steps"]}


async def done(operator: Operator, sale_id: str, step: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        row = (await steps(operator, sale_id))[step]
        return row if row["state"] in ("done", "skipped") else {}

    found: dict[str, Any] = await until(look, within=60, what=f"{step} is done")
    assert found["state"] == "done", found
    return found


async def buy(shop: Shop, sale_id: str, user: str) -> None:
    headers = {"Authorization": f"Bearer {buyer_token(user)}", "Idempotency-Key": "key"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{shop.url}/v1/sales/{sale_id}/orders", json={"quantity": 1}) as answer:
            assert answer.status == 201
            order = (await answer.json())["order_id"]
        async with session.post(f"{shop.url}/v1/orders/{order}/payment", json={"payment_method": "pm_ok"}) as answer:
            assert answer.status in (200, 202)


async def test_from_waitlist_to_report(shop: Shop, operator: Operator) -> None:
    """A sale of two units: three wait, one buys, all are told; the report is kept."""
    sale_id = await operator.create_sale(
        quantity_available=2,
        price_cents=4900,
        checkout_ttl_seconds=3,
        start_time=inside(hours=2),
        end_time=inside(hours=3),
    )
    path = f"{shop.url}/v1/sales/{sale_id}/waitlist"
    async with aiohttp.ClientSession() as session:
        for user in ("ann", "bob", "eve"):
            headers = {"Authorization": f"Bearer {buyer_token(user)}"}
            async with session.post(path, json={"email": f"{user}@example.com"}, headers=headers) as answer:
                assert answer.status == 202

        async def counted() -> bool:
            async with session.get(path) as answer:
                return (await answer.json())["people"] == 3

        await until(counted)
    assert (await steps(operator, sale_id))["warm-up"]["state"] == "due"

    # Nearer, so that the hour before has come.
    await operator.call("PATCH", f"/sales/{sale_id}", {"start_time": inside(minutes=50), "end_time": inside(hours=2)})
    assert (await done(operator, sale_id, "warm-up"))["detail"]["free"] == 2
    assert (await done(operator, sale_id, "notify-1h"))["detail"]["queued"] == 3
    mails = shop.data_dir / "mail"
    await until(lambda: len(list(mails.glob("1h.*"))) == 3, within=30)

    await operator.call("POST", f"/sales/{sale_id}/open")
    await done(operator, sale_id, "start")
    await buy(shop, sale_id, "ann")
    await operator.call("POST", f"/sales/{sale_id}/end")

    report = await done(operator, sale_id, "report")
    assert report["detail"]["audit"] == "in_step"
    audit = (await steps(operator, sale_id))["final-audit"]["detail"]
    assert (audit["verdict"], audit["books"]) == ("in_step", "in_balance")
    await until(lambda: len(list(mails.glob("lost.*"))) == 2, within=30)
    [won] = [_read(path) for path in mails.glob("won.*")]
    assert won["To"] == "ann@example.com"

    status, kept = await operator.call("GET", f"/sales/{sale_id}/report")
    assert (status, kept["final"], kept["orders"]["paid"]) == (200, True, 1)
    assert kept["money"] == {"currency": "EUR", "revenue_cents": 4900, "refunded_cents": 0}
    again = (await operator.call("GET", f"/sales/{sale_id}/report"))[1]
    assert again == kept


def _read(path: Path) -> Any:
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


async def test_aborted_sale_tells_everybody(shop: Shop, operator: Operator) -> None:
    sale_id = await operator.create_sale(checkout_ttl_seconds=1, start_time=inside(hours=2), end_time=inside(hours=3))
    headers = {"Authorization": f"Bearer {buyer_token('ann')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        url = f"{shop.url}/v1/sales/{sale_id}/waitlist"
        async with session.post(url, json={"email": "ann@example.com"}) as answer:
            assert answer.status == 202
    await operator.call("POST", f"/sales/{sale_id}/abort", {"reason": "a wrong price"})

    await done(operator, sale_id, "report")

    rows = await steps(operator, sale_id)
    assert {rows[step]["reason"] for step in ("warm-up", "notify-1h", "start")} == {"the sale was aborted"}
    await until(lambda: len(list((shop.data_dir / "mail").glob(f"aborted.*{sale_id}.eml"))) == 1, within=30)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="up starts no more gates than there are cores")
async def test_up_has_the_gates_that_a_crowd_needs(shop: Shop, operator: Operator) -> None:
    sale_id = await operator.create_sale(start_time=inside(hours=2), end_time=inside(hours=3))
    await operator.call("PUT", f"/sales/{sale_id}/plan", {"expected_crowd": 1_000})

    async def ready() -> int:
        return (await operator.call("GET", "/gates"))[1]["ready"]

    assert await until(ready) == 1
    await operator.call("PATCH", f"/sales/{sale_id}", {"start_time": inside(minutes=50), "end_time": inside(hours=2)})

    asked = (await done(operator, sale_id, "scale-up"))["detail"]
    assert (asked["wanted"], asked["how"]) == (2, "up")

    async def both() -> bool:
        return await ready() == 2

    await until(both, within=30)
    said = await doorbuster("gates", "--url", shop.url, settings=AS_OPERATOR)
    assert said.out.count(" ready") == 2
    await operator.call("POST", f"/sales/{sale_id}/end")

    async def one() -> bool:
        return await ready() == 1

    await until(one, within=30)


async def test_monitor_looks_at_a_running_sale(shop: Shop, operator: Operator) -> None:
    sale_id = await operator.create_sale(quantity_available=5)

    async def samples() -> list[dict[str, Any]]:
        return (await operator.call("GET", f"/sales/{sale_id}/samples"))[1]["samples"]

    found: list[dict[str, Any]] = await until(samples, within=30)
    sample = found[0]

    assert (sample["free"], sample["unread"]) == (5, 0)
    assert sample["valkey_memory_bytes"] > 0
    assert 0 < sample["database_connections_share"] < 1
    assert (await operator.call("GET", f"/sales/{sale_id}/alerts"))[1] == {"firing": 0, "alerts": []}
    await operator.call("POST", f"/sales/{sale_id}/end")


async def test_commands_of_the_day(shop: Shop, operator: Operator, tmp_path: Path) -> None:
    sale_id = await operator.create_sale(start_time=inside(hours=2), end_time=inside(hours=3))
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("user_id\nbob\neve\n")

    async def said(*command: str, code: int = 0) -> str:
        settings = {**AS_OPERATOR, "DOORBUSTER_OPERATOR": "ann"}
        result = await doorbuster("sale", command[0], sale_id, *command[1:], "--url", shop.url, settings=settings)
        assert result.code == code, result.err
        return result.out + result.err

    assert "2 accounts are blocked" in await said("block", str(accounts))
    assert "20000" in await said("plan", "--crowd", "20000", "--page", "/sale", "--threshold", "p99-ms=300")
    assert "there is no rule" in await said("plan", "--threshold", "tea=1", code=1)
    assert "/sale" in await said("plan")
    assert "skipped by operator:ann: own mails" in await said("skip-step", "notify-1h", "--reason", "own mails")
    assert "there is no such step" in await said("run-step", "tea", code=1)
    await said("run-step", "warm-up")
    warm_up = await done(operator, sale_id, "warm-up")
    assert warm_up["detail"]["blocked_accounts"] == 2
    assert "blocked accounts 2" in await said("timeline")
    assert "free" in await said("samples")
    assert "rule" in await said("alerts")
    report = await said("report")
    assert "not final: the sale is not over. Final at the earliest at " in report
    assert "0.00 EUR" in report
    await operator.call("POST", f"/sales/{sale_id}/end")
