"""Races, each one that some real shop lost. Whoever is behind the desk, all of them are run the same way.

A race returns the history; the judge compares it with the books.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from twins.desk import Desk, History

Race = Callable[[Desk], Awaitable[History]]


class Terms(NamedTuple):
    """What the desk has to sell for this race."""

    quantity: int
    limit: int = 1


async def last_units(desk: Desk) -> History:
    """SCENARIOS 1, 3, 5: a crowd at two gates for three units."""
    history = History()
    await asyncio.gather(*(history.reserve(desk, f"buyer {n}", "k", gate=n % 2) for n in range(60)))
    return history


async def check_out_at_once(desk: Desk) -> History:
    """SCENARIOS 2: everybody pays as soon as they were told that they may."""
    history = History()

    async def buy(number: int) -> None:
        order = await history.reserve(desk, f"buyer {number}", "k", gate=number % 2)
        if order is not None:
            await history.pay(desk, order, gate=(number + 1) % 2)

    await asyncio.gather(*(buy(number) for number in range(20)))
    return history


async def several_units_at_once(desk: Desk) -> History:
    """SCENARIOS 4: ten units, and orders for five."""
    history = History()
    await asyncio.gather(*(history.reserve(desk, f"buyer {n}", "k", units=5, gate=n % 2) for n in range(3)))
    return history


async def pay_and_cancel_one_order(desk: Desk) -> History:
    """SCENARIOS 8: both in time, at two gates; exactly one may win."""
    history = History()
    orders = [await history.reserve(desk, f"buyer {n}", "k") for n in range(5)]
    moves = [
        move
        for order in orders
        if order is not None
        for move in (history.pay(desk, order), history.cancel(desk, order, gate=1), history.cancel(desk, order))
    ]
    await asyncio.gather(*moves)
    return history


async def close_one_order_many_times(desk: Desk) -> History:
    """SCENARIOS 8, 9: cancelled by two, expired by two sweepers, carried back by two relays, and sold again."""
    history = History()
    orders = [order for n in range(5) if (order := await history.reserve(desk, f"buyer {n}", "k")) is not None]
    await desk.time_passes()
    await asyncio.gather(
        desk.expire(),
        *(history.cancel(desk, order, gate=gate) for order in orders for gate in (0, 1)),
        desk.expire(gate=1),
    )
    await asyncio.gather(desk.give_back(), desk.give_back(gate=1))
    await asyncio.gather(desk.give_back(), desk.give_back(gate=1))
    await asyncio.gather(*(history.reserve(desk, f"late {n}", "k", gate=n % 2) for n in range(9)))
    return history


async def reload_in_the_rush(desk: Desk) -> History:
    """SCENARIOS 11: the counter is made anew from what is stored while buyers are in the middle of it."""
    history = History()
    await asyncio.gather(
        *(history.reserve(desk, f"first {n}", "k", gate=n % 2) for n in range(6)),
        desk.reload(),
        *(history.reserve(desk, f"then {n}", "k", gate=n % 2) for n in range(6)),
    )
    await asyncio.gather(*(history.reserve(desk, f"last {n}", "k", gate=n % 2) for n in range(9)))
    return history


async def many_tabs(desk: Desk) -> History:
    """SCENARIOS 12: sixty-four requests of one buyer, each with a key of its own."""
    history = History()
    await asyncio.gather(*(history.reserve(desk, "ann", f"tab {n}", gate=n % 2) for n in range(64)))
    return history


async def one_key_many_times(desk: Desk) -> History:
    """SCENARIOS 17, 26: an impatient client repeats one request at two gates."""
    history = History()
    await asyncio.gather(*(history.reserve(desk, "ann", "one key", gate=n % 2) for n in range(10)))
    return history


async def ten_keys(desk: Desk) -> History:
    """SCENARIOS 17: ten keys of one buyer, then nine others: everything is sold."""
    history = History()
    await asyncio.gather(*(history.reserve(desk, "ann", f"key {n}", gate=n % 2) for n in range(10)))
    await asyncio.gather(*(history.reserve(desk, f"buyer {n}", "k", gate=n % 2) for n in range(9)))
    return history


RACES: dict[Race, Terms] = {
    last_units: Terms(3),
    check_out_at_once: Terms(3),
    several_units_at_once: Terms(10, limit=5),
    pay_and_cancel_one_order: Terms(5),
    close_one_order_many_times: Terms(5),
    reload_in_the_rush: Terms(8),
    many_tabs: Terms(20),
    one_key_many_times: Terms(9, limit=9),
    ten_keys: Terms(10),
}
