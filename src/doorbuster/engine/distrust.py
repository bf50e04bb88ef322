"""Remembers which images this process no longer believes, and asks for a rebuild (the reaction to divergence).

Owns: the note per sale, the highest tick seen of each image, and the one request per epoch.
Keeps: I1 and I12 (an image in doubt decides nothing).
"""

import asyncio

from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import OutcomeUnknown, SaleStore, StoreUnavailable


class Distrust:
    """`note` is called wherever something cannot be right; `refuses` is asked before an image is acted on."""

    def __init__(self, sales: SaleStore) -> None:
        self._sales = sales
        self._epochs: dict[str, int] = {}
        self._ticks: dict[str, tuple[int, int]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self.noted = 0

    def refuses(self, sale: Sale, image_epoch: int) -> bool:
        """Whether an image of this epoch may not be acted on: doubted here, or by anyone who told the ledger."""
        if self._epochs.get(sale.sale_id, 0) >= image_epoch:
            return True
        return bool(sale.rebuild_reason) and sale.epoch >= image_epoch

    def gone_back(self, sale_id: str, image_epoch: int, tick: int) -> bool:
        """Whether this answer comes from an older image than one before it. Answers of one connection arrive in the
        order of execution, so a lower epoch or tick is a store thrown back (S1)."""
        seen = self._ticks.get(sale_id)
        now = (image_epoch, tick)
        if seen is not None and now < seen:
            return True
        if now != seen:
            self._ticks[sale_id] = now
        return False

    def note(self, sale_id: str, image_epoch: int, reason: str) -> None:
        """Doubt this image from now on and ask for a rebuild, once per epoch."""
        if self._epochs.get(sale_id, 0) >= image_epoch:
            return
        self._epochs[sale_id] = image_epoch
        self.noted += 1
        task = asyncio.get_running_loop().create_task(self._ask(sale_id, image_epoch, reason))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, sale_id: str, image_epoch: int, reason: str) -> None:
        try:
            await self._sales.request_rebuild(sale_id, image_epoch, reason)
        except (StoreUnavailable, OutcomeUnknown):
            # Forgotten on purpose: the next sign of the same divergence asks again.
            if self._epochs.get(sale_id) == image_epoch:
                del self._epochs[sale_id]
