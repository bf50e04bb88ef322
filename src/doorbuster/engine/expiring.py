"""Ends holds whose time is over (R8).

Owns: the pace of expiry. Keeps: I11 (never before `expires_at`, by the database's clock), I3 (units come back).
Two at once are safe: the ledger skips rows another has locked and repeats the state guard outside the sub-select.
"""

from doorbuster.domain import limits
from doorbuster.engine.line_ports import LineLedger
from doorbuster.engine.ports import OrderStore


class Expirer:
    """`run_once` expires everything that is due and returns how many orders it ended."""

    def __init__(self, orders: OrderStore, ledger: LineLedger | None = None) -> None:
        self._orders = orders
        self._ledger = ledger

    async def run_once(self) -> int:
        total = 0
        while True:
            expired = await self._orders.expire_due(limit=limits.EXPIRY_BATCH)
            total += expired
            if expired < limits.EXPIRY_BATCH:
                return total + await self._unclaimed()

    async def _unclaimed(self) -> int:
        """Grants whose buyer was never seen within the sale's claim window. They were shown no `expires_at` (I11)."""
        total = 0
        while self._ledger is not None:
            expired = await self._ledger.expire_unclaimed(limit=limits.EXPIRY_BATCH)
            total += expired
            if expired < limits.EXPIRY_BATCH:
                break
        return total
