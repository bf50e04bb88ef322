"""A room's places against a line that is counted by hand: after any number of changes they are the same."""

import random

import pytest

from doorbuster.domain.sale import Sale, SaleMode, SaleTerms
from doorbuster.engine.line_ports import LineAsk
from doorbuster.engine.ports import Actor
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.live.rooms import Events, Room
from doorbuster.live.seats import Seat
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.shop import ReferenceShop

NOW_FAR = 1 << 50


class Nowhere:
    """A wire that leads nowhere, and remembers how it was closed."""

    def __init__(self) -> None:
        self.closed: tuple[int, str] | None = None

    def send(self, message: bytes) -> None:
        assert message

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class Line:
    """A sale with a line on the reference stores, and what can happen to it."""

    def __init__(self, seed: int) -> None:
        self.clock = ManualClock()
        self.shop = ReferenceShop(self.clock, SeededIds(seed))
        self.rng = random.Random(seed)
        self.sale: Sale
        self.joined = 0
        self.issued: dict[str, int] = {}
        """The lowest number each buyer was told: what stands on the ticket."""

    async def open(self, units: int) -> None:
        now = self.clock.now_ms()
        terms = SaleTerms(
            product_id="p", title="t", quantity_available=units, price_cents=0, currency="EUR",
            start_ms=now - 1, end_ms=now + 3_600_000, mode=SaleMode.QUEUE,
        )  # fmt: skip
        sale = await self.shop.sales.create(self.shop.ids.new_id(), terms, Actor(name="test"))
        await self.rebuild(sale)

    async def rebuild(self, sale: Sale) -> None:
        shop = self.shop
        await Rebuilder(shop.sales, shop.stock, shop.line, shop.lines).rebuild(sale, "test")
        current = await shop.sales.get(sale.sale_id)
        assert current is not None
        self.sale = current

    async def join(self) -> str:
        self.joined += 1
        user = f"user {self.joined}"
        ask = LineAsk(user, join=True)
        spot = await self.shop.line.ask_one(self.sale.sale_id, ask, self.clock.now_ms(), self.sale.epoch, 0)
        if spot.number:
            self.issued[user] = spot.number
        return user

    async def lose(self) -> None:
        """The store forgets everything; the ledger's part comes back, the line only by tickets."""
        await self.shop.stock.drop_image(self.sale.sale_id)
        await self.rebuild(self.sale)

    async def show_ticket(self) -> None:
        """Somebody comes back with a ticket, whether the line has forgotten it or not."""
        user = self.rng.choice(sorted(self.issued))
        ask = LineAsk(user, join=self.rng.random() < 0.5, ticket=self.issued[user])
        await self.shop.line.ask_one(self.sale.sale_id, ask, self.clock.now_ms(), self.sale.epoch, 0)

    def queue(self) -> dict[str, int]:
        image = self.shop.stock.image(self.sale.sale_id)
        granting = sorted(image.granting.values(), key=lambda grant: grant.number)
        queue = sorted(image.queue.items(), key=lambda entry: entry[1])
        # Whoever is being granted a unit is ahead, also of somebody with a lower number who has just come back.
        ranked = [*(grant.user_id for grant in granting), *(user for user, _ in queue)]
        return {user: position for position, user in enumerate(ranked, start=1)}

    async def happen(self) -> None:
        """One random change of the line."""
        sale_id, epoch, line = self.sale.sale_id, self.sale.epoch, self.shop.line
        image = self.shop.stock.image(sale_id)
        match self.rng.randrange(6):
            case 0 | 1:
                await self.join()
            case 2 if image.queue:
                user = self.rng.choice(sorted(image.queue))
                await line.leave(sale_id, user, image.queue[user], epoch=epoch)
            case 3:
                ids = [self.shop.ids.new_id() for _ in range(self.rng.randrange(1, 4))]
                await line.grant(sale_id, ids, now_ms=self.clock.now_ms(), epoch=epoch)
            case 4 if image.granting:
                grants = sorted(image.granting.values(), key=lambda grant: grant.number)
                refused = self.rng.random() < 0.3
                await line.settle(
                    sale_id, [] if refused else grants, grants if refused else [], mark=grants[-1].number, epoch=epoch
                )
            case 5 if self.issued:
                await self.show_ticket()
            case _:
                pass


def finish(events: Events, room: Room, seats: dict[str, Seat]) -> None:
    """What the hub does about the rest: the lost sit down again, whoever waits no more goes."""
    for seat in events.lost:
        seat.number, seat.position = 1, 0
    for seat in [*events.gone, *events.over, *(seat for seat, _ in events.granted)]:
        room.remove(seat)
        del seats[seat.user_id]


@pytest.mark.parametrize("seed", range(40))
async def test_places_are_those_of_the_line(seed: int) -> None:
    line = Line(seed)
    await line.open(units=30)
    room = Room(line.sale.sale_id)
    seats: dict[str, Seat] = {}
    for _ in range(120):
        for _ in range(line.rng.randrange(6)):
            await line.happen()
        unseated = sorted(line.queue().keys() - seats.keys())
        if unseated and line.rng.random() < 0.5:
            user = line.rng.choice(unseated)
            seats[user] = Seat(user, Nowhere(), NOW_FAR)
            seats[user].number = 1
            room.add(seats[user])
        if line.rng.random() < 0.03:
            await (line.rebuild(line.sale) if line.rng.random() < 0.7 else line.lose())
        if line.rng.random() < 0.5:
            events, _ = await room.follow(line.shop.line, line.sale, line.clock.now_ms(), telling=False)
            finish(events, room, seats)
            await line.happen()

        events, free = await room.follow(line.shop.line, line.sale, line.clock.now_ms())

        finish(events, room, seats)
        if events.lost or free is None:
            continue
        true = line.queue()
        shown = {user: seat.position for user, seat in seats.items() if seat.number}
        assert shown == {user: true[user] for user in shown}
        assert not {user for user in seats if user in true} - shown.keys()


async def test_lost_line_comes_back_by_those_who_listen() -> None:
    """What a socket was told is shown like a ticket, so its buyer keeps the place without doing anything."""
    line = Line(1)
    await line.open(units=1)
    room = Room(line.sale.sale_id)
    users = [await line.join() for _ in range(5)]
    for user in users:
        seat = Seat(user, Nowhere(), NOW_FAR)
        seat.number = 1
        room.add(seat)
    await room.follow(line.shop.line, line.sale, line.clock.now_ms())
    await line.shop.stock.drop_image(line.sale.sale_id)
    await line.rebuild(line.sale)
    assert line.queue() == {}

    await room.follow(line.shop.line, line.sale, line.clock.now_ms())

    assert line.queue() == {user: position for position, user in enumerate(users, start=1)}


async def test_sixth_connection_of_an_account_takes_the_place_of_the_first() -> None:
    room = Room("sale")
    wires = [Nowhere() for _ in range(6)]

    for wire in wires:
        room.add(Seat("ann", wire, NOW_FAR))

    assert [wire.closed is not None for wire in wires] == [True, *[False] * 5]
    assert room.size == 5
