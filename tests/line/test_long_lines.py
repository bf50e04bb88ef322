"""Long lines on real servers: many joiners who ask twice, and a line of twenty thousand that is lost and comes back."""

import random
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.pool import connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.system import SystemClock, SystemIds
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.domain.sale import Sale, SaleMode, SaleTerms, terms_of
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.granting import Admitter
from doorbuster.engine.line_ports import LineAsk, LineWord, Spot
from doorbuster.engine.ports import Actor
from doorbuster.engine.rebuilding import Rebuilder

HOUR_MS = 3_600_000


class Shop:
    """The real stores of one sale with a line."""

    def __init__(self, database_url: str, valkey_url: str) -> None:
        self._urls = database_url, valkey_url
        self.clock = SystemClock()
        self.ids = SystemIds()
        self.rng = random.Random(7)
        self.sale: Sale

    async def open(self) -> None:
        self.database = await connect(self._urls[0])
        self.stock = await ValkeyStockStore.connect(self._urls[1])
        await self.stock.load_library()
        self.line = ValkeyLineStore(self.stock)
        self.sales = PostgresSaleStore(self.database)
        self.ledger = PostgresLineLedger(self.database)
        self.orders = PostgresOrderStore(self.database)
        await self.clock.sync(self.sales.time_ms)

    async def close(self) -> None:
        await self.line.close()
        await self.stock.close()
        await self.database.close()

    async def create(self, units: int) -> None:
        now = self.clock.now_ms()
        terms = SaleTerms(
            product_id="p", title="t", quantity_available=units, price_cents=0, currency="EUR",
            start_ms=now - 1_000, end_ms=now + HOUR_MS, mode=SaleMode.QUEUE,
        )  # fmt: skip
        self.sale = await self.sales.create(self.ids.new_id(), terms, Actor(name="test"))
        await self.sales.follow_clock()
        await self.rebuild()

    async def rebuild(self) -> None:
        rebuilder = Rebuilder(self.sales, self.stock, self.line, self.ledger)
        await rebuilder.rebuild(await self.read(), "test")
        await self.read()

    async def read(self) -> Sale:
        row = await self.sales.get(self.sale.sale_id)
        assert row is not None
        self.sale = row
        return row

    async def ask(self, asks: Sequence[LineAsk]) -> list[Spot]:
        spots: list[Spot] = []
        for start in range(0, len(asks), limits.TAKE_BATCH_MAX):
            part = asks[start : start + limits.TAKE_BATCH_MAX]
            spots += await self.line.ask(
                self.sale.sale_id, part, now_ms=self.clock.now_ms(), epoch_min=self.sale.epoch, paid=0
            )
        return spots

    async def grant(self, *, at_ms: int = 0) -> int:
        """Passes of an admitter until nothing is left to grant."""
        clock = _At(at_ms) if at_ms else self.clock
        admitter = Admitter(
            line=self.line, orders=self.orders, distrust=Distrust(self.sales), clock=clock, ids=self.ids
        )
        granted = 0
        while done := (await admitter.run_once(await self.read())).granted:
            granted += done
        return granted

    async def granted_numbers(self) -> list[int]:
        return [number async for rows in self.ledger.grants(self.sale.sale_id) for _, number, _ in rows]


class _At(SystemClock):
    """A clock that stands at one moment; what the ledger decides by is its own."""

    def __init__(self, at_ms: int) -> None:
        super().__init__()
        self._at_ms = at_ms

    def now_ms(self) -> int:
        return self._at_ms


@pytest.fixture
async def shop(database_url: str, valkey_url: str) -> AsyncIterator[Shop]:
    opened = Shop(database_url, valkey_url)
    await opened.open()
    yield opened
    await opened.close()


async def test_hundred_thousand_joins_make_one_entry_each(shop: Shop) -> None:
    """Forty thousand buyers, each from two to three tabs, in any order: one number each, and no gap between them."""
    buyers = 40_000
    await shop.create(units=1)
    wishes = [*range(buyers), *range(buyers), *range(buyers // 2)]
    shop.rng.shuffle(wishes)

    spots = await shop.ask([LineAsk(f"buyer {number}", join=True) for number in wishes])

    numbers: dict[int, set[int]] = {}
    for buyer, spot in zip(wishes, spots, strict=True):
        numbers.setdefault(buyer, set()).add(spot.number)
    assert len(wishes) == 100_000
    assert all(len(mine) == 1 for mine in numbers.values())
    assert {number for mine in numbers.values() for number in mine} == set(range(1, buyers + 1))
    assert sum(spot.word is LineWord.JOINED for spot in spots) == buyers
    summary = await shop.stock.summary(shop.sale.sale_id)
    assert summary is not None
    assert summary.waiting == buyers


async def test_lost_line_of_twenty_thousand_comes_back_by_its_tickets(shop: Shop) -> None:
    """Everything in Valkey is gone. Everybody who shows a ticket has the old place, newcomers stand behind them, and
    units go out in the order there was before."""
    buyers, units = 20_000, 300
    await shop.create(units=units)
    joined = await shop.ask([LineAsk(f"buyer {number}", join=True) for number in range(buyers)])
    tickets = {f"buyer {number}": spot.number for number, spot in enumerate(joined)}
    assert await shop.grant() == units
    await shop.stock.drop_image(shop.sale.sale_id)

    await shop.rebuild()
    assert await shop.grant() == 0
    newcomer = (await shop.ask([LineAsk("newcomer", join=True)]))[0]
    users = list(tickets)
    shop.rng.shuffle(users)
    absent, present = set(users[:1_000]), users[1_000:]
    back = await shop.ask([LineAsk(user, ticket=tickets[user]) for user in present])

    waiting = {user: spot for user, spot in zip(present, back, strict=True) if spot.word is LineWord.WAITING}
    granted = {user for user, spot in zip(present, back, strict=True) if spot.word is LineWord.GRANTED}
    assert all(spot.number == tickets[user] for user, spot in waiting.items())
    assert granted == {user for user in present if tickets[user] <= units}
    assert newcomer.number > max(tickets.values())
    first = sorted(tickets[user] for user in waiting)[:50]
    places = await shop.ask([LineAsk(user) for user in sorted(waiting, key=tickets.__getitem__)[:50]])
    assert [spot.position for spot in places] == list(range(1, 51))

    changed = await shop.sales.change(
        shop.sale.sale_id, _more(shop.sale, units + 50), await shop.read(), Actor(name="test")
    )
    assert isinstance(changed, Sale)
    await shop.stock.set_available(shop.sale.sale_id, units + 50, epoch=changed.epoch)
    assert await shop.grant(at_ms=shop.clock.now_ms() + limits.LINE_GRACE_MS) == 50
    history = await shop.granted_numbers()
    assert history == [*range(1, units + 1), *first]
    assert not {tickets[user] for user in absent} & set(first)


def _more(sale: Sale, units: int) -> SaleTerms:
    return msgspec.structs.replace(terms_of(sale), quantity_available=units)
