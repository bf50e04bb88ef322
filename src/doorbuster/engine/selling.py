"""Sells units in a race: who passes the atomic gate first gets one (R1 to R6).

Owns: the way of one request through take and commit, and the words for each way it can end.
Keeps: I1, I4, I5, I6, I14; the lines that keep them are marked. Read next: `committing.py`.
"""

import asyncio
from collections.abc import Coroutine

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import foreign
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.committing import Committer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.ports import (
    Ask,
    Clock,
    Committed,
    CommitWord,
    Ids,
    OrderStore,
    OutcomeUnknown,
    Release,
    StockStore,
    StoreUnavailable,
    TakenOne,
    TakeWord,
)


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """The buyer has an order. `replayed` says it was made by an earlier request with the same key."""

    order: Order
    replayed: bool


class Selling:
    """One per gate. Every answer but UNAVAILABLE is a decision; a repeat with the same key is always safe (I5)."""

    def __init__(
        self,
        *,
        board: SaleBoard,
        committer: Committer,
        stock: StockStore,
        orders: OrderStore,
        distrust: Distrust,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._board = board
        self._committer = committer
        self._stock = stock
        self._orders = orders
        self._distrust = distrust
        self._clock = clock
        self._ids = ids
        self._background: set[asyncio.Task[None]] = set()

    async def reserve(self, sale_id: str, user_id: str, *, quantity: int, key: str, digest: str) -> Reserved | Refusal:
        """Take `quantity` units for this buyer and make them an order. `digest` stands for the body: the same key
        with another digest is refused. The order is committed before this returns (I4)."""
        try:
            sale = self._board.get(sale_id) or await self._board.look(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable("the ledger does not answer")
        if sale is None or foreign(sale, user_id):
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        if not 1 <= quantity <= sale.per_user_limit:
            return Refusal(
                Code.INVALID_REQUEST, f"quantity is {quantity}; one buyer may have 1 to {sale.per_user_limit}"
            )
        if sale.mode is not SaleMode.RACE:
            return Refusal(Code.NOT_ADMITTED, f"this sale is a {sale.mode.value}: join its line")
        if not self._clock.trusted:
            return _unavailable("this gate does not know the time")
        ask = Ask(self._ids.new_id(), user_id, quantity, key, digest)
        try:
            answer = await self._stock.take_one(sale_id, ask, self._clock.now_ms(), sale.epoch)
        except StoreUnavailable:
            return _unavailable("the stock counter does not answer; nothing was taken")
        except OutcomeUnknown:
            return _unavailable("the stock counter did not answer in time")
        return await self._after_take(sale, ask, answer)

    async def _after_take(self, sale: Sale, ask: Ask, answer: TakenOne) -> Reserved | Refusal:
        word = answer.word
        if word is TakeWord.NO_IMAGE:
            return await self._without_image(sale, ask)
        if word is TakeWord.STALE_EPOCH:
            return _unavailable("the stock counter is being rebuilt")
        doubt = self._doubt(sale, answer)
        if doubt:
            self._distrust.note(sale.sale_id, answer.epoch, doubt)
        if doubt or self._distrust.refuses(sale, answer.epoch):
            return _unavailable("the stock counter is being rebuilt")  # the hold, if any, dies with its epoch
        if word is TakeWord.HELD:
            return await self._commit(sale, ask, answer, replayed=False)
        if word is TakeWord.SEEN:  # I5: the hold this key got before becomes, or already is, the order
            earlier = msgspec.structs.replace(ask, hold_id=answer.hold_id)
            return await self._commit(sale, earlier, answer, replayed=True)
        return self._refusal(sale, answer)

    def _doubt(self, sale: Sale, answer: TakenOne) -> str:
        if self._distrust.gone_back(sale.sale_id, answer.epoch, answer.tick):
            return "the stock counter went back in time"
        if answer.epoch == sale.epoch and sale.image_run_id and answer.run_id != sale.image_run_id:
            return "another server answers for the stock counter"
        return ""

    async def _without_image(self, sale: Sale, ask: Ask) -> Reserved | Refusal:
        """No image: refuse, never sell from the ledger (A10). Of a sale that is over, the ledger still knows whose
        key it was; that read is bounded because such a sale has no crowd of winners."""
        if sale.status not in SALE_OVER and self._clock.now_ms() < sale.end_ms:
            return _unavailable("the stock counter is being built")
        try:
            order = await self._orders.by_key(sale.sale_id, ask.user_id, ask.key)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable("the ledger does not answer")
        if order is None:
            return Refusal(Code.ENDED, "the sale is over")
        if order.body_digest != ask.digest:
            return Refusal(Code.IDEMPOTENCY_MISMATCH, "this key was used for another order")
        return Reserved(order=order, replayed=True)

    async def _commit(self, sale: Sale, ask: Ask, answer: TakenOne, *, replayed: bool) -> Reserved | Refusal:
        hold = Hold(
            hold_id=ask.hold_id,
            user_id=ask.user_id,
            quantity=ask.quantity,
            key=ask.key,
            digest=ask.digest,
            since_ms=self._clock.now_ms(),
        )
        waiting = self._committer.submit(sale.sale_id, hold, epoch=answer.epoch, tick=answer.tick)
        if waiting is None:
            if not replayed:
                self._give_back(sale, hold, answer.epoch)
            return _unavailable("too many orders wait for the ledger; nothing was taken")
        try:
            committed = await waiting
        except StoreUnavailable:
            return _unavailable("the ledger does not answer; nothing was taken")
        except OutcomeUnknown:
            return _unavailable("the ledger did not answer in time")
        return self._after_commit(sale, hold, answer, committed, replayed=replayed)

    def _after_commit(
        self, sale: Sale, hold: Hold, answer: TakenOne, committed: Committed, *, replayed: bool
    ) -> Reserved | Refusal:
        word = committed.word
        if word is CommitWord.COMMITTED and committed.order is not None:
            return Reserved(order=committed.order, replayed=replayed)
        if word is CommitWord.STALE_EPOCH:
            return _unavailable("the stock counter was rebuilt meanwhile; nothing was taken")
        self._give_back(sale, hold, answer.epoch)  # R5'
        match word:
            case CommitWord.SEEN if committed.order is not None:
                return Reserved(order=committed.order, replayed=True)
            case CommitWord.MISMATCH:
                return Refusal(Code.IDEMPOTENCY_MISMATCH, "this key was used for another order")
            case CommitWord.NO_STOCK:
                # Valkey had a unit that the ledger has not: its image is wrong (divergence).
                self._distrust.note(sale.sale_id, answer.epoch, "the ledger had no unit for a hold")
                return _unavailable("the stock counter is being rebuilt")
            case CommitWord.PAUSED:
                return self._paused()
            case CommitWord.NOT_STARTED:
                return self._not_started(sale)
            case CommitWord.OVER:
                return Refusal(Code.ENDED, "the sale is over")
            case CommitWord.BLOCKED:
                return Refusal(Code.BLOCKED, "this account may not take part in this sale")
            case CommitWord.LIMIT:
                return _limit(sale)
            case CommitWord.LAPSED:
                return lapsed_refusal(sale)
            case _:  # TOMBSTONED: the sweep gave the unit back before this commit arrived (C11)
                return _unavailable("the reservation took too long; nothing was taken")

    def _refusal(self, sale: Sale, answer: TakenOne) -> Refusal:
        match answer.word:
            case TakeWord.MISMATCH:
                return Refusal(Code.IDEMPOTENCY_MISMATCH, "this key was used for another order")
            case TakeWord.PAUSED:
                return self._paused()
            case TakeWord.NOT_STARTED:
                return self._not_started(sale)
            case TakeWord.OVER:
                return Refusal(Code.ENDED, "the sale is over")
            case TakeWord.BLOCKED:
                return Refusal(Code.BLOCKED, "this account may not take part in this sale")
            case TakeWord.LIMIT:
                return _limit(sale)
            case _:
                return self._no_stock(sale, answer)

    def _no_stock(self, sale: Sale, answer: TakenOne) -> Refusal:
        """I14: final only when every unit is paid for. The number on sale comes with this very answer, so a top-up
        that the cached row does not show yet cannot make it final."""
        if answer.stock == 0 and sale.quantity_paid >= answer.available:
            return Refusal(Code.SOLD_OUT, f"all {answer.available} units are sold and paid for")
        if answer.stock > 0:
            detail = f"{answer.stock} free, fewer than asked for; more may come back"
        else:
            detail = f"all {answer.available} units are held, {sale.quantity_paid} of them paid; some may come back"
        return Refusal(Code.ALL_HELD, detail, self._spread(limits.RETRY_AFTER_SECONDS_HELD))

    def _paused(self) -> Refusal:
        return Refusal(Code.PAUSED, "the sale is paused", self._spread(limits.RETRY_AFTER_SECONDS_PAUSED))

    def _not_started(self, sale: Sale) -> Refusal:
        wait_ms = max(0, sale.start_ms - self._clock.now_ms())
        return Refusal(Code.NOT_STARTED, f"the sale starts in {wait_ms / 1000:.1f} s", max(1, wait_ms))

    def _spread(self, seconds: int) -> int:
        return int(seconds * 1000 * (1 + self._ids.jitter()))

    def _give_back(self, sale: Sale, hold: Hold, epoch: int) -> None:
        self._spawn(self._release(sale.sale_id, hold, epoch))

    async def _release(self, sale_id: str, hold: Hold, epoch: int) -> None:
        release = Release(hold_id=hold.hold_id, user_id=hold.user_id, forget_key=True)
        try:
            await self._stock.release(sale_id, [release], epoch=epoch)
        except (StoreUnavailable, OutcomeUnknown):
            return  # it stays pending and the orphan sweep gives it back (R7)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _unavailable(detail: str) -> Refusal:
    return Refusal(Code.UNAVAILABLE, detail, limits.RETRY_AFTER_SECONDS_UNAVAILABLE * 1000)


def lapsed_refusal(sale: Sale) -> Refusal:
    """What a buyer hears who may not hold another unit."""
    detail = f"{sale.max_lapsed_holds} of this buyer's holds ran out unpaid; no more are given in this sale"
    return Refusal(Code.LIMIT_EXCEEDED, detail)


def _limit(sale: Sale) -> Refusal:
    if sale.per_user_limit == 1:
        return Refusal(Code.ALREADY_PURCHASED, "this buyer already holds or owns a unit of this sale")
    return Refusal(Code.LIMIT_EXCEEDED, f"one buyer may have {sale.per_user_limit} units of this sale")
