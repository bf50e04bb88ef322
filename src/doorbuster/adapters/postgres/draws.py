"""Draws in PostgreSQL: implements `engine.line_ports.DrawLedger`.

Owns: which statement belongs to which method, and what of a call cannot even be sent. Keeps: I10, in the functions it
calls: an entry is on the list exactly if it was answered so, and what was published does not change.
Read next: `migrations/sql/0004_draw.sql`.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from doorbuster.adapters.postgres import failures
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain import limits
from doorbuster.engine.line_ports import DrawRecord, Entry, EntryWord
from doorbuster.engine.ports import StoreUnavailable

_SQL: Final = load("draws.sql")
_LIST_TIMEOUT_S: Final = 60.0
"""Five million ids are read in seconds, unless the disk is very busy."""


class PostgresDrawLedger:
    """The engine's DrawLedger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry]:
        if not is_id(sale_id):
            return [Entry(EntryWord.NO_SALE)] * len(user_ids)
        named = [user_id for user_id in user_ids if _can_be_stored(user_id)]
        rows = iter(await self._database.write(_SQL["enter"], sale_id, named))
        # Sometimes a name cannot even be sent; it must not sink its batch.
        return [_entry(next(rows)) if _can_be_stored(user_id) else Entry(EntryWord.BLOCKED) for user_id in user_ids]

    async def entered(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry | None]:
        if not is_id(sale_id):
            return [None] * len(user_ids)
        named = [user_id if _can_be_stored(user_id) else "" for user_id in user_ids]
        rows = await self._database.fetch(_SQL["entered"], sale_id, named)
        return [
            None if row["entry_id"] is None else Entry(EntryWord.ENTERED, row["entry_id"].hex(), row["entered_ms"])
            for row in rows
        ]

    async def withdraw(self, sale_id: str, user_id: str) -> bool:
        if not is_id(sale_id) or not _can_be_stored(user_id):
            return True
        [row] = await self._database.write(_SQL["withdraw"], sale_id, user_id)
        return row["withdrawn"]

    async def record(self, sale_id: str) -> DrawRecord | None:
        if not is_id(sale_id):
            return None
        row = await self._database.fetchrow(_SQL["record"], sale_id)
        return None if row is None else _record(row)

    async def entry_count(self, sale_id: str) -> int:
        if not is_id(sale_id):
            return 0
        row = await self._database.fetchrow(_SQL["entry_count"], sale_id)
        return 0 if row is None else row["entries"]

    async def close(self, sale_id: str) -> DrawRecord | None:
        if not is_id(sale_id):
            return None
        rows = await self._database.write(_SQL["close"], sale_id)
        return _record(rows[0]) if rows else None

    async def entry_ids(self, sale_id: str) -> bytes:
        if not is_id(sale_id):
            return b""
        try:
            async with self._database.snapshot() as connection:
                entries = await connection.fetchval(_SQL["entry_ids"], sale_id, timeout=_LIST_TIMEOUT_S)
        except failures.FAILED as error:
            raise failures.of_reading(error) from error
        return entries or b""

    async def store_root(self, sale_id: str, root: bytes) -> DrawRecord:
        rows = await self._database.write(_SQL["store_root"], sale_id, root)
        return _stored(rows, "root")

    async def store_order(
        self, sale_id: str, *, beacon_value: str | None, beacon_note: str, ranks: bytes
    ) -> DrawRecord:
        rows = await self._database.write(_SQL["store_order"], sale_id, beacon_value, beacon_note, ranks)
        return _stored(rows, "ranks")


def _stored(rows: Sequence[asyncpg.Record], column: str) -> DrawRecord:
    if not rows or rows[0][column] is None:
        raise StoreUnavailable(f"the {column} of a draw was not taken: the step before it is missing, or it is no draw")
    return _record(rows[0])


def _entry(row: asyncpg.Record) -> Entry:
    word = EntryWord(row["word"])
    return Entry(word) if row["entry_id"] is None else Entry(word, row["entry_id"].hex(), row["entered_ms"])


def _record(row: asyncpg.Record) -> DrawRecord:
    return DrawRecord(
        sale_id=str(row["sale_id"]),
        commitment=row["commitment"],
        rules=row["rules"],
        seed=row["seed"],
        entry_secret=row["entry_secret"],
        closed_ms=row["closed_ms"],
        size=row["size"],
        removed=[entry.hex() for entry in row["removed"]],
        root=row["root"],
        beacon_value=row["beacon_value"],
        beacon_note=row["beacon_note"],
        drawn_ms=row["drawn_ms"],
        ranks=row["ranks"],
    )


def _can_be_stored(user_id: str) -> bool:
    """Whether PostgreSQL can hold it: of the right length, no zero character, nothing that is not Unicode."""
    return (
        0 < len(user_id) <= limits.USER_ID_LENGTH_MAX
        and "\0" not in user_id
        and not any("\ud800" <= character <= "\udfff" for character in user_id)
    )
