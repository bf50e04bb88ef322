"""The ledger's side of a reconciliation: implements `engine.money_ports.BalanceStore`.

Owns: nothing but the calls. Read next: `engine/reconciling.py`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from doorbuster.adapters.postgres import queries
from doorbuster.adapters.postgres.payments import attempt_of
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain.balance import Break, Reconciliation
from doorbuster.domain.payment import Attempt
from doorbuster.engine.ports import Actor

_SQL: Final = queries.load("balance.sql")
_CHUNK: Final = 5_000
_BEFORE_ALL: Final = "00000000-0000-0000-0000-000000000000"


class PostgresBalanceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def attempts_of(self, sale_id: str, gateway: str) -> AsyncIterator[Sequence[Attempt]]:
        after = _BEFORE_ALL
        while is_id(sale_id) and (
            rows := await self._database.fetch(_SQL["attempts_of"], sale_id, gateway, after, _CHUNK)
        ):
            yield [attempt_of(row) for row in rows]
            after = str(rows[-1]["attempt_id"])

    async def by_keys(self, keys: Sequence[str]) -> Sequence[Attempt]:
        found: list[Attempt] = []
        for start in range(0, len(keys), _CHUNK):
            rows = await self._database.fetch(_SQL["by_keys"], list(keys[start : start + _CHUNK]))
            found += [attempt_of(row) for row in rows]
        return found

    async def paid(self, sale_id: str) -> tuple[int, int]:
        if not is_id(sale_id):
            return 0, 0
        [row] = await self._database.fetch(_SQL["paid"], sale_id)
        return row["orders"], row["cents"]

    async def record(self, found: Reconciliation, actor: Actor) -> None:
        await self._database.write(
            _SQL["record"],
            found.sale_id,
            found.gateway,
            found.at_ms,
            actor.name,
            actor.reason,
            found.verdict.value,
            msgspec.json.encode(found).decode(),
            msgspec.json.encode(found.breaks).decode(),
        )

    async def note(self, sale_id: str, gateway: str, found: Break) -> None:
        await self._database.write(_SQL["note"], sale_id, gateway, msgspec.json.encode([found]).decode())

    async def latest(self, sale_id: str) -> Reconciliation | None:
        if not is_id(sale_id):
            return None
        row = await self._database.fetchrow(_SQL["latest"], sale_id)
        return None if row is None else msgspec.json.decode(row["report"], type=Reconciliation)

    async def wanting(self, gateway: str, before_ms: int) -> Sequence[str]:
        return [str(row["sale_id"]) for row in await self._database.fetch(_SQL["wanting"], gateway, before_ms)]

    async def quarantined(self) -> int:
        [row] = await self._database.fetch(_SQL["quarantined"])
        return row["attempts"]
