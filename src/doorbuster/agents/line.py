"""The agents that move a line: the admitter, the keeper of numbers and of the end, the drawer.

Owns: how often each looks, and the list of lines they look at. Everything they do is in `engine/`; two workers at once
are safe (I10). Read next: `engine/granting.py`.
"""

from collections.abc import Callable, Sequence

import structlog

from doorbuster.agents.loop import Counts
from doorbuster.domain import limits
from doorbuster.domain.place import nothing_comes_back
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.granting import Admitter, LineKeeper, may_move
from doorbuster.engine.ports import Clock, SaleStore, StockStore
from doorbuster.engine.rebuilding import Rebuilder

log = structlog.get_logger(__name__)

_ROWS_AGE_S = 0.04
"""The rows of the sales may be this old: the function and the ledger decide, a row only says where to look. One read
for each pass of the admitter, whatever the number of lines."""


class Lines:
    """The live sales that have a line, read a few times a second and shared by the agents."""

    def __init__(self, sales: SaleStore, clock: Clock) -> None:
        self._sales = sales
        self._clock = clock
        self._rows: Sequence[Sale] = ()
        self._read_at = float("-inf")

    async def rows(self) -> Sequence[Sale]:
        if self._clock.monotonic() - self._read_at > _ROWS_AGE_S:
            self._rows = [sale for sale in await self._sales.live() if sale.mode is not SaleMode.RACE]
            self._read_at = self._clock.monotonic()
        return self._rows

    def forget(self) -> None:
        """Read anew at the next look: something has just changed."""
        self._read_at = float("-inf")


class AdmitterAgent:
    """Gives units that are free to the heads of all lines."""

    name = "admitter"
    interval_s = limits.GRANT_INTERVAL_MS / 1000

    def __init__(self, lines: Lines, admitter: Admitter) -> None:
        self._lines = lines
        self._admitter = admitter

    async def run_once(self, now_ms: int) -> Counts:
        counts = {"granted": 0, "dropped": 0, "more": 0}
        for sale in await self._lines.rows():
            if not may_move(sale, now_ms):
                continue
            done = await self._admitter.run_once(sale)
            counts["granted"] += done.granted
            counts["dropped"] += done.dropped
            counts["more"] += done.more
        return counts


class LineKeeperAgent:
    """Keeps numbers ahead of the joiners, and ends lines that wait for nothing."""

    name = "line keeper"
    interval_s = 0.25

    def __init__(self, lines: Lines, stock: StockStore, keeper: LineKeeper) -> None:
        self._lines = lines
        self._stock = stock
        self._keeper = keeper

    async def run_once(self, now_ms: int) -> Counts:
        counts = {"issued": 0, "ended": 0}
        for sale in await self._lines.rows():
            image = await self._stock.summary(sale.sale_id)
            if image is None or image.epoch != sale.epoch or image.line is None:
                continue
            if nothing_comes_back(sale, now_ms):
                if image.waiting:
                    counts["ended"] += await self._keeper.end_if_over(sale)
            elif image.line.number_high and sale.status not in SALE_OVER:
                counts["issued"] += await self._keeper.issue(sale, image.line.number_next, image.line.number_high)
        return counts


class DrawerAgent:
    """Holds the draws whose time has come, and has their order written into the line."""

    name = "drawer"

    def __init__(
        self,
        *,
        lines: Lines,
        sales: SaleStore,
        drawing: Drawing,
        rebuilder: Rebuilder,
        wake: Callable[[str], None],
    ) -> None:
        self._lines = lines
        self._sales = sales
        self._drawing = drawing
        self._rebuilder = rebuilder
        self._wake = wake
        self._pause_s = limits.GRANT_INTERVAL_MS / 1000

    @property
    def interval_s(self) -> float:
        """Short before the T-0 of a draw, so that nobody waits for the next look."""
        return self._pause_s

    async def run_once(self, now_ms: int) -> Counts:
        drawn = 0
        self._pause_s = limits.GRANT_INTERVAL_MS / 1000
        for row in await self._lines.rows():
            open_draw = row.mode is SaleMode.DRAW and row.drawn_ms is None
            due = open_draw and row.start_ms <= now_ms
            if open_draw and not due:
                self._pause_s = min(self._pause_s, (row.start_ms - now_ms + 1) / 1000)
            if not due or row.status in SALE_OVER or not await self._drawing.run_once(row):
                continue
            drawn += 1
            sale = await self._sales.get(row.sale_id)
            # Whoever stored the order asked for a new image with it; another worker may have built it by now.
            if sale is not None and sale.rebuild_reason:
                log.info("draw held", sale_id=sale.sale_id, entries=sale.draw_size)
                await self._rebuilder.rebuild(sale, "the draw was held")
            self._lines.forget()
            self._wake(AdmitterAgent.name)
        return {"drawn": drawn}
