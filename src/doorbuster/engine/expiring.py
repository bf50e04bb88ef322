"""Ends holds whose time is over (R8).

Owns: the pace of expiry. Keeps: I11 (never before `expires_at`, by the database's clock), I3 (units come back).
Two at once are safe: the ledger skips rows another has locked and repeats the state guard outside the sub-select.
"""

from doorbuster.domain import limits
from doorbuster.engine.ports import OrderStore


class Expirer:
    """`run_once` expires everything that is due and returns how many orders it ended."""

    def __init__(self, orders: OrderStore) -> None:
        self._orders = orders

    async def run_once(self) -> int:
        total = 0
        while True:
            expired = await self._orders.expire_due(limit=limits.EXPIRY_BATCH)
            total += expired
            if expired < limits.EXPIRY_BATCH:
                return total
