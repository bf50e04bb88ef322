"""Lets buyers join a line, ask for their place, and leave (Q1 to Q3).

Owns: the way of one request through the line, and the words for each way it can end. Keeps: I10 (one entry per
account, the same place on every repeat), I14. A repeat of every call is safe and gives the same place.
Read next: `describing.py` for what a place says, `granting.py` for how it ends, `entering.py` for a draw before T-0.
"""

from doorbuster.domain import limits
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.place import Place, nothing_comes_back
from doorbuster.domain.rehearsal import foreign
from doorbuster.domain.sale import Sale, SaleMode, status_at
from doorbuster.domain.transitions import SALE_OVER, OrderStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.describing import Describer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.entering import Entering
from doorbuster.engine.line_ports import LineAsk, LineLedger, LineStore, LineWord, Spot
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.ports import Actor, Clock, Ids, OrderStore, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.selling import lapsed_refusal
from doorbuster.engine.tickets import Tickets

_BLOCKS_TRIED = 3
"""A block of numbers is a hundred thousand: a gate that finds it used up again and again has another trouble."""
_LEAVING = Actor(name="buyer", reason="left the line")


class Queueing:
    """One per gate. Every answer but UNAVAILABLE is a decision."""

    def __init__(
        self,
        *,
        board: SaleBoard,
        line: LineStore,
        ledger: LineLedger,
        orders: OrderStore,
        ordering: Ordering,
        entering: Entering,
        describer: Describer,
        tickets: Tickets,
        distrust: Distrust,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._board = board
        self._line = line
        self._ledger = ledger
        self._orders = orders
        self._ordering = ordering
        self._entering = entering
        self._describer = describer
        self._tickets = tickets
        self._distrust = distrust
        self._clock = clock
        self._ids = ids

    # ------------------------------------------------------------------------------------------------ the calls

    async def join(self, sale_id: str, user_id: str, ticket: str | None = None) -> Place | Refusal:
        """An entry at the end of the line, or the place this buyer already has (Q1). In a draw, before T-0, an entry in
        the list, stored before this returns."""
        found = await self._begin(sale_id, user_id, ticket)
        if isinstance(found, Refusal):
            return found
        sale, number = found
        if status_at(sale, self._clock.now_ms()) in SALE_OVER:
            return Refusal(Code.ENDED, "the sale is over")
        try:
            if not_drawn(sale):
                return await self._entering.enter(sale, user_id)
            return await self._join(sale, user_id, number)
        except (StoreUnavailable, OutcomeUnknown):
            return self._unavailable("the line does not answer; ask again: the place, if there is one, is kept")

    async def place(self, sale_id: str, user_id: str, ticket: str | None = None) -> Place | Refusal:
        """Where this buyer stands. NOT_FOUND: nowhere. A ticket brings back a place that Valkey has lost (Q3)."""
        found = await self._begin(sale_id, user_id, ticket)
        if isinstance(found, Refusal):
            return found
        sale, number = found
        try:
            if status_at(sale, self._clock.now_ms()) in SALE_OVER:
                return self._describer.over(sale, await self._last_order(sale, user_id))
            if not_drawn(sale):
                return await self._entering.place(sale, user_id)
            spot = await self._ask(sale, LineAsk(user_id, ticket=number))
            return spot if isinstance(spot, Refusal) else await self._told(sale, user_id, spot, number)
        except (StoreUnavailable, OutcomeUnknown):
            return self._unavailable("the line does not answer; the place is kept")

    async def leave(self, sale_id: str, user_id: str) -> Place | Refusal:
        """Give the place up; a unit that was granted and is not paid for goes to the next. Coming back means the end of
        the line. The ledger knows of it first, so that no ticket brings the place back."""
        found = await self._begin(sale_id, user_id, None)
        if isinstance(found, Refusal):
            return found
        sale, _ = found
        try:
            if status_at(sale, self._clock.now_ms()) in SALE_OVER:
                return Refusal(Code.ENDED, "the sale is over; nobody waits any more")
            if not_drawn(sale):
                return await self._entering.withdraw(sale, user_id)
            return await self._leave(sale, user_id)
        except (StoreUnavailable, OutcomeUnknown):
            return self._unavailable("the line does not answer; ask again")

    # ------------------------------------------------------------------------------------------------ joining

    async def _join(self, sale: Sale, user_id: str, ticket: int) -> Place | Refusal:
        spot = await self._ask(sale, LineAsk(user_id, join=True, ticket=ticket))
        if isinstance(spot, Refusal) or spot.word is not LineWord.GRANTED:
            return spot if isinstance(spot, Refusal) else await self._told(sale, user_id, spot, 0)
        order = await self._orders.get(spot.hold_id)
        if order is None or order.status is OrderStatus.RESERVED:
            return await self._granted(sale, order)
        if order.status is OrderStatus.EXPIRED and await self._has_lapsed(sale, user_id):
            return lapsed_refusal(sale)  # said now: the ledger would refuse the grant after the whole wait
        # What was granted is paid for or gone, so it is no answer to a wish for another unit.
        again = await self._ask(sale, LineAsk(user_id, join=True, done=spot.number))
        if isinstance(again, Refusal):
            if again.code is Code.ALREADY_PURCHASED and order.status is not OrderStatus.PAID:
                return self._unavailable("the unit of the last order is on its way back; ask again")
            return again
        return await self._told(sale, user_id, again, 0)

    async def _has_lapsed(self, sale: Sale, user_id: str) -> bool:
        if sale.max_lapsed_holds is None:
            return False
        return await self._ledger.lapsed_holds(sale.sale_id, user_id) >= sale.max_lapsed_holds

    async def _ask(self, sale: Sale, ask: LineAsk) -> Spot | Refusal:
        """One step of the line; the answers that are not about a place become refusals here."""
        for _ in range(_BLOCKS_TRIED):
            paid = sale.quantity_paid
            spot = await self._line.ask_one(sale.sale_id, ask, self._clock.now_ms(), sale.epoch, paid)
            if spot.word is LineWord.NO_NUMBERS:
                await self._more_numbers(sale, spot)
                continue
            refusal = self._refusal(sale, spot)
            ended = spot.word is LineWord.OVER and not ask.join  # an answer to a look
            return refusal if refusal is not None and not ended else spot
        return self._unavailable("the line is being lengthened")

    async def _more_numbers(self, sale: Sale, spot: Spot) -> None:
        """Q2: the ledger's mark is raised before a number of the block can be issued."""
        block = await self._ledger.reserve_numbers(sale.sale_id, limits.NUMBER_BLOCK, epoch=spot.epoch)
        if block is not None:
            await self._line.issue(sale.sale_id, block[1], epoch=spot.epoch)

    def _refusal(self, sale: Sale, spot: Spot) -> Refusal | None:
        if spot.word in (LineWord.NO_IMAGE, LineWord.STALE_EPOCH):
            return self._unavailable("the line is being rebuilt; places are kept")
        doubt = self._doubt(sale, spot)
        if doubt:
            self._distrust.note(sale.sale_id, spot.epoch, doubt)
        if doubt or self._distrust.refuses(sale, spot.epoch):
            return self._unavailable("the line is being rebuilt; places are kept")
        match spot.word:
            case LineWord.NOT_STARTED:
                return self._not_started(sale)
            case LineWord.OVER:
                return Refusal(Code.ENDED, "the sale is over")
            case LineWord.BLOCKED:
                return Refusal(Code.BLOCKED, "this account may not take part in this sale")
            case LineWord.LIMIT if sale.per_user_limit == 1:
                return Refusal(Code.ALREADY_PURCHASED, "this buyer already holds or owns a unit of this sale")
            case LineWord.LIMIT:
                return Refusal(Code.LIMIT_EXCEEDED, f"one buyer may have {sale.per_user_limit} units of this sale")
            case LineWord.SOLD_OUT:
                return Refusal(Code.SOLD_OUT, f"all {spot.available} units are sold and paid for")
            case LineWord.FULL:
                return Refusal(Code.SOLD_OUT, "all units are taken, and everybody who may wait for one is waiting")
            case _:
                return None

    def _doubt(self, sale: Sale, spot: Spot) -> str:
        if spot.word is LineWord.AHEAD:
            return "a ticket has a number that the line has not issued"
        if self._distrust.gone_back(sale.sale_id, spot.epoch, spot.tick):
            return "the stock counter went back in time"
        if spot.epoch == sale.epoch and sale.image_run_id and spot.run_id != sale.image_run_id:
            return "another server answers for the stock counter"
        return ""

    # ------------------------------------------------------------------------------------------------ telling

    async def _told(self, sale: Sale, user_id: str, spot: Spot, ticket: int) -> Place | Refusal:
        match spot.word:
            case LineWord.JOINED | LineWord.WAITING | LineWord.GRANTING:
                return self.waits(sale, user_id, spot)
            case LineWord.GRANTED:
                return await self._granted(sale, await self._orders.get(spot.hold_id))
            case LineWord.LEFT if ticket:
                return Refusal(Code.CONFLICT, "the place on this ticket was given up; join again for a new one")
            case LineWord.LEFT:
                return self._describer.over(sale) if self._over(sale) else self._describer.left(sale)
            case _ if spot.word is LineWord.OVER or self._over(sale):
                return self._describer.over(sale, await self._last_order(sale, user_id))
            case _:
                return Refusal(Code.NOT_FOUND, "this buyer is not in the line")

    def waits(self, sale: Sale, user_id: str, spot: Spot) -> Place:
        """The place of somebody who is in the line; over if that is for nothing."""
        if self._over(sale) and spot.word is not LineWord.GRANTING:
            return self._describer.over(sale)
        return self._describer.waits(
            sale, user_id, position=spot.position, number=spot.number, epoch=spot.epoch, free=spot.stock
        )

    async def _granted(self, sale: Sale, order: Order | None) -> Place | Refusal:
        """Before an order is shown, its buyer is noted as seen where that matters: from here it lasts (I11)."""
        if order is None:
            return self._unavailable("the order is being written")
        if sale.claim_window_seconds is not None and order.claimed_ms is None and order.status is OrderStatus.RESERVED:
            await self._ledger.claim([order.order_id])
            order = await self._orders.get(order.order_id) or order
        return self._describer.granted(sale, order)

    async def granted(self, sale_id: str, order_id: str) -> Place | None:
        """The place of somebody whose grant was just heard of; None if the sale or the order is not there."""
        sale = await self._board.look(sale_id)
        order = await self._orders.get(order_id)
        if sale is None or order is None:
            return None
        place = await self._granted(sale, order)
        return None if isinstance(place, Refusal) else place

    # ------------------------------------------------------------------------------------------------ leaving

    async def _leave(self, sale: Sale, user_id: str) -> Place | Refusal:
        spot = await self._ask(sale, LineAsk(user_id))
        if isinstance(spot, Refusal):
            return spot
        word, order_id = spot.word, spot.hold_id
        if word is LineWord.WAITING:
            await self._ledger.note_left(sale.sale_id, user_id, spot.number)
            word = await self._line.leave(sale.sale_id, user_id, spot.number, epoch=spot.epoch)
        match word:
            case LineWord.LEFT:
                return self._describer.left(sale)
            case LineWord.GRANTED if order_id:
                return await self._give_back(sale, user_id, order_id)
            case LineWord.ABSENT | LineWord.OVER:
                return Refusal(Code.NOT_FOUND, "this buyer is not in the line")
            case _:
                return self._unavailable("a unit is being granted to this buyer just now; ask again")

    async def _give_back(self, sale: Sale, user_id: str, order_id: str) -> Place | Refusal:
        order = await self._ordering.cancel(order_id, user_id, _LEAVING)
        if isinstance(order, Order):
            return self._describer.left(sale, order)
        if order.code is Code.ORDER_CLOSED:
            read = await self._ordering.read(order_id, user_id)
            if isinstance(read, Order) and read.status is not OrderStatus.PAID:
                return self._describer.left(sale, read)
        return order

    # ------------------------------------------------------------------------------------------------ inside

    async def _begin(self, sale_id: str, user_id: str, ticket: str | None) -> tuple[Sale, int] | Refusal:
        """The sale, which has a line, and the number on the ticket (0: none was shown)."""
        try:
            sale = self._board.get(sale_id) or await self._board.look(sale_id)
            if sale is None or foreign(sale, user_id):
                return Refusal(Code.NOT_FOUND, "there is no such sale")
            if sale.mode is SaleMode.RACE:
                if status_at(sale, self._clock.now_ms()) in SALE_OVER:
                    return Refusal(Code.ENDED, "the sale is over")
                return Refusal(Code.CONFLICT, "this sale is a race and has no line: post an order instead")
            number = await self._tickets.number_of(ticket, sale_id, user_id) if ticket else 0
        except (StoreUnavailable, OutcomeUnknown):
            return self._unavailable("the ledger does not answer")
        if isinstance(number, Refusal):
            return number
        if not self._clock.trusted:
            return self._unavailable("this gate does not know the time")
        return sale, number

    def _over(self, sale: Sale) -> bool:
        return nothing_comes_back(sale, self._clock.now_ms())

    async def _last_order(self, sale: Sale, user_id: str) -> Order | None:
        order_id = await self._ledger.order_of(sale.sale_id, user_id)
        return None if order_id is None else await self._orders.get(order_id)

    def _not_started(self, sale: Sale) -> Refusal:
        """Everybody who came early comes back over two seconds, not in the same millisecond: it wins nothing."""
        wait_ms = max(0, sale.start_ms - self._clock.now_ms())
        detail = f"the sale starts in {wait_ms / 1000:.1f} s; come back within two seconds after that, at random"
        return Refusal(Code.NOT_STARTED, detail, max(1, wait_ms) + int(2_000 * self._ids.jitter()))

    def _unavailable(self, detail: str) -> Refusal:
        wait_ms = int(limits.RETRY_AFTER_SECONDS_UNAVAILABLE * 1000 * (1 + self._ids.jitter()))
        return Refusal(Code.UNAVAILABLE, detail, wait_ms)


def not_drawn(sale: Sale) -> bool:
    """Whether entries are still what counts: the order of a draw is stored some moments after T-0."""
    return sale.mode is SaleMode.DRAW and sale.drawn_ms is None
