"""Buyers who pay over real HTTP while the gateway and the processes around it fail, and the books afterwards."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aiohttp
import msgspec

from faults.shop import Answer, Operator, Shop, buyer_token, clients

OPEN = {"INTENT", "SENT", "AUTHORIZED", "CAPTURING", "VOIDING", "REFUND_DUE"}


def _payment_state(order: Answer) -> str:
    payment: Answer | None = order.get("payment")
    return "" if payment is None else str(payment["state"])


class Till(msgspec.Struct, kw_only=True):
    """What the payers of one sale saw."""

    told_paid: set[str] = msgspec.field(default_factory=set[str])
    """orders whose buyer was told PAID"""
    answers: Counter[str] = msgspec.field(default_factory=Counter[str])


class _Payer:
    """Takes a unit and pays for it, with one method after the other; repeats whatever was not answered."""

    def __init__(
        self,
        shop: Shop,
        session: aiohttp.ClientSession,
        *,
        sale_id: str,
        user_id: str,
        methods: Sequence[str],
        till: Till,
        end: float,
    ) -> None:
        self._base = f"{shop.url}/v1"
        self._session = session
        self._sale_id = sale_id
        self._user_id = user_id
        self._methods = methods
        self._till = till
        self._end = end

    async def buy(self) -> None:
        taken = await self._ask("POST", f"/sales/{self._sale_id}/orders", {"quantity": 1}, "take", {201})
        if taken is None or "order_id" not in taken:
            return
        for number, method in enumerate(self._methods):
            if await self._pay(taken["order_id"], method, f"pay {number}"):
                return

    async def _pay(self, order_id: str, method: str, key: str) -> bool:
        """Whether the order's story has ended."""
        body = {"payment_method": method}
        answer = await self._ask("POST", f"/orders/{order_id}/payment", body, key, {200, 202})
        if answer is None:
            return True
        while answer.get("status") == "RESERVED" and _payment_state(answer) in OPEN:
            await asyncio.sleep(0.3)
            seen = await self._ask("GET", f"/orders/{order_id}", None, "", {200})
            if seen is None:
                return True
            answer = seen
        if answer.get("status") == "PAID":
            self._till.told_paid.add(order_id)
        return answer.get("status") in {"PAID", "CANCELLED", "EXPIRED"} or answer.get("code") == "order-closed"

    async def _ask(self, method: str, path: str, body: Answer | None, key: str, good: set[int]) -> Answer | None:
        """The answer, or the problem document of a refusal for good; None when the time is over."""
        headers = {"Authorization": f"Bearer {buyer_token(self._user_id)}"}
        if key:
            headers["Idempotency-Key"] = f"{key} of {self._user_id}"
        while time.monotonic() < self._end:
            try:
                url = self._base + path
                async with self._session.request(method, url, json=body, headers=headers) as response:
                    answer: Answer = json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                self._till.answers["none"] += 1
                await asyncio.sleep(0.1)
                continue
            if response.status in good:
                self._till.answers[str(response.status)] += 1
                return answer
            code = answer.get("code", str(response.status))
            self._till.answers[code] += 1
            if code not in {"unavailable", "paused", "all-held", "rate-limited"}:
                return answer
            await asyncio.sleep(0.3)
        return None


async def pay_day(
    shop: Shop,
    sale_id: str,
    *,
    buyers: int,
    methods: Callable[[int], Sequence[str]],
    trouble: Callable[[Till], Coroutine[Any, Any, None]] | None = None,
    connections: int = 64,
    patience_s: float = 90.0,
) -> Till:
    """Every buyer takes one unit and pays with the methods that `methods` names for a number, in turn."""
    till = Till()
    end = time.monotonic() + patience_s
    slots = asyncio.Semaphore(2 * connections)

    async with clients(connections) as session:

        async def one(number: int) -> None:
            async with slots:
                payer = _Payer(
                    shop,
                    session,
                    sale_id=sale_id,
                    user_id=f"buyer-{number}",
                    methods=methods(number),
                    till=till,
                    end=end,
                )
                await payer.buy()

        work: list[Coroutine[Any, Any, None]] = [one(number) for number in range(buyers)]
        if trouble is not None:
            work.append(trouble(till))
        await asyncio.gather(*work)
    return till


async def paid(till: Till, orders: int, within_s: float = 60.0) -> None:
    """Wait until so many buyers were told PAID: the middle of the day."""
    end = time.monotonic() + within_s
    while len(till.told_paid) < orders:
        assert time.monotonic() < end, f"only {len(till.told_paid)} paid within {within_s} s: {till.answers}"
        await asyncio.sleep(0.01)


async def at_rest(operator: Operator, sale_id: str, within_s: float) -> list[Answer]:
    """All orders, once none is RESERVED and no payment is under way (I2)."""
    end = time.monotonic() + within_s
    while True:
        orders = await operator.orders(sale_id)
        moving = [order for order in orders if order["status"] == "RESERVED" or _payment_state(order) in OPEN]
        if not moving:
            return orders
        assert time.monotonic() < end, f"{len(moving)} orders have not ended: {moving[:3]}"
        await asyncio.sleep(0.5)


async def assert_books_are_one(shop: Shop, sale_id: str, till: Till, *, within_s: float = 120.0) -> dict[str, int]:
    """Captured money and PAID orders are one to one with equal amounts by the gateway's own book; nothing is set aside
    for nobody; whoever was told PAID is (I4 I7 I8 I9). Returns what was counted."""
    async with clients() as session:
        operator = Operator(shop, session)
        orders = await at_rest(operator, sale_id, within_s)
        status, document = await operator.call("GET", "/gateways/simulated/book")
        assert status == 200, document
        verdict = await _balance(operator, sale_id)
        await operator.in_step(sale_id, 60.0)
    ours = {order["order_id"]: order for order in orders}
    book = [charge for charge in document["charges"] if charge["order_id"] in ours]
    kept = [charge for charge in book if charge["captured_cents"] > charge["refunded_cents"]]
    per_order = Counter(charge["order_id"] for charge in kept)
    # Given back again, an order stays PAID: the refund is a state of its payment.
    owns = {
        order_id
        for order_id, order in ours.items()
        if order["status"] == "PAID" and order["amount_cents"] and order["payment"]["state"] == "CAPTURED"
    }
    stranded = [
        charge for charge in book if charge["authorized"] and not charge["captured_cents"] and not charge["voided"]
    ]
    assert set(per_order) == owns
    assert all(count == 1 for count in per_order.values())
    assert all(charge["captured_cents"] == ours[charge["order_id"]]["amount_cents"] for charge in kept)
    assert stranded == []
    assert till.told_paid <= {order_id for order_id, order in ours.items() if order["status"] == "PAID"}
    assert verdict == "in_balance"
    return {
        "orders": len(orders),
        "paid": len(owns),
        "charges": len(book),
        "captured": len(kept),
        "refunded": sum(1 for charge in book if charge["refunded_cents"]),
        "voided": sum(1 for charge in book if charge["voided"]),
    }


async def _balance(operator: Operator, sale_id: str) -> str:
    report: Answer = {}
    for _ in range(20):
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            status, report = await operator.call("POST", f"/sales/{sale_id}/reconcile", {})
            if status == 200 and report["verdict"] == "in_balance":
                return "in_balance"
        await asyncio.sleep(0.5)
    return f"{report}"
