"""A small desk that does everything in one step, and those that do not: each leaves out one safeguard.

The desk itself wins every race, so what a twin loses it loses by the one thing that was taken from it. A switch to
another task stands where a network would be.
"""

import asyncio
from collections.abc import Iterator

from twins.desk import Books, Sold


async def network() -> None:
    """What lies between looking and writing in a shop with a database."""
    await asyncio.sleep(0)


class Row:
    """An order."""

    def __init__(self, order: str, buyer: str, key: str, units: int) -> None:
        self.order = order
        self.buyer = buyer
        self.key = key
        self.units = units
        self.state = "reserved"
        self.given_back = False


class CarefulDesk:
    """Nothing waits between looking and writing."""

    def __init__(self, quantity: int, limit: int) -> None:
        self.quantity = quantity
        self.limit = limit
        self.counter: int = quantity
        self.rows: dict[str, Row] = {}
        self.due = False

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        del gate
        await network()
        known = self.known(buyer, key)
        if known is not None:
            return known.order
        if not self.may_have(buyer, units) or self.counter < units:
            return None
        return self.take(buyer, key, units)

    def known(self, buyer: str, key: str) -> Row | None:
        return next((row for row in self.rows.values() if (row.buyer, row.key) == (buyer, key)), None)

    def may_have(self, buyer: str, units: int) -> bool:
        return sum(row.units for row in self.live() if row.buyer == buyer) + units <= self.limit

    def take(self, buyer: str, key: str, units: int) -> str:
        row = Row(f"order {len(self.rows)}", buyer, key, units)
        self.rows[row.order] = row
        self.counter -= units
        return row.order

    def live(self) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.state != "closed")

    async def pay(self, order: str, *, gate: int = 0) -> bool:
        del gate
        await network()
        return self.end(self.rows[order], "paid")

    async def cancel(self, order: str, *, gate: int = 0) -> bool:
        del gate
        await network()
        return self.end(self.rows[order], "closed")

    def end(self, row: Row, state: str) -> bool:
        """Whether this call ended it."""
        if row.state != "reserved":
            return False
        row.state = state
        return True

    async def time_passes(self) -> None:
        self.due = True

    async def expire(self, *, gate: int = 0) -> int:
        del gate
        rows = list(self.rows.values())
        await network()
        return sum(self.end(row, "closed") for row in rows if self.due)

    async def give_back(self, *, gate: int = 0) -> None:
        del gate
        rows = [row for row in self.rows.values() if row.state == "closed" and not row.given_back]
        await network()
        for row in rows:
            self.restore(row)

    def restore(self, row: Row) -> None:
        if not row.given_back:
            row.given_back = True
            self.counter += row.units

    async def reload(self) -> None:
        await network()
        self.counter = self.quantity - sum(row.units for row in self.live())

    async def books(self) -> Books:
        await self.give_back()
        orders = [Sold(row.order, row.buyer, row.units, row.state) for row in self.rows.values()]
        return Books(self.quantity, self.limit, self.counter, orders)


# ---------------------------------------------------------------------------------------------------- the twins


class ChecksThenTakes(CarefulDesk):
    """SCENARIOS 1, 3 (Saleor #543, Magento #3072, TigerFans): a look, a network, a write."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        free = self.counter >= units
        await network()
        return self.take(buyer, key, units) if free and self.may_have(buyer, units) else None


class ClaimsAfterPayment(CarefulDesk):
    """SCENARIOS 2 (Vendure #4930): the unit is checked at the start, and taken when the money is there."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        if self.counter < units:
            return None
        await network()
        row = Row(f"order {len(self.rows)}", buyer, key, units)
        self.rows[row.order] = row
        return row.order

    async def pay(self, order: str, *, gate: int = 0) -> bool:
        done = await super().pay(order, gate=gate)
        self.counter -= self.rows[order].units
        return done


class ReadsAGeneratorTwice(CarefulDesk):
    """SCENARIOS 4 (Saleor): the second look at what is allocated finds the generator empty."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        allocated = (row.units for row in self.live())
        if any(row < 0 for row in allocated):
            return None
        if sum(allocated) + units > self.quantity:
            return None
        return self.take(buyer, key, units)


class LocksInOneProcess(CarefulDesk):
    """SCENARIOS 5 (Medusa): each gate has a lock of its own."""

    def __init__(self, quantity: int, limit: int) -> None:
        super().__init__(quantity, limit)
        self.locks = [asyncio.Lock(), asyncio.Lock()]

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        async with self.locks[gate]:
            free = self.counter >= units
            await network()
            await network()
            return self.take(buyer, key, units) if free else None


class LeaseEndsMidway(CarefulDesk):
    """SCENARIOS 5: one lock for all, which is let go after a while, whether its holder is done or paused."""

    def __init__(self, quantity: int, limit: int) -> None:
        super().__init__(quantity, limit)
        self.held_for = 0

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        while self.held_for > 0:
            self.held_for -= 1  # time passes for those who wait
            await network()
        self.held_for = 3
        free = self.counter >= units
        for _ in range(4):
            await network()
        return self.take(buyer, key, units) if free else None


class EndsWithoutLookingAgain(CarefulDesk):
    """SCENARIOS 8, 9: the state was looked at before the network."""

    async def pay(self, order: str, *, gate: int = 0) -> bool:
        return await self._end_after_a_while(order, "paid")

    async def cancel(self, order: str, *, gate: int = 0) -> bool:
        return await self._end_after_a_while(order, "closed")

    async def _end_after_a_while(self, order: str, state: str) -> bool:
        row = self.rows[order]
        if row.state != "reserved":
            return False
        await network()
        row.state = state
        return True


class RestoresBlindly(CarefulDesk):
    """SCENARIOS 9 (Magento #1849, #1881): INCRBY, by whoever thinks it is due."""

    def restore(self, row: Row) -> None:
        row.given_back = True
        self.counter += row.units


class ReloadSetsTheCounter(CarefulDesk):
    """SCENARIOS 11: what is stored is counted, and then SET, whatever happened in between."""

    async def reload(self) -> None:
        counted = self.quantity - sum(row.units for row in self.live())
        await network()
        await network()
        self.counter = counted


class CountsThenInserts(CarefulDesk):
    """SCENARIOS 12 (litemall #581): SELECT count(*) for the limit."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        allowed = self.may_have(buyer, units)
        await network()
        return self.take(buyer, key, units) if allowed and self.counter >= units else None


class LooksForTheKeyFirst(CarefulDesk):
    """SCENARIOS 17, 26: the key is looked up, and written with the order, a network later."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        known = self.known(buyer, key)
        await network()
        if known is not None:
            return known.order
        return self.take(buyer, key, units) if self.may_have(buyer, units) and self.counter >= units else None


class TakesThenAsks(CarefulDesk):
    """SCENARIOS 17 (htran): the unit is taken first, and stays taken when the buyer turns out to have one."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        if self.counter < units:
            return None
        self.counter -= units
        await network()
        if not self.may_have(buyer, units):
            return None
        self.counter += units
        return self.take(buyer, key, units)
