"""What PostgreSQL remembers of lines: implements `engine.line_ports.LineLedger`.

Owns: which statement belongs to which method. Keeps: I10 (numbers and marks), I11 (a claim), in the functions it calls.
Read next: `migrations/sql/0003_line.sql`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id, is_text
from doorbuster.engine.line_ports import Pulse, SealingKey

_SQL: Final = load("lines.sql")
_CHUNK: Final = 2_000


class PostgresLineLedger:
    """The engine's LineLedger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve_numbers(self, sale_id: str, count: int, *, epoch: int) -> tuple[int, int] | None:
        if not is_id(sale_id):
            return None
        rows = await self._database.write(_SQL["reserve_numbers"], sale_id, count, epoch)
        return (rows[0]["before"], rows[0]["after"]) if rows else None

    async def note_left(self, sale_id: str, user_id: str, number: int) -> None:
        if is_id(sale_id) and is_text(user_id):  # nobody else can have had a number
            await self._database.write(_SQL["note_left"], sale_id, user_id, number)

    async def end_line(self, sale_id: str) -> int | None:
        if not is_id(sale_id):
            return None
        [row] = await self._database.write(_SQL["end_line"], sale_id)
        return row["number"]

    async def claim(self, order_ids: Sequence[str]) -> None:
        ids = [order_id for order_id in order_ids if is_id(order_id)]
        if ids:
            await self._database.write(_SQL["claim"], ids)

    async def expire_unclaimed(self, *, limit: int) -> int:
        """One transaction per sale, so that no sale waits for another's lock."""
        expired = 0
        for due in await self._database.fetch(_SQL["sales_with_unclaimed"]):
            if expired >= limit:
                break
            [row] = await self._database.write(_SQL["expire_unclaimed"], due["sale_id"], limit - expired)
            expired += row["expired"]
        return expired

    async def order_of(self, sale_id: str, user_id: str) -> str | None:
        if not is_id(sale_id) or not is_text(user_id):
            return None
        row = await self._database.fetchrow(_SQL["order_of"], sale_id, user_id)
        return None if row is None else str(row["order_id"])

    async def lapsed_holds(self, sale_id: str, user_id: str) -> int:
        if not is_id(sale_id) or not is_text(user_id):
            return 0
        row = await self._database.fetchrow(_SQL["lapsed_holds"], sale_id, user_id)
        return 0 if row is None else row["lapsed_holds"]

    async def pulse(self, sale_id: str) -> Pulse | None:
        if not is_id(sale_id):
            return None
        row = await self._database.fetchrow(_SQL["pulse"], sale_id)
        return None if row is None else Pulse(**dict(row.items()))

    async def sealing_keys(self) -> Sequence[SealingKey]:
        rows = await self._database.fetch(_SQL["sealing_keys"])
        if not rows:
            await self._database.write(_SQL["make_sealing_key"])
            rows = await self._database.fetch(_SQL["sealing_keys"])
        return [SealingKey(row["key_id"], row["secret"]) for row in rows]

    async def grants(self, sale_id: str) -> AsyncIterator[Sequence[tuple[int, int, int]]]:
        """In chunks, not in one snapshot: the log only grows, so what was read stays true."""
        after_seq = 0
        while is_id(sale_id) and (rows := await self._database.fetch(_SQL["grants"], sale_id, after_seq, _CHUNK)):
            yield [(row["seq"], row["line_number"], row["at_ms"]) for row in rows]
            after_seq = rows[-1]["seq"]
