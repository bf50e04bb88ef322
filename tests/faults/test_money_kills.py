"""kill -9 of whoever has money in hand; afterwards the gateway's own book and the paid orders are one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.money import Till, assert_books_are_one, paid, pay_day
from faults.shop import Operator, clients, open_shop

UNITS = 80
TTL_S = 45


def _methods(number: int) -> Sequence[str]:
    """Of ten buyers one is declined first, one's card fails at the last step, one's gateway dies while charging."""
    first = {1: "pm_declined", 4: "pm_capture_fails", 7: "pm_timeout_after"}.get(number % 10, "pm_ok")
    return [first, "pm_ok"]


@pytest.mark.parametrize("victim", ["doorbuster gate", "doorbuster worker", "doorbuster gateway", "postgres"])
async def test_money_is_where_it_belongs_after_a_kill(tmp_path: Path, victim: str) -> None:
    async with open_shop(tmp_path) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(
                quantity_available=UNITS, price_cents=4999, checkout_ttl_seconds=TTL_S
            )

        async def kill(till: Till) -> None:
            await paid(till, UNITS // 5)
            for _ in range(2):
                killed = shop.signal(victim)
                await shop.replaced(victim, killed)
                await asyncio.sleep(0.5)

        till = await pay_day(shop, sale_id, buyers=UNITS, methods=_methods, trouble=kill)
        counted = await assert_books_are_one(shop, sale_id, till)

        assert counted["paid"] >= UNITS // 2


@pytest.mark.parametrize("victims", [("doorbuster worker",), ("doorbuster gateway", "doorbuster worker")])
async def test_sale_that_charges_by_itself_charges_everybody_once(tmp_path: Path, victims: Sequence[str]) -> None:
    """Nobody's request is there to be repeated: what a kill interrupts is found and finished."""
    async with open_shop(tmp_path) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(
                quantity_available=UNITS, price_cents=4999, checkout_ttl_seconds=TTL_S, payment_mode="auto"
            )

        async def kill(till: Till) -> None:
            del till
            for victim in victims:
                await asyncio.sleep(0.3)
                killed = shop.signal(victim)
                await shop.replaced(victim, killed)

        till = await pay_day(shop, sale_id, buyers=UNITS, methods=lambda _: (), trouble=kill)
        counted = await assert_books_are_one(shop, sale_id, till)

        assert counted["paid"] == UNITS
