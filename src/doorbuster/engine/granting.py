"""Gives units to the head of the line (Q5, then R4 and R5).

Owns: one pass of an admitter. Keeps: I10 (strict order, whatever the number of admitters), I1, I6 and I12 as every
commit does. There is no leader and no lock: the function hands every admitter the same unsettled grants, lowest number
first, and takes new heads only when those are settled. So whoever commits, commits the head of the line, and a second
commit of the same hold does nothing. A crash at any line leaves grants unsettled, and the next pass begins with them.
Read next: `functions/grant.lua`, `committing.py` for the same with buyers who order themselves.
"""

from collections.abc import Sequence

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.line_ports import Grant, Granting, GrantWord, LineLedger, LineStore
from doorbuster.engine.ports import Clock, CommitBatch, Committed, CommitWord, Ids, OrderStore

GRANT_DIGEST = "line"
"""Stands where the hash of a body stands in a race: a grant has no body."""

_IDS_MIN = 64

_REFUSED_FOR_GOOD = frozenset(
    {CommitWord.BLOCKED, CommitWord.LIMIT, CommitWord.LAPSED, CommitWord.SEEN, CommitWord.MISMATCH}
)
"""The ledger will never make an order of this grant, but may of the one behind it."""


def key_of(number: int) -> str:
    """The idempotency key of a grant: a number makes one order, whoever commits it (I5)."""
    return f"line-{number}"


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did."""

    granted: int = 0
    dropped: int = 0
    more: bool = False
    """Units and buyers may be left: make another pass at once."""


class Admitter:
    """One per worker. Passes may run anywhere at once; every one may be interrupted and repeated."""

    def __init__(
        self,
        *,
        line: LineStore,
        orders: OrderStore,
        distrust: Distrust,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._line = line
        self._orders = orders
        self._distrust = distrust
        self._clock = clock
        self._ids = ids

    async def run_once(self, sale: Sale) -> Granted:
        """Grant what is free to the head of this sale's line. May raise StoreUnavailable or OutcomeUnknown: the next
        pass goes on where this one was."""
        now = self._clock.now_ms()
        if not may_move(sale, now):
            return Granted()
        # As many ids as the row says are free, and some for units that came back since it was read.
        wanted = min(limits.GRANT_BATCH, max(_IDS_MIN, sale.quantity_available - sale.quantity_sold))
        hold_ids = [self._ids.new_id() for _ in range(wanted)]
        taken = await self._line.grant(sale.sale_id, hold_ids, now_ms=now, epoch=sale.epoch)
        if taken.word is not GrantWord.GRANTS or self._doubted(sale, taken):
            return Granted()
        if not taken.grants:
            return Granted(dropped=taken.dropped, more=taken.dropped > 0)
        holds = [hold_of(grant) for grant in taken.grants]
        batch = CommitBatch(sale_id=sale.sale_id, epoch=sale.epoch, tick=taken.tick, holds=holds)
        answers = await self._orders.commit(batch)  # never under a time-out or a cancellation (R4)
        return await self._settle(sale, taken, answers)

    def _doubted(self, sale: Sale, taken: Granting) -> bool:
        if self._distrust.gone_back(sale.sale_id, sale.epoch, taken.tick):
            self._distrust.note(sale.sale_id, sale.epoch, "the line went back in time")
        return self._distrust.refuses(sale, sale.epoch)

    async def _settle(self, sale: Sale, taken: Granting, answers: Sequence[Committed]) -> Granted:
        granted: list[Grant] = []
        dropped: list[Grant] = []
        for grant, answer in zip(taken.grants, answers, strict=True):
            if answer.word is CommitWord.COMMITTED:
                granted.append(grant)
            elif answer.word in _REFUSED_FOR_GOOD or answer.word is CommitWord.TOMBSTONED:
                dropped.append(grant)
            elif answer.word is CommitWord.NO_STOCK:  # R5': the image had a unit that the ledger has not
                self._distrust.note(sale.sale_id, sale.epoch, "the ledger has no unit for a grant")
            # The other words are about the whole sale (paused, not started, over, another epoch): the grants stay
            # unsettled at the head of the line and are made when it moves again, or are dropped with their image.
        if granted or dropped:
            mark = max((grant.number for grant in granted), default=0)
            await self._line.settle(sale.sale_id, granted, dropped, mark=mark, epoch=sale.epoch)
        return Granted(
            granted=len(granted),
            dropped=len(dropped) + taken.dropped,
            more=bool(granted or dropped) and (taken.stock > 0 or bool(dropped)) and taken.waiting > 0,
        )


class LineKeeper:
    """Sees to what a line needs beside units: numbers to issue (Q2), and its end (Q6)."""

    def __init__(self, ledger: LineLedger, line: LineStore) -> None:
        self._ledger = ledger
        self._line = line

    async def end_if_over(self, sale: Sale) -> int:
        """Tell the line that it waits for nothing. Returns how many waited."""
        if sale.ended_number < sale.number_high:
            number = await self._ledger.end_line(sale.sale_id)
        else:
            number = sale.ended_number
        if not number:
            return 0
        return await self._line.end_line(sale.sale_id, number, epoch=sale.epoch)

    async def issue(self, sale: Sale, next_number: int, high: int) -> bool:
        """Keep at least half a block of numbers ahead of the joiners. True if more were issued."""
        if high - next_number > limits.NUMBER_BLOCK // 2:
            return False
        block = await self._ledger.reserve_numbers(sale.sale_id, limits.NUMBER_BLOCK, epoch=sale.epoch)
        return block is not None and await self._line.issue(sale.sale_id, block[1], epoch=sale.epoch)


def may_move(sale: Sale, now_ms: int) -> bool:
    """Whether a grant could be made now, as far as the row says; the function and the ledger decide. A paused sale is
    looked at too, so that its line moves in the moment it is resumed."""
    if sale.mode is SaleMode.RACE or sale.epoch == 0 or sale.status in SALE_OVER:
        return False
    if sale.mode is SaleMode.DRAW and sale.drawn_ms is None:
        return False
    return sale.start_ms <= now_ms < sale.end_ms


def hold_of(grant: Grant) -> Hold:
    """The hold that the function made for this grant; the ledger makes the order of it."""
    return Hold(
        hold_id=grant.hold_id,
        user_id=grant.user_id,
        quantity=1,
        key=key_of(grant.number),
        digest=GRANT_DIGEST,
        since_ms=grant.since_ms,
        number=grant.number,
    )
