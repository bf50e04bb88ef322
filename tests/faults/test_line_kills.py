"""kill -9, and lost data, in the middle of a line: everybody keeps their place, and units go out in order."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from faults.line import (
    Line,
    assert_all_paid,
    assert_served_in_order,
    queue_up,
    until,
)
from faults.shop import Operator, Shop, clients, open_shop

UNITS, BUYERS = 40, 160
TTL_S = 3
"""Deserters' units come back after this, so that the line has to move on after the fault."""
GATELESS_TTL_S = 12
"""Where no gate is left to tell anybody of their unit: longer than gates need to start on a machine that is busy, or
the whole line has its turn, a hold after the other, with nobody there to hear of it."""


async def line_sale(shop: Shop, **terms: object) -> str:
    async with clients() as session:
        return await Operator(shop, session).create_sale(
            **{"mode": "queue", "quantity_available": UNITS, "checkout_ttl_seconds": TTL_S, **terms}
        )


def everybody_told(line: Line) -> bool:
    return len(line.paid) >= UNITS and len(line.paid) + len(line.over) >= BUYERS - UNITS // 4


@pytest.mark.parametrize("victim", ["doorbuster gate", "doorbuster worker", "valkey-server", "postgres"])
async def test_line_keeps_its_order_through_a_kill(tmp_path: Path, victim: str) -> None:
    """C44: the admitter dies between taking heads, committing them and saying so; so do the stores it says it to."""
    async with open_shop(tmp_path, gates=2) as shop:
        ttl_s = GATELESS_TTL_S if victim == "doorbuster gate" else TTL_S
        sale_id = await line_sale(shop, checkout_ttl_seconds=ttl_s)

        async def kill(line: Line) -> None:
            await until(line, lambda line: len(line.granted) >= UNITS // 4)
            killed = shop.signal(victim)
            await shop.replaced(victim, killed)

        line = await queue_up(shop, sale_id, buyers=BUYERS, deserters=UNITS // 4, enough=everybody_told, trouble=kill)

        await assert_served_in_order(shop, sale_id, line)
        await assert_all_paid(shop, sale_id, line, units=UNITS)


async def test_line_that_was_lost_comes_back_by_its_tickets(tmp_path: Path) -> None:
    """Valkey loses everything while people wait for units that come back."""
    async with open_shop(tmp_path) as shop:
        sale_id = await line_sale(shop)

        async def lose(line: Line) -> None:
            await until(line, lambda line: len(line.granted) >= UNITS and len(line.waiting) >= BUYERS - UNITS)
            parent = shop.supervisor()
            parent.send_signal(signal.SIGSTOP)
            killed = shop.signal("valkey-server")
            for file in sorted((shop.data_dir).rglob("*.aof")):
                os.truncate(file, 0)
            parent.send_signal(signal.SIGCONT)
            await shop.replaced("valkey-server", killed)

        line = await queue_up(shop, sale_id, buyers=BUYERS, deserters=UNITS // 4, enough=everybody_told, trouble=lose)

        await assert_served_in_order(shop, sale_id, line)
        await assert_all_paid(shop, sale_id, line, units=UNITS)


async def test_line_goes_on_after_everything_died_at_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        sale_id = await line_sale(shop, checkout_ttl_seconds=GATELESS_TTL_S)

        async def power_cut(line: Line) -> None:
            await until(line, lambda line: len(line.granted) >= UNITS // 3)
            shop.kill_all()
            await shop.start()

        line = await queue_up(
            shop, sale_id, buyers=BUYERS, deserters=UNITS // 4, enough=everybody_told, trouble=power_cut
        )

        await assert_served_in_order(shop, sale_id, line)
        await assert_all_paid(shop, sale_id, line, units=UNITS)


async def test_admitter_that_was_stopped_wakes_up_into_a_line_that_moved_on(tmp_path: Path) -> None:
    """SIGSTOP of the worker with grants in its hands; the one that takes its place finishes them, and the first one's
    late commits do nothing."""
    async with open_shop(tmp_path) as shop:
        sale_id = await line_sale(shop)

        async def stop(line: Line) -> None:
            await until(line, lambda line: len(line.granted) >= UNITS // 4)
            pids = shop.signal("doorbuster worker", signal.SIGSTOP)
            await asyncio.sleep(2 * TTL_S)  # long enough for holds to run out unnoticed
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        line = await queue_up(shop, sale_id, buyers=BUYERS, deserters=UNITS // 4, enough=everybody_told, trouble=stop)

        await assert_served_in_order(shop, sale_id, line)
        await assert_all_paid(shop, sale_id, line, units=UNITS)
