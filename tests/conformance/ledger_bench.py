"""A ledger under test: short ways to set a scene, and everything that can be seen of it."""

from typing import Any

import msgspec

from conformance.ledgers import Ledger, begin_payment, settle_payment
from doorbuster.domain.audit import LedgerFacts, Verdict, compare
from doorbuster.domain.chain import LogRow
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleMode, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.image import ImageChunk
from doorbuster.engine.ports import (
    Actor,
    CommitBatch,
    Committed,
    CommitWord,
)
from doorbuster.reference.clock import SeededIds

ACTOR = Actor(name="tester", reason="a test")
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
TTL_MS = 10 * MINUTE


class LedgerBench:
    """One ledger, which starts empty, in a time of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sales = ledger.sales
        self.orders = ledger.orders
        self.audits = ledger.audits
        self.lines = ledger.lines
        self.timeline = ledger.timeline
        self.ids = SeededIds(7)

    def now_ms(self) -> int:
        return self.ledger.clock.now_ms()

    # ------------------------------------------------------------------------------------------------ the scene

    def terms(self, **changes: Any) -> SaleTerms:
        """A sale that is open now: two units, one for each buyer, ten minutes to pay."""
        terms = SaleTerms(
            product_id="p-1",
            title="Lamp",
            quantity_available=2,
            price_cents=1_500,
            currency="USD",
            start_ms=self.now_ms() - MINUTE,
            end_ms=self.now_ms() + HOUR,
        )
        return msgspec.structs.replace(terms, **changes)

    async def sale(self, **changes: Any) -> Sale:
        """Such a sale with its first image published: epoch 1."""
        sale = await self.sales.create(self.ids.new_id(), self.terms(**changes), ACTOR)
        assert await self.sales.raise_epoch(sale.sale_id, 0, "first image") == 1
        assert await self.sales.image_published(sale.sale_id, 1, "server-1")
        return await self.current(sale)

    async def line(self, numbers: int = 100, **changes: Any) -> Sale:
        """Such a sale with a line, in which so many numbers may be issued."""
        sale = await self.sale(**{"mode": SaleMode.QUEUE, "quantity_available": 9} | changes)
        assert await self.lines.reserve_numbers(sale.sale_id, numbers, epoch=1) == (0, numbers)
        return await self.current(sale)

    async def current(self, sale: Sale) -> Sale:
        current = await self.sales.get(sale.sale_id)
        assert current is not None
        return current

    async def order(self, order: Order) -> Order:
        """As it is now."""
        current = await self.orders.get(order.order_id)
        assert current is not None
        return current

    def hold(self, user: str = "ann", *, key: str = "", hold_id: str = "", **changes: Any) -> Hold:
        new_id = self.ids.new_id()
        hold = Hold(
            hold_id=hold_id or new_id,
            user_id=user,
            quantity=1,
            key=key or f"key {new_id}",
            digest="body",
            since_ms=self.now_ms(),
        )
        return msgspec.structs.replace(hold, **changes)

    async def commit(self, sale: Sale, *holds: Hold, epoch: int = 1, tick: int = 1) -> list[Committed]:
        return list(await self.orders.commit(CommitBatch(sale_id=sale.sale_id, epoch=epoch, tick=tick, holds=holds)))

    async def words(self, sale: Sale, *holds: Hold, epoch: int = 1) -> list[CommitWord]:
        return [answer.word for answer in await self.commit(sale, *holds, epoch=epoch)]

    async def reserve(self, sale: Sale, user: str = "ann", **about: Any) -> Order:
        """One order."""
        epoch = (await self.current(sale)).epoch
        [answer] = await self.commit(sale, self.hold(user, **about), epoch=epoch)
        assert answer.word is CommitWord.COMMITTED
        assert answer.order is not None
        return answer.order

    def grant(self, user: str, number: int, **changes: Any) -> Hold:
        """The hold of a grant, as an admitter makes it."""
        return self.hold(user, key=f"line-{number}", digest="line", number=number, **changes)

    async def granted(self, sale: Sale, user: str, number: int) -> Order:
        """The order of a grant."""
        return await self.reserve(sale, user, key=f"line-{number}", digest="line", number=number)

    async def paid(self, sale: Sale, user: str = "ann", **about: Any) -> Order:
        order = await self.reserve(sale, user, **about)
        await self.pay(order)
        return await self.order(order)

    async def begin_payment(self, order: Order) -> str:
        """The id of an attempt that is out."""
        payment_id = self.ids.new_id()
        await begin_payment(self.ledger, order.order_id, payment_id)
        return payment_id

    async def pay(self, order: Order) -> None:
        await settle_payment(self.ledger, await self.begin_payment(order))

    async def cancelled(self, sale: Sale, user: str = "ann", **about: Any) -> Order:
        order = await self.reserve(sale, user, **about)
        closed = await self.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
        assert isinstance(closed, Order)
        return closed

    async def moved(self, sale: Sale, *statuses: SaleStatus) -> Sale:
        """The sale after these moves, each along an arrow."""
        for status in statuses:
            answer = await self.sales.move(sale.sale_id, status, ACTOR)
            assert isinstance(answer, Sale), answer
        return await self.current(sale)

    # ------------------------------------------------------------------------------------------------ what is seen

    async def facts(self, sale: Sale) -> LedgerFacts:
        facts = await self.audits.facts(sale.sale_id)
        assert facts is not None
        return facts

    async def assert_in_step(self, sale: Sale) -> None:
        """PostgreSQL agrees with itself: counts, allowances, log."""
        report = compare(await self.facts(sale), None, at_ms=0)
        assert (report.drifts, report.verdict) == ((), Verdict.IN_STEP)

    async def log(self, sale: Sale, after_seq: int = 0) -> list[LogRow]:
        chunks = [chunk async for chunk in self.audits.log_rows(sale.sale_id, after_seq=after_seq)]
        return [row for chunk in chunks for row in chunk]

    async def image_rows(self, sale: Sale, chunk: int = 100) -> list[ImageChunk]:
        return [part async for part in self.sales.image_rows(sale.sale_id, chunk)]

    async def state(self, sale: Sale) -> object:
        """All that a refusal must leave as it is; what every batch writes, a refused one too, is left out."""
        page = await self.orders.page(sale.sale_id, status=None, cursor=None, limit=1_000)
        current = await self.sales.get(sale.sale_id)
        return (
            current and msgspec.structs.replace(current, updated_ms=0, tick_seen=0),
            list(page.orders),
            list(await self.orders.pending_releases(limit=1_000)),
            (await self.facts(sale)).eligibility_units,
            await self.log(sale),
            await self.image_rows(sale),
        )


def refused(answer: object) -> Code:
    """The code of an answer that has to be a refusal."""
    assert isinstance(answer, Refusal), answer
    return answer.code
