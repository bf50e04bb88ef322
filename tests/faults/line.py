"""A line as its buyers live it: they join, ask again and again with their ticket, pay for what they are granted.

Every buyer goes on through lost answers and processes that die. What it was told is kept, so that the order of grants
can be held against the numbers on the tickets afterwards.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import msgspec

from faults.shop import Answer, Operator, Shop, buyer_token, clients


class Line(msgspec.Struct, kw_only=True):
    """What the buyers of a line were told."""

    numbers: dict[str, list[int]] = msgspec.field(default_factory=dict[str, list[int]])
    """buyer to the numbers on the tickets, in the order they were shown"""
    waiting: set[str] = msgspec.field(default_factory=set[str])
    granted: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """order id to buyer"""
    paid: set[str] = msgspec.field(default_factory=set[str])
    over: set[str] = msgspec.field(default_factory=set[str])
    refusals: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    unknown: int = 0

    def refuse(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1


def number_of(ticket: str) -> int:
    """The number on a ticket: readable to everybody, the seal is what counts."""
    body = ticket.partition(".")[0]
    number: int = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))[3]
    return number


class Waiter:
    """One buyer. `pays` false: lets the hold run out, then goes home."""

    def __init__(
        self, shop: Shop, session: aiohttp.ClientSession, sale_id: str, user_id: str, line: Line, *, pays: bool = True
    ) -> None:
        self._shop = shop
        self._session = session
        self._sale = f"{shop.url}/v1/sales/{sale_id}"
        self._user_id = user_id
        self._line = line
        self._pays = pays
        self._headers = {"Authorization": f"Bearer {buyer_token(user_id)}"}
        self._ticket = ""

    async def live(self, enough: Callable[[], bool]) -> None:
        joined = False
        while not enough():
            status, place = await self._ask(joined=joined)
            if status in (200, 202):
                joined = True
                if await self._told(place):
                    return
            elif status:
                code = str(place.get("code", status))
                self._line.refuse(code)
                if code == "not-found":
                    joined = False
                if code in {"sold-out", "ended", "already-purchased"}:
                    self._line.over.add(self._user_id)
                    return
            await asyncio.sleep(0.25)

    async def _told(self, place: Answer) -> bool:
        """Whether this buyer is done."""
        if place["ticket"]:
            self._ticket = place["ticket"]
            seen = self._line.numbers.setdefault(self._user_id, [])
            if not seen or seen[-1] != number_of(self._ticket):
                seen.append(number_of(self._ticket))
            self._line.waiting.add(self._user_id)
        if place["state"] in {"over", "left"}:  # left: the hold ran out before its buyer was told of it
            self._line.over.add(self._user_id)
            return True
        if place["state"] == "granted":
            self._line.granted[place["order"]["order_id"]] = self._user_id
            if not self._pays:
                return True
            return await self._pay(place["order"]["order_id"])
        return False

    async def _ask(self, *, joined: bool) -> tuple[int, Answer]:
        if joined:
            query = f"?ticket={self._ticket}" if self._ticket else ""
            return await self._call("GET", f"{self._sale}/queue/me{query}")
        return await self._call("POST", f"{self._sale}/queue", {"ticket": self._ticket} if self._ticket else None)

    async def _pay(self, order_id: str) -> bool:
        url = f"{self._shop.url}/v1/orders/{order_id}/payment"
        status, answer = await self._call("POST", url, {"payment_method": "pm_ok"}, {"Idempotency-Key": order_id})
        if status == 200:
            self._line.paid.add(order_id)
        elif status:
            self._line.refuse(f"payment: {answer.get('code', status)}")
        return status == 200

    async def _call(
        self, method: str, url: str, body: Answer | None = None, more: dict[str, str] | None = None
    ) -> tuple[int, Answer]:
        """Status 0: nobody knows."""
        headers = {**self._headers, **(more or {})}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
            async with self._session.request(method, url, json=body, headers=headers) as response:
                return response.status, json.loads(await response.read() or b"{}")
        self._line.unknown += 1
        return 0, {}


async def queue_up(
    shop: Shop,
    sale_id: str,
    *,
    buyers: int,
    deserters: int = 0,
    enough: Callable[[Line], bool],
    trouble: Callable[[Line], Coroutine[Any, Any, None]] | None = None,
    patience_s: float = 60.0,
) -> Line:
    """Everybody joins and waits until it is over, or until it is enough. The first `deserters` never pay."""
    line = Line()
    end = time.monotonic() + patience_s

    def done() -> bool:
        return enough(line) or time.monotonic() > end

    async with clients(96) as session:
        work: list[Coroutine[Any, Any, None]] = [
            Waiter(shop, session, sale_id, f"buyer-{n}", line, pays=n >= deserters).live(done) for n in range(buyers)
        ]
        if trouble is not None:
            work.append(trouble(line))
        await asyncio.gather(*work)
    return line


async def until(line: Line, condition: Callable[[Line], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition(line):
        assert time.monotonic() < end, (len(line.waiting), len(line.granted), line.refusals)
        await asyncio.sleep(0.005)


async def grants_in_order(shop: Shop, sale_id: str) -> list[tuple[str, str]]:
    """Buyer and status of every order, in the order they were granted: time, then id, which rises within a batch."""
    async with clients() as session:
        orders = await Operator(shop, session).orders(sale_id)
    rows = sorted(orders, key=lambda order: (order["reserved_at"], order["order_id"]))
    return [(row["user_id"], row["status"]) for row in rows]


async def assert_served_in_order(shop: Shop, sale_id: str, line: Line) -> None:
    """I10: nobody lost the number they were told first, and units went to rising numbers."""
    kept = {buyer: numbers for buyer, numbers in line.numbers.items() if len(set(numbers)) > 1}
    assert kept == {}, f"somebody's number changed: {kept}"
    granted = [buyer for buyer, _ in await grants_in_order(shop, sale_id)]
    assert len(set(granted)) == len(granted), "somebody was granted twice"
    numbers = [line.numbers[buyer][0] for buyer in granted if buyer in line.numbers]
    assert numbers == sorted(numbers), "a later number was granted first"


async def assert_all_paid(shop: Shop, sale_id: str, line: Line, *, units: int) -> None:
    """Every unit is paid for, by as many buyers, and both stores agree."""
    async with clients() as session:
        operator = Operator(shop, session)
        report = await operator.in_step(sale_id, 60.0)
        orders = await operator.orders(sale_id)
    paid = {order["order_id"]: order["user_id"] for order in orders if order["status"] == "PAID"}
    ended = Counter(order["status"] for order in orders)
    told = (len(line.waiting), len(line.granted), len(line.over))
    assert len(paid) == units, (ended, report, told, line.refusals, line.unknown)  # I1 I3
    assert len(set(paid.values())) == units  # I6
    assert line.paid <= paid.keys()
    assert (report["free"], report["held"], report["sold"]) == (0, 0, units)
