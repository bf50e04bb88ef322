"""Known-bad designs, each a reference store with one thing changed. A story has to fail on every one of them.

The names are those of the list of known-bad designs: A1 to A14. Two of that list, A3 and A15, are about a line and wait
for one.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from conformance.ledgers import MemoryLedger
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import (
    KEEPER,
    Ask,
    CommitBatch,
    Committed,
    CommitWord,
    PendingRelease,
    Release,
    Take,
    Taken,
    TakeWord,
)
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.image import Head, Image
from doorbuster.reference.orders import ReferenceOrderStore
from doorbuster.reference.sales import ReferenceSaleStore
from doorbuster.reference.stock import ReferenceStockStore

# ---------------------------------------------------------------------------------------------------- the counter


class UnitsLostInCrashes(ReferenceStockStore):
    """A1: nobody looks for holds that never became orders."""

    async def pending_before(self, sale_id: str, before_ms: int, limit: int) -> Sequence[Hold]:
        del sale_id, before_ms, limit
        return []


class KeysNotKept(ReferenceStockStore):
    """A2: a retry is a new wish."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        self.image(sale_id).keys.clear()
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


class BlindRelease(ReferenceStockStore):
    """A4: INCRBY, whether the hold is there or not."""

    async def release(self, sale_id: str, releases: Sequence[Release], *, epoch: int) -> int | None:
        done = await super().release(sale_id, releases, epoch=epoch)
        image = self.image(sale_id)
        if done is None or image.head is None:
            return done
        blind = len(releases) - done
        image.head.stock += blind
        image.head.held -= blind
        return done + blind


class ReleaseOfAnyEpoch(BlindRelease):
    """A6: and whatever image it was meant for."""

    async def release(self, sale_id: str, releases: Sequence[Release], *, epoch: int) -> int | None:
        head = self.image(sale_id).head
        return await super().release(sale_id, releases, epoch=head.epoch if head else epoch)


class _Remembering(ReferenceStockStore):
    """Knows what it last sold, also when its data are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Head | None = None

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        image = self.image(sale_id)
        if image.head is not None and not image.stock_lost:
            self.last = msgspec.structs.replace(image.head)
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


class StartsAfreshWhenEmpty(_Remembering):
    """A8: a missing counter is set to the quantity on sale (SETNX), holds or no holds."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        if self.image(sale_id).head is None and self.last is not None:
            whole = msgspec.structs.replace(self.last, stock=self.last.available, held=0)
            self._images[sale_id] = Image(head=whole)
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


class SellsWithoutACounter(_Remembering):
    """A10: without an image everybody is let through to the database."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        taken = await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)
        if taken.epoch or self.last is None:
            return taken
        takes = [Take(TakeWord.HELD, ask.hold_id) for ask in asks]
        return msgspec.structs.replace(taken, epoch=self.last.epoch, tick=self.last.tick + 1_000, takes=takes)


class HoldsEndByThemselves(ReferenceStockStore):
    """A11: EXPIRE on the hold key, after the sale's minute: two clocks for one promise."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        image = self.image(sale_id)
        if image.head is not None:
            for hold in list(image.holds.values()):
                if hold.since_ms + 60_000 <= now_ms:
                    image.give_back(image.head, Release(hold_id=hold.hold_id, user_id=hold.user_id))
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


class LimitOfOpenHolds(ReferenceStockStore):
    """A12: nothing but the database knows the limit."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        self.image(sale_id).claims.clear()
        head = self.image(sale_id).head
        if head is not None:
            head.terms = msgspec.structs.replace(head.terms, limit=1_000)
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


# ---------------------------------------------------------------------------------------------------- the ledger


class _Ledger(MemoryLedger):
    """A ledger whose stores can be replaced."""

    orders_by: type[ReferenceOrderStore] = ReferenceOrderStore
    sales_by: type[ReferenceSaleStore] = ReferenceSaleStore

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.orders = self.orders_by(self.rows)
        self.sales = self.sales_by(self.rows)


class _KeysForgotten(ReferenceOrderStore):
    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        self._ledger.keys.clear()
        return await super().commit(batch)


class LedgerForgetsKeys(_Ledger):
    """A2, on the other side."""

    orders_by = _KeysForgotten


class _KeysAge(ReferenceOrderStore):
    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        now = self._ledger.clock.now_ms()
        for place, order_id in list(self._ledger.keys.items()):
            if self._ledger.orders[order_id].reserved_ms + 3_600_000 <= now:
                del self._ledger.keys[place]
        return await super().commit(batch)


class KeysAge(_Ledger):
    """A14: a key is forgotten before its client has stopped to retry."""

    orders_by = _KeysAge


class CounterForgetsOldKeys(ReferenceStockStore):
    """A14, on the other side."""

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        image = self.image(sale_id)
        for place, (hold_id, _) in list(image.keys.items()):
            hold = image.holds.get(hold_id)
            if hold is not None and hold.since_ms + 3_600_000 <= now_ms:
                del image.keys[place]
        return await super().take(sale_id, asks, now_ms=now_ms, epoch_min=epoch_min)


class _ClosesAnything(ReferenceOrderStore):
    async def expire_due(self, *, limit: int) -> int:
        now = self._ledger.clock.now_ms()
        due = [order for order in self._ledger.orders.values() if order.expires_ms <= now]
        due = [order for order in due if order.status is OrderStatus.RESERVED]
        await asyncio.sleep(0)  # between the select and the update
        for order in due[:limit]:  # A13: the state is not looked at again
            self._ledger.orders[order.order_id] = msgspec.structs.replace(order, payment=None)
            self._ledger.close([order], OrderStatus.EXPIRED)
        return len(due)


class SweepersRestoreTwice(_Ledger):
    """A4, A13: two sweepers take one order, because the state is not looked at again."""

    orders_by = _ClosesAnything


class _EndsWhatIsPaidFor(ReferenceOrderStore):
    async def expire_due(self, *, limit: int) -> int:
        for order in self._ledger.orders_of(next(iter(self._ledger.sales)), OrderStatus.RESERVED):
            self._ledger.show_payment(order.order_id, None)
        return await super().expire_due(limit=limit)


class ExpiryIgnoresPayments(_Ledger):
    """A5: the sweeper restores a unit whose money is on the way."""

    orders_by = _EndsWhatIsPaidFor


class _AnyEpoch(ReferenceOrderStore):
    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        sale = self._ledger.sales.get(batch.sale_id)
        return await super().commit(msgspec.structs.replace(batch, epoch=sale.epoch if sale else 0))


class CommitsOfAnyEpoch(_Ledger):
    """A7: what was taken under a dead epoch becomes an order."""

    orders_by = _AnyEpoch


class _KeepsReleases(ReferenceSaleStore):
    async def raise_epoch(self, sale_id: str, seen: int, reason: str, by: str = KEEPER) -> int | None:
        kept = dict(self._ledger.releases)
        epoch = await super().raise_epoch(sale_id, seen, reason, by)
        self._ledger.releases.update(kept)
        return epoch


class ReleasesOutliveTheirEpoch(_Ledger):
    """A6: a release that the new image has counted is applied to it."""

    sales_by = _KeepsReleases


class _NoGuard(ReferenceOrderStore):
    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        sale = self._ledger.sales[batch.sale_id]
        self._ledger.sales[batch.sale_id] = msgspec.structs.replace(sale, quantity_available=1_000)
        answers = await super().commit(batch)
        after = self._ledger.sales[batch.sale_id]
        self._ledger.sales[batch.sale_id] = msgspec.structs.replace(after, quantity_available=sale.quantity_available)
        return answers


class LedgerBelievesTheCounter(_Ledger):
    """A9: the counter said there was a unit, so there is one."""

    orders_by = _NoGuard


class _CountsFirst(ReferenceOrderStore):
    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        allowed = self._ledger.allowances[batch.sale_id].copy()
        answers: list[Committed] = []
        for hold in batch.holds:
            self._ledger.allowances[batch.sale_id].update(allowed - self._ledger.allowances[batch.sale_id])
            before = self._ledger.allowances[batch.sale_id][hold.user_id]
            self._ledger.allowances[batch.sale_id][hold.user_id] = allowed[hold.user_id]  # counted before the others
            [answer] = await super().commit(msgspec.structs.replace(batch, holds=[hold]))
            fresh = answer.word is CommitWord.COMMITTED
            self._ledger.allowances[batch.sale_id][hold.user_id] = before + (hold.quantity if fresh else 0)
            answers.append(answer)
        return answers


class LimitIsCountedFirst(_Ledger):
    """A12: SELECT count(*), then INSERT: two tabs pass."""

    orders_by = _CountsFirst


class _TombstonesLast(ReferenceOrderStore):
    async def tombstone(self, sale_id: str, holds: Sequence[Hold]) -> Sequence[str]:
        """Releases what has no order, and leaves no mark."""
        before = set(self._ledger.orders)
        exist = await super().tombstone(sale_id, holds)
        for order_id in self._ledger.orders.keys() - before:
            del self._ledger.orders[order_id]
        return exist


class SweepLeavesNoTombstone(_Ledger):
    """R7 without its first half: a committer that wakes up finds nothing in its way (C11)."""

    orders_by = _TombstonesLast


class _ReleasesLost(ReferenceOrderStore):
    async def pending_releases(self, *, limit: int) -> Sequence[PendingRelease]:
        rows = await super().pending_releases(limit=limit)
        await self.releases_done([row.release_id for row in rows])
        return []


class ReleasesAreDoneFirst(_Ledger):
    """The outbox row is closed before the counter has the units (C14)."""

    orders_by = _ReleasesLost


class _EndsEarly(ReferenceOrderStore):
    async def expire_due(self, *, limit: int) -> int:
        for order in self._ledger.orders.values():
            self._ledger.orders[order.order_id] = _earlier(order)
        return await super().expire_due(limit=limit)


def _earlier(order: Order) -> Order:
    return msgspec.structs.replace(order, expires_ms=order.expires_ms - 2_000)


class ExpiryIsEarly(_Ledger):
    """I11: a worker whose clock is ahead ends holds before the time that was shown."""

    orders_by = _EndsEarly


class Planted(NamedTuple):
    """A bug: which side has it, and a story that cannot end well with it."""

    story: str
    stock: type[ReferenceStockStore] = ReferenceStockStore
    ledger: type[MemoryLedger] = MemoryLedger


PLANTED: dict[str, Planted] = {
    "A1": Planted("18-gate-dies-with-a-hold", stock=UnitsLostInCrashes),
    "A2 counter": Planted("35-idempotency", stock=KeysNotKept),
    "A2 ledger": Planted("35-idempotency", stock=KeysNotKept, ledger=LedgerForgetsKeys),
    "A4 counter": Planted("09-relay-dies-halfway", stock=BlindRelease),
    "A4 ledger": Planted("09-given-back-once", ledger=SweepersRestoreTwice),
    "A5": Planted("07-money-in-time-keeps-its-unit", ledger=ExpiryIgnoresPayments),
    "A6": Planted("09-release-of-nothing", stock=ReleaseOfAnyEpoch, ledger=ReleasesOutliveTheirEpoch),
    "A7": Planted("11-intents-in-flight", ledger=CommitsOfAnyEpoch),
    "A8": Planted("11-counter-lost", stock=StartsAfreshWhenEmpty),
    "A9": Planted("11-counter-thrown-back", ledger=LedgerBelievesTheCounter),
    "A10": Planted("11-counter-lost", stock=SellsWithoutACounter),
    "A11": Planted("07-money-in-time-keeps-its-unit", stock=HoldsEndByThemselves),
    "A12": Planted("12-limit", stock=LimitOfOpenHolds, ledger=LimitIsCountedFirst),
    "A13": Planted("09-given-back-once", ledger=SweepersRestoreTwice),
    "A14": Planted("35-keys-do-not-age", stock=CounterForgetsOldKeys, ledger=KeysAge),
    "C11": Planted("18-paused-gate-wakes-up", ledger=SweepLeavesNoTombstone),
    "C14": Planted("16-no-sticky-sold-out", ledger=ReleasesAreDoneFirst),
    "I11": Planted("19-abandoned-holds-return", ledger=ExpiryIsEarly),
}
