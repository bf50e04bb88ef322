"""kill -9 of every process in the middle of a burst; afterwards exactly the units are sold and nobody has two."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from faults.shop import Crowd, Operator, assert_exact, burst, clients, open_shop, reached

UNITS, BUYERS = 60, 300


@pytest.mark.parametrize("gates", [1, 2])
@pytest.mark.parametrize("victim", ["doorbuster gate", "doorbuster worker", "valkey-server", "postgres"])
async def test_sale_is_exact_after_a_kill_in_the_burst(tmp_path: Path, victim: str, gates: int) -> None:
    async with open_shop(tmp_path, gates=gates) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(quantity_available=UNITS)

        async def kill(crowd: Crowd) -> None:
            await reached(crowd, UNITS // 4)
            killed = shop.signal(victim)
            await shop.replaced(victim, killed)

        crowd = await burst(shop, sale_id, buyers=BUYERS, units=UNITS, trouble=kill)

        await assert_exact(shop, sale_id, crowd, units=UNITS)


async def test_sale_is_exact_after_everything_dies_at_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(quantity_available=UNITS)

        async def power_cut(crowd: Crowd) -> None:
            await reached(crowd, UNITS // 3)
            shop.kill_all()
            await shop.start()

        crowd = await burst(shop, sale_id, buyers=BUYERS, units=UNITS, trouble=power_cut)

        await assert_exact(shop, sale_id, crowd, units=UNITS)


async def test_sale_goes_on_after_a_restart_in_the_middle(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(quantity_available=UNITS)

        async def restart(crowd: Crowd) -> None:
            await reached(crowd, UNITS // 3)
            await asyncio.to_thread(shop.stop)
            await shop.start()

        crowd = await burst(shop, sale_id, buyers=BUYERS, units=UNITS, trouble=restart)

        await assert_exact(shop, sale_id, crowd, units=UNITS)


@pytest.mark.parametrize("loss", ["emptied", "cut short"])
async def test_sale_is_exact_after_valkey_lost_data(tmp_path: Path, loss: str) -> None:
    """kill -9 alone loses nothing of an append-only file; a power cut does: the file ends early, or is not there."""
    async with open_shop(tmp_path) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(quantity_available=UNITS)

        async def lose(crowd: Crowd) -> None:
            await reached(crowd, UNITS // 3)
            # Stopped while its files are changed, so the supervisor cannot be faster than the loss.
            parent = shop.supervisor()
            parent.send_signal(signal.SIGSTOP)
            killed = shop.signal("valkey-server")
            for file in sorted((shop.data_dir).rglob("*.aof")):
                os.truncate(file, 0 if loss == "emptied" else max(0, file.stat().st_size - 700))
            parent.send_signal(signal.SIGCONT)
            await shop.replaced("valkey-server", killed)

        crowd = await burst(shop, sale_id, buyers=BUYERS, units=UNITS, trouble=lose)

        await assert_exact(shop, sale_id, crowd, units=UNITS)


async def test_paused_gate_that_wakes_up_sells_nothing_twice(tmp_path: Path) -> None:
    """SIGSTOP for longer than a hold without an order may live (C11), then SIGCONT."""
    async with open_shop(tmp_path, gates=2) as shop:
        async with clients() as session:
            sale_id = await Operator(shop, session).create_sale(quantity_available=UNITS)

        async def freeze(crowd: Crowd) -> None:
            await reached(crowd, UNITS // 4)
            victim = shop.pids("doorbuster gate")[0]
            os.kill(victim, signal.SIGSTOP)
            await asyncio.sleep(13)
            os.kill(victim, signal.SIGCONT)

        crowd = await burst(shop, sale_id, buyers=BUYERS, units=UNITS, trouble=freeze)

        await assert_exact(shop, sale_id, crowd, units=UNITS)
