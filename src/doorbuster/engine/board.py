"""The sale rows a gate answers from: read from PostgreSQL at most twice a second, whatever the crowd.

Owns: the cache of sales and its age. Keeps: I14 (what is said as final comes from the truth).
When PostgreSQL does not answer, the last rows go on being served: they are hints; decisions are made elsewhere.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from doorbuster.domain import limits
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import Clock, OutcomeUnknown, SaleStore, StoreUnavailable

_KNOWN_MAX = 10_000
_MISSING_MAX = 10_000
_LOADS_AT_ONCE = 4
_MISSING_FOR_S = 1.0
_PATIENCE_S = 1.0
"""How long a read may take before the row that is known is answered with: one that hangs holds up nobody."""


class SaleBoard:
    """`get` is for hot paths and never waits; `look` loads what is not known yet."""

    def __init__(self, sales: SaleStore, clock: Clock, *, patience_s: float = _PATIENCE_S) -> None:
        self._sales = sales
        self._clock = clock
        self._rows: OrderedDict[str, tuple[Sale, float]] = OrderedDict()
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._patience_s = patience_s
        self._loading: dict[str, tuple[asyncio.Future[Sale | None], float]] = {}
        """What is being read, and since when."""
        self._slots = asyncio.Semaphore(_LOADS_AT_ONCE)
        self._fresh_at = float("-inf")
        self._live: Sequence[Sale] = ()

    def get(self, sale_id: str) -> Sale | None:
        """The row if it is known and fresh enough to answer from, else None (then `look`)."""
        found = self._rows.get(sale_id)
        if found is None or self._clock.monotonic() - found[1] > limits.SNAPSHOT_INTERVAL_MS / 1000 * 2:
            return None
        return found[0]

    async def look(self, sale_id: str) -> Sale | None:
        """The row, loaded if need be; None if there is no such sale. A row that PostgreSQL cannot refresh, or
        not soon, is served as it was; one never seen raises StoreUnavailable."""
        row = self.get(sale_id)
        if row is not None:
            return row
        missing_until = self._missing.get(sale_id)
        if missing_until is not None and missing_until > self._clock.monotonic():
            return None
        if sale_id not in self._loading:
            future = asyncio.ensure_future(self._load(sale_id))
            self._loading[sale_id] = future, self._clock.monotonic()
            future.add_done_callback(lambda _: self._loading.pop(sale_id, None))
        future, begun = self._loading[sale_id]
        stale = self._rows.get(sale_id)
        if stale is not None:
            await asyncio.wait({future}, timeout=max(0.0, begun + self._patience_s - self._clock.monotonic()))
            if not future.done():
                return stale[0]
        return await asyncio.shield(future)  # one buyer who leaves does not take the row from the others

    async def _load(self, sale_id: str) -> Sale | None:
        async with self._slots:
            try:
                row = await self._sales.get(sale_id)
            except (StoreUnavailable, OutcomeUnknown):
                stale = self._rows.get(sale_id)
                if stale is None:
                    raise
                return stale[0]
        if row is None:
            self._missing[sale_id] = self._clock.monotonic() + _MISSING_FOR_S
            while len(self._missing) > _MISSING_MAX:
                self._missing.popitem(last=False)
            return None
        self.put(row)
        return row

    def put(self, sale: Sale) -> None:
        """Take a row that was just read or written."""
        known = self._rows.get(sale.sale_id)
        if known is not None and known[0].updated_ms > sale.updated_ms:
            return
        self._rows[sale.sale_id] = (sale, self._clock.monotonic())
        self._rows.move_to_end(sale.sale_id)
        self._missing.pop(sale.sale_id, None)
        while len(self._rows) > _KNOWN_MAX:
            self._rows.popitem(last=False)

    async def refresh(self) -> int:
        """Read all live sales again; the gate calls this every SNAPSHOT_INTERVAL_MS. Returns how many there are."""
        rows = await self._sales.live()
        for row in rows:
            self.put(row)
        self._live = rows
        self._fresh_at = self._clock.monotonic()
        return len(rows)

    def live_rows(self) -> Sequence[Sale]:
        """The rows of the last refresh."""
        return self._live

    @property
    def age_s(self) -> float:
        """Seconds since the last refresh that worked; infinite before the first."""
        return self._clock.monotonic() - self._fresh_at
