"""Sales in PostgreSQL: their terms, their status, their epoch.

Owns: the sale store. Keeps: I12 (an epoch is raised by compare-and-set), I13 (statuses move along the arrows), I15.
The arrows come from `domain/transitions.py` with every call; SQL only checks them under the lock.
Read next: `migrations/sql/0001_sales.sql`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg

from doorbuster.adapters.postgres import failures
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id, json_of, sale_of
from doorbuster.domain.order import Hold
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import SALE_ARROWS, SaleStatus
from doorbuster.engine.image import ImageChunk, LineRow, SpentRow
from doorbuster.engine.ports import (
    KEEPER,
    Actor,
)

_SQL: Final = load("sales.sql")
_AFTER_ALL: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_CHUNK_TIMEOUT_S: Final = 60.0
"""One chunk of an image: milliseconds, unless the disk is very busy."""


class PostgresSaleStore:
    """The engine's SaleStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, sale_id: str, terms: SaleTerms, actor: Actor, *, now_ms: int | None = None) -> Sale:
        """Idempotent: a second call with the same id returns the sale of the first."""
        [row] = await self._database.write(_SQL["create"], sale_id, json_of(terms), actor.name, actor.reason, now_ms)
        return sale_of(row)

    async def get(self, sale_id: str) -> Sale | None:
        if not is_id(sale_id):
            return None
        row = await self._database.fetchrow(_SQL["get"], sale_id)
        return None if row is None else sale_of(row)

    async def list_sales(self, *, cursor: str | None, limit: int) -> tuple[Sequence[Sale], str | None]:
        """Newest first. `cursor` is the last sale id of the page before; what is no id finds nothing."""
        before = _AFTER_ALL if cursor is None else cursor
        if not is_id(before):
            return (), None
        rows = await self._database.fetch(_SQL["newest"], before, limit + 1)
        sales = [sale_of(row) for row in rows[:limit]]
        return sales, sales[-1].sale_id if len(rows) > limit else None

    async def live(self) -> Sequence[Sale]:
        return [sale_of(row) for row in await self._database.fetch(_SQL["live"])]

    async def change(self, sale_id: str, terms: SaleTerms, expected: Sale, actor: Actor) -> Sale | Refusal:
        if not is_id(sale_id):
            return _no_sale()
        rows = await self._database.write(
            _SQL["change"],
            sale_id,
            json_of(terms),
            json_of(expected),
            expected.status,
            actor.name,
            actor.reason,
        )
        return _sale_or_refusal(rows)

    async def move(self, sale_id: str, to: SaleStatus, actor: Actor, *, start_now: bool = False) -> Sale | Refusal:
        if not is_id(sale_id):
            return _no_sale()
        arrows_from = [status for status, arrows in SALE_ARROWS.items() if to in arrows]  # I13
        rows = await self._database.write(_SQL["move"], sale_id, to, arrows_from, start_now, actor.name, actor.reason)
        return _sale_or_refusal(rows)

    async def follow_clock(self) -> Sequence[Sale]:
        return [sale_of(row) for row in await self._database.write(_SQL["follow_clock"])]

    async def raise_epoch(self, sale_id: str, seen: int, reason: str, by: str = KEEPER) -> int | None:
        if not is_id(sale_id):
            return None
        [row] = await self._database.write(_SQL["raise_epoch"], sale_id, seen, reason, by)
        return row["epoch"]

    async def request_rebuild(self, sale_id: str, epoch: int, reason: str) -> bool:
        return is_id(sale_id) and bool(await self._database.write(_SQL["request_rebuild"], sale_id, epoch, reason))

    async def image_published(self, sale_id: str, epoch: int, run_id: str) -> bool:
        return is_id(sale_id) and bool(await self._database.write(_SQL["image_published"], sale_id, epoch, run_id))

    async def image_rows(self, sale_id: str, chunk: int) -> AsyncIterator[ImageChunk]:
        if not is_id(sale_id):
            return
        try:
            async with self._database.snapshot() as connection:
                held = await connection.cursor(_SQL["image_holds"], sale_id)
                while rows := await held.fetch(chunk, timeout=_CHUNK_TIMEOUT_S):
                    yield ImageChunk(holds=[_hold_of(row) for row in rows])
                closed = await connection.cursor(_SQL["image_closed"], sale_id)
                while rows := await closed.fetch(chunk, timeout=_CHUNK_TIMEOUT_S):
                    yield ImageChunk(closed_keys=[_hold_of(row) for row in rows])
                blocked = await connection.cursor(_SQL["image_blocked"], sale_id)
                while rows := await blocked.fetch(chunk, timeout=_CHUNK_TIMEOUT_S):
                    yield ImageChunk(blocked=[row["user_id"] for row in rows])
                spent = await connection.cursor(_SQL["image_spent"], sale_id)
                while rows := await spent.fetch(chunk, timeout=_CHUNK_TIMEOUT_S):
                    yield ImageChunk(spent=[SpentRow(row["user_id"], row["number"], row["hold_id"]) for row in rows])
                waiting = await connection.cursor(_SQL["image_line"], sale_id)
                while rows := await waiting.fetch(chunk, timeout=_CHUNK_TIMEOUT_S):
                    yield ImageChunk(line=[LineRow(row["user_id"], row["number"]) for row in rows])
        except failures.FAILED as error:
            raise failures.of_reading(error) from error

    async def set_blocked(
        self, sale_id: str, user_ids: Sequence[str], actor: Actor
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Of a sale that is not there, nobody is added and nobody removed."""
        if not is_id(sale_id):
            return (), ()
        rows = await self._database.write(_SQL["set_blocked"], sale_id, list(user_ids), actor.name, actor.reason)
        return (rows[0]["added"], rows[0]["removed"]) if rows else ((), ())

    async def blocked_count(self, sale_id: str) -> int:
        rows = await self._database.fetch(_SQL["blocked_count"], sale_id) if is_id(sale_id) else ()
        return rows[0]["accounts"] if rows else 0

    async def time_ms(self) -> int:
        [row] = await self._database.fetch(_SQL["time"])
        return row["now_ms"]


def _no_sale() -> Refusal:
    return Refusal(Code.NOT_FOUND, "there is no such sale")


def _sale_or_refusal(rows: Sequence[asyncpg.Record]) -> Sale | Refusal:
    [row] = rows
    match row["word"]:
        case "ok":
            return sale_of(row)
        case "conflict":
            return Refusal(Code.CONFLICT, row["detail"])
        case _:
            return _no_sale()


def _hold_of(row: asyncpg.Record) -> Hold:
    return Hold(
        hold_id=str(row["order_id"]),
        user_id=row["user_id"],
        quantity=row["quantity"],
        key=row["idempotency_key"],
        digest=row["body_digest"],
        since_ms=row["since_ms"],
    )
