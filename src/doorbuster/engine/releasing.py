"""Carries given-back units from the ledger to the stock counter, and finds holds that never became orders (R7, R8).

Owns: the relay of the release outbox and the orphan sweep. Keeps: I2 and I3 (no unit is stranded), I12.
Both may run in any number of processes at once: a release is a compare-and-delete by hold id, a tombstone wins or
loses by one insert. Read next: `ports.OrderStore.tombstone`.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.ports import (
    OrderStore,
    OutcomeUnknown,
    PendingRelease,
    Release,
    SaleStore,
    StockStore,
    StoreUnavailable,
)


class Relayed(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did. `left` releases wait for an image and are tried again."""

    done: int
    units: int
    left: int


class Releaser:
    """Applies pending releases. `run_once` handles one batch; the outbox row is closed only after the image took it,
    so a crash between the two repeats a step that then does nothing (C14, C15)."""

    def __init__(self, sales: SaleStore, orders: OrderStore, stock: StockStore) -> None:
        self._sales = sales
        self._orders = orders
        self._stock = stock

    async def run_once(self) -> Relayed:
        pending = await self._orders.pending_releases(limit=limits.RELEASE_BATCH)
        by_sale: dict[str, list[PendingRelease]] = defaultdict(list)
        for row in pending:
            by_sale[row.sale_id].append(row)
        done = units = 0
        for sale_id, rows in by_sale.items():
            returned = await self._apply(sale_id, rows)
            if returned is not None:
                await self._orders.releases_done([row.release_id for row in rows])
                done += len(rows)
                units += returned
        return Relayed(done=done, units=units, left=len(pending) - done)

    async def run_quietly(self) -> None:
        """One pass beside a request, so that a unit is on sale at once. Nothing is lost where a store does not answer:
        the worker's own passes go on."""
        try:
            await self.run_once()
        except (StoreUnavailable, OutcomeUnknown):
            return

    async def _apply(self, sale_id: str, rows: Sequence[PendingRelease]) -> int | None:
        """Units returned; None when the image cannot take them yet.

        An image newer than a release was written without its hold, an image older than it is about to be replaced:
        only the ledger's present epoch may be written to, and there an unknown hold id does nothing (A6).
        """
        sale = await self._sales.get(sale_id)
        if sale is None:
            return 0
        releases = [Release(hold_id=row.hold_id, user_id=row.user_id, forget_key=row.forget_key) for row in rows]
        returned = await self._stock.release(sale_id, releases, epoch=sale.epoch)
        if returned is None and sale.status in SALE_OVER and await self._stock.summary(sale_id) is None:
            return 0  # the sale is over and its image is gone: nothing is left to give back to
        return returned


class OrphanSweep:
    """Looks at holds that are pending for longer than any honest committer waits (R7).

    Tombstone first, release second: a committer that was paused and wakes up meets the tombstone (C11).
    """

    def __init__(self, orders: OrderStore, stock: StockStore) -> None:
        self._orders = orders
        self._stock = stock

    async def run_once(self, sale: Sale, now_ms: int) -> int:
        """Returns how many holds were settled, one way or the other."""
        before = now_ms - limits.ORPHAN_AGE_MS
        holds = await self._stock.pending_before(sale.sale_id, before, limits.RELEASE_BATCH)
        if not holds:
            return 0
        have_orders = await self._orders.tombstone(sale.sale_id, holds)
        await self._stock.confirm(sale.sale_id, have_orders, epoch=sale.epoch)
        return len(holds)
