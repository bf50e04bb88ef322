"""Where a race is run, and what is looked at when it is over.

A desk sells. Behind one stands the real engine on real stores, behind the others something small with one safeguard
missing. The races and the judge know only what is here.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Sold(NamedTuple):
    """An order as the desk has it at the end; `state` is reserved, paid or closed."""

    order: str
    buyer: str
    units: int
    state: str


class Books(NamedTuple):
    """What the desk says of itself at rest. `free` is what it would still sell."""

    quantity: int
    limit: int
    free: int
    orders: Sequence[Sold]


class Desk(Protocol):
    """`quantity` units, `limit` to a buyer. Every method may be called by many at once, at either of two gates."""

    async def reserve(self, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        """The order, or None for a no."""
        ...

    async def pay(self, order: str, *, gate: int = 0) -> bool: ...
    async def cancel(self, order: str, *, gate: int = 0) -> bool:
        """Whether this very call closed the order."""
        ...

    async def time_passes(self) -> None:
        """Until every hold is due."""
        ...

    async def expire(self, *, gate: int = 0) -> int:
        """How many orders this very call closed."""
        ...

    async def give_back(self, *, gate: int = 0) -> None:
        """Carry to the counter what was closed."""
        ...

    async def reload(self) -> None:
        """Make the counter anew from what is stored."""
        ...

    async def books(self) -> Books:
        """At rest: after whatever the desk does in the background."""
        ...


class History:
    """What the buyers were told."""

    def __init__(self) -> None:
        self.got: dict[str, str] = {}
        """Order to its buyer."""
        self.keys: dict[tuple[str, str], set[str]] = {}
        """Buyer and key to the orders they were given."""
        self.paid: set[str] = set()
        self.closings: Counter[str] = Counter()
        """How many were told that it was they who ended the order: paid it, or closed it."""

    async def reserve(self, desk: Desk, buyer: str, key: str, *, units: int = 1, gate: int = 0) -> str | None:
        order = await desk.reserve(buyer, key, units=units, gate=gate)
        if order is not None:
            self.got[order] = buyer
            self.keys.setdefault((buyer, key), set()).add(order)
        return order

    async def pay(self, desk: Desk, order: str, *, gate: int = 0) -> bool:
        done = await desk.pay(order, gate=gate)
        if done:
            self.paid.add(order)
            self.closings[order] += 1
        return done

    async def cancel(self, desk: Desk, order: str, *, gate: int = 0) -> bool:
        done = await desk.cancel(order, gate=gate)
        self.closings[order] += done
        return done


def broken(history: History, books: Books) -> list[str]:
    """The laws that do not hold, each by its promise."""
    live = [order for order in books.orders if order.state != "closed"]
    paid = {order.order for order in live if order.state == "paid"}
    stored = {order.order for order in books.orders}
    units = sum(order.units for order in live)
    owned: Counter[str] = Counter()
    for order in live:
        owned[order.buyer] += order.units
    found: list[str] = []
    if units > books.quantity:
        found.append(f"I1: {units} units of {books.quantity} are reserved or paid")
    if books.free + units != books.quantity:
        found.append(f"I2: {books.free} free and {units} owned of {books.quantity}")
    found += [f"I4: {order} was given to a buyer and is not stored" for order in history.got.keys() - stored]
    found += [f"I5: {place} made {len(made)} orders" for place, made in history.keys.items() if len(made) > 1]
    found += [f"I6: {buyer} has {count} units" for buyer, count in owned.items() if count > books.limit]
    found += [f"I7: {order} was paid for and is not owned" for order in history.paid - paid]
    found += [f"I13: {order} ended {count} times" for order, count in history.closings.items() if count > 1]
    return found
