"""The page for emergencies, followed verb by verb on everything that `up` starts: its commands as they are written."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import aiohttp

from cli.commands import Done, doorbuster
from day.test_day import AS_OPERATOR
from faults.shop import Operator, Shop, buyer_token, open_shop
from helpers.waiting import until

ME = "ann-of-the-night"
PAGE = Path(__file__).parents[2] / "docs" / "operating" / "emergencies.md"
COMMANDS = set(re.findall(r"`doorbuster ([^`]*)`", PAGE.read_text()))
FOLLOWED = {
    'sale pause SALE --reason "…"',
    "sale resume SALE",
    "sale end SALE",
    "sale abort SALE",
    "sale top-up SALE --to 300",
    "sale cut SALE --to 200",
    "sale log SALE",
    "sale run-step SALE final-audit",
    "sale rebuild SALE --epoch 1",
    "sale timeline SALE",
    "sale show SALE",
    "sale audit SALE",
    "sale reconcile SALE",
    "sale list",
    "gates",
    "doctor",
}
OF_OTHER_TESTS = {"gate", "worker"}
"""Processes, which `up` starts in every test."""


class Duty:
    """Who is on duty, with the page in hand and a shell."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession) -> None:
        self.shop = shop
        self.session = session
        self.operator = Operator(shop, session)

    async def types(self, line: str, sale_id: str = "") -> Done:
        words = shlex.split(line.replace("SALE", sale_id))
        if words[0] == "doctor":
            return await doorbuster(*words, "--data-dir", str(self.shop.data_dir), settings=AS_OPERATOR)
        settings = {**AS_OPERATOR, "DOORBUSTER_OPERATOR": ME}
        return await doorbuster(*words, "--url", self.shop.url, settings=settings)

    async def does(self, line: str, sale_id: str = "") -> str:
        done = await self.types(line, sale_id)
        assert done.code == 0, (line, done)
        return done.out

    async def twice(self, line: str, sale_id: str) -> None:
        """As the page says: the second time does nothing, and nothing more was done."""
        before = await self.acts(sale_id)
        await self.does(line, sale_id)
        status, first = await self.operator.call("GET", f"/sales/{sale_id}")
        assert status == 200
        done = await self.acts(sale_id)
        assert len(done) > len(before)
        await self.does(line, sale_id)
        _, second = await self.operator.call("GET", f"/sales/{sale_id}")
        same = ("status", "log_size", "epoch", "quantity_available", "updated_at")
        assert [first[name] for name in same] == [second[name] for name in same]
        assert await self.acts(sale_id) == done

    async def is_in_the_log(self, sale_id: str) -> None:
        log = await self.does("sale log SALE", sale_id)
        for what in (
            r"move .*\boperator:ME .*… .*to PAUSED",
            r"change .*\boperator:ME .*300 units",
            r"rebuild .*\boperator:ME ",
        ):
            assert re.search(what.replace("ME", ME), log), (what, log)

    async def acts(self, sale_id: str) -> list[tuple[str, str]]:
        """What operators did, and why, the newest first."""
        status, found = await self.operator.call("GET", f"/sales/{sale_id}/actions")
        assert (status, found["next_cursor"]) == (200, None)
        return [(one["action"], one["reason"]) for one in found["actions"] if one["by"].startswith("operator")]

    async def sees_gates(self) -> bool:
        """One that has just started says so with its next beat."""
        return (await self.types("gates")).code == 0

    async def status(self, sale_id: str) -> str:
        _, sale = await self.operator.call("GET", f"/sales/{sale_id}")
        return str(sale["status"])

    async def asks(self, user: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {buyer_token(user)}", "Idempotency-Key": f"{method} of {user}"}
        async with self.session.request(method, f"{self.shop.url}/v1{path}", json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.read() or b"{}")

    async def granted(self, user: str, sale_id: str) -> str:
        """The order of one who stands in line, once there is one."""

        async def order() -> str:
            _, place = await self.asks(user, "GET", f"/sales/{sale_id}/queue/me")
            return str(place["order"]["order_id"]) if place.get("order") else ""

        return await until(order, what=f"{user} has a unit")


def test_every_command_of_the_page_is_followed_here() -> None:
    assert set() == COMMANDS - OF_OTHER_TESTS - FOLLOWED


async def test_page_followed_from_pause_to_roll_back(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, aiohttp.ClientSession() as session:
        duty = Duty(shop, session)
        sale_id = await duty.operator.create_sale(mode="queue", quantity_available=2, price_cents=4900)
        assert sale_id in await duty.does("sale list")
        await until(duty.sees_gates, within=30, what="a gate is ready")
        await duty.types("doctor")  # what it finds on this machine is its own tests' business

        for user in ("ann", "bob", "eve"):
            status, _ = await duty.asks(user, "POST", f"/sales/{sale_id}/queue")
            assert status == 202
        anns, bobs = await duty.granted("ann", sale_id), await duty.granted("bob", sale_id)
        status, paid = await duty.asks("ann", "POST", f"/orders/{anns}/payment", {"payment_method": "pm_ok"})
        assert status in (200, 202), paid

        # Stop for a moment: the line stays, what is held can be paid, nobody comes in.
        await duty.twice('sale pause SALE --reason "…"', sale_id)
        _, place = await duty.asks("eve", "GET", f"/sales/{sale_id}/queue/me")
        assert (place["state"], place["position"]) == ("standby", 1), "nothing is free, and units may come back"
        await duty.twice("sale resume SALE", sale_id)
        _, place = await duty.asks("eve", "GET", f"/sales/{sale_id}/queue/me")
        assert (place["state"], place["position"]) == ("standby", 1), "nothing is free, and units may come back"

        # More units go to the line first; fewer than are held are refused.
        await duty.twice("sale top-up SALE --to 300", sale_id)
        eves = await duty.granted("eve", sale_id)
        status, refused = await duty.operator.call("PATCH", f"/sales/{sale_id}", {"quantity_available": 2})
        assert (status, refused["code"]) == (409, "conflict")
        await duty.twice("sale cut SALE --to 200", sale_id)

        # A new image changes nothing of it.
        await duty.twice("sale rebuild SALE --epoch 1", sale_id)
        assert "in_step" in await duty.does("sale audit SALE", sale_id)
        await duty.does("sale timeline SALE", sale_id)

        # Called off: cancelled, refunded, told; and the books say so.
        await duty.twice("sale abort SALE", sale_id)

        async def settled() -> bool:
            _, found = await duty.operator.call("GET", f"/sales/{sale_id}")
            return (found["availability"]["held"], found["availability"]["sold"]) == (0, 0)

        await until(settled, within=30, what="everything is given back")
        assert "CANCELLED" in await duty.does("sale show SALE", sale_id)
        await duty.is_in_the_log(sale_id)
        await duty.does("sale run-step SALE final-audit", sale_id)
        assert "in_step" in await duty.does("sale audit SALE", sale_id)
        assert "in_balance" in await duty.does("sale reconcile SALE", sale_id)
        for user, order in (("bob", bobs), ("eve", eves)):
            _, found = await duty.asks(user, "GET", f"/orders/{order}")
            assert found["status"] == "CANCELLED"

        # Ended early: no new orders, and whoever holds a unit may still pay.
        other = await duty.operator.create_sale(quantity_available=2, price_cents=4900)
        status, order = await duty.asks("joe", "POST", f"/sales/{other}/orders", {"quantity": 1})
        assert status == 201, order
        await duty.twice("sale end SALE", other)
        status, late = await duty.asks("kim", "POST", f"/sales/{other}/orders", {"quantity": 1})
        assert (status >= 400, late["code"]) == (True, "ended")
        paying = await duty.asks("joe", "POST", f"/orders/{order['order_id']}/payment", {"payment_method": "pm_ok"})
        assert paying[0] in (200, 202)
