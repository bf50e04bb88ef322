"""Orders of sales that charge by themselves, and stored methods: implements `engine.money_ports.ChargeStore`.

Owns: nothing but the calls; the rules are in `migrations/sql/0005_payments.sql` and `0005_money.sql`.
"""

from collections.abc import Sequence
from typing import Final

from doorbuster.adapters.postgres import queries
from doorbuster.adapters.postgres.pool import Database
from doorbuster.engine.money_ports import DueCharge

_SQL: Final = queries.load("charges.sql")


class PostgresChargeStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def due_charges(self, *, limit: int) -> Sequence[DueCharge]:
        return [
            DueCharge(order_id=str(row["order_id"]), user_id=row["user_id"], method=row["method"], tries=row["tries"])
            for row in await self._database.fetch(_SQL["due"], limit)
        ]

    async def cancel_uncharged(self, *, limit: int) -> int:
        [row] = await self._database.write(_SQL["cancel_uncharged"], limit)
        return row["cancelled"]

    async def extend_uncharged(self, *, limit: int) -> int:
        [row] = await self._database.write(_SQL["extend_uncharged"], limit)
        return row["extended"]

    async def store_method(self, user_id: str, payment_method: str) -> None:
        await self._database.write(_SQL["store_method"], user_id, payment_method)

    async def forget_method(self, user_id: str) -> None:
        await self._database.write(_SQL["forget_method"], user_id)
