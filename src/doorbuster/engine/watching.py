"""What a gate knows of every line that moves, read once a second whatever the crowd.

Owns: the pulse of a sale (how its holds end), the length of its line, the estimate of its pace.
Keeps: I14 by what it feeds. When a store does not answer, the last numbers stay, and their age is told with them.
"""

import msgspec

from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.domain.waiting import PaceEstimate
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.line_ports import LineLedger, Pulse
from doorbuster.engine.ports import Clock, OutcomeUnknown, StockStore, StoreUnavailable


class LineNow(msgspec.Struct):
    """The last numbers of one line. `pulse` is None until the ledger was asked."""

    pulse: Pulse | None = None
    waiting: int = 0
    pace: PaceEstimate = msgspec.field(default_factory=PaceEstimate)


class LineWatch:
    """One per gate; `refresh` once a second."""

    def __init__(self, board: SaleBoard, ledger: LineLedger, stock: StockStore, clock: Clock) -> None:
        self._board = board
        self._ledger = ledger
        self._stock = stock
        self._clock = clock
        self._lines: dict[str, LineNow] = {}

    def now(self, sale_id: str) -> LineNow:
        """The last numbers; empty ones of a sale that is not watched."""
        return self._lines.get(sale_id) or _NOTHING

    def waiting(self, sale: Sale) -> int:
        """The length of the line for everybody to see; nobody waits in a sale that is over."""
        return 0 if sale.status in SALE_OVER else self.now(sale.sale_id).waiting

    async def refresh(self) -> int:
        """Read every line that is there. Returns how many. May raise StoreUnavailable or OutcomeUnknown."""
        rows = [sale for sale in self._board.live_rows() if sale.mode is not SaleMode.RACE and self._begun(sale)]
        known = {sale.sale_id for sale in rows}
        self._lines = {sale_id: line for sale_id, line in self._lines.items() if sale_id in known}
        for sale in rows:
            await self._look(sale)
        return len(rows)

    def _begun(self, sale: Sale) -> bool:
        return sale.mode is SaleMode.DRAW or sale.start_ms <= self._clock.now_ms()

    async def _look(self, sale: Sale) -> None:
        line = self._lines.setdefault(sale.sale_id, LineNow())
        line.pulse = await self._ledger.pulse(sale.sale_id) or line.pulse
        if line.pulse is not None:
            free = sale.quantity_available - sale.quantity_sold
            line.pace.feed(line.pulse, free=free, held=sale.quantity_sold - sale.quantity_paid)
        if sale.mode is SaleMode.DRAW and sale.draw_size is None:
            line.waiting = line.pulse.entered if line.pulse is not None else 0
            return
        try:
            image = await self._stock.summary(sale.sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return
        if image is not None and image.epoch == sale.epoch:
            line.waiting = image.waiting


_NOTHING = LineNow()
