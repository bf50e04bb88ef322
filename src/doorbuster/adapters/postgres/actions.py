"""What was done to sales, in PostgreSQL: implements `engine.actions.ActionStore`.

Owns: the reading; the functions of the ledger write. Read next: `migrations/sql/0001_sales.sql`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.engine.actions import Action
from doorbuster.engine.ports import Actor

_SQL: Final = load("actions.sql")


class PostgresActions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def actions(self, sale_id: str, *, before: int | None, limit: int) -> Sequence[Action]:
        if not is_id(sale_id):
            return ()
        return [
            Action(
                action_id=row["action_id"],
                sale_id=str(row["sale_id"]),
                what=row["action"],
                actor=Actor(name=row["actor"], reason=row["reason"]),
                at_ms=row["at_ms"],
                detail=msgspec.json.decode(row["detail"]),
            )
            for row in await self._database.fetch(_SQL["actions"], sale_id, before, limit)
        ]
