"""Rehearsals in PostgreSQL: implements `engine.rehearsal_ports.RehearsalStore`.

Owns: which statement belongs to which method. Read next: `migrations/sql/0013_rehearsal.sql`.
"""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import msgspec

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id, json_of, sale_of
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import CLEAR_MS, GIVE_WAY_MS, Counted, Sheet, Wish
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.engine.ports import Actor
from doorbuster.engine.rehearsal_ports import LEASE_MS, Claimed, Rehearsal, RehearsalState

_SQL: Final = load("rehearsals.sql")


class PostgresRehearsals:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, rehearsal_id: str, sale_id: str, wish: Wish, actor: Actor) -> Rehearsal | Refusal:
        if not is_id(sale_id):
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        text = msgspec.json.encode(wish).decode()
        [row] = await self._database.write(
            _SQL["ask"], rehearsal_id, sale_id, text, wish.forced, CLEAR_MS, actor.name, actor.reason
        )
        if row["word"] == "not-found":
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        if row["word"] != "ok":
            return Refusal(Code.CONFLICT, row["detail"])
        found = await self.get(rehearsal_id)
        assert found is not None
        return found

    async def latest(self, sale_id: str) -> Rehearsal | None:
        row = await self._database.fetchrow(_SQL["latest"], sale_id) if is_id(sale_id) else None
        return None if row is None else _rehearsal_of(row)

    async def get(self, rehearsal_id: str) -> Rehearsal | None:
        row = await self._database.fetchrow(_SQL["get"], rehearsal_id)
        return None if row is None else _rehearsal_of(row)

    async def stop(self, sale_id: str, actor: Actor) -> None:
        if is_id(sale_id):
            await self._database.write(_SQL["stop"], sale_id, actor.name, actor.reason)

    async def claim(self, lease: str) -> Claimed | None:
        rows = await self._database.write(_SQL["claim"], lease, LEASE_MS, CLEAR_MS)
        if not rows:
            return None
        found = await self.get(str(rows[0]["rehearsal_id"]))
        assert found is not None
        return Claimed(rehearsal=found, crashed=rows[0]["crashed"], secret=rows[0]["secret"])

    async def create_shadow(self, rehearsal: Rehearsal, lease: str, shadow_id: str, terms: SaleTerms) -> Sale | None:
        rows = await self._database.write(
            _SQL["create_shadow"],
            rehearsal.rehearsal_id,
            lease,
            shadow_id,
            json_of(terms),
            rehearsal.asked_by,
            f"rehearses {rehearsal.sale_id}",
        )
        return sale_of(rows[0]) if rows else None

    async def renew(self, rehearsal_id: str, lease: str, progress: Mapping[str, Any]) -> str | None:
        text = msgspec.json.encode(progress).decode()
        rows = await self._database.write(_SQL["renew"], rehearsal_id, lease, LEASE_MS, text, GIVE_WAY_MS)
        return rows[0]["hindrance"] if rows else None

    async def count(self, shadow_id: str, acknowledged: Mapping[str, str]) -> Counted:
        [row] = await self._database.fetch(_SQL["count"], shadow_id)
        stored = {
            str(order["order_id"]): order["user_id"] for order in await self._database.fetch(_SQL["stored"], shadow_id)
        }
        missing = sum(stored.get(order_id) != buyer for order_id, buyer in acknowledged.items())
        return Counted(**row, missing=missing, audit="")

    async def remove_shadow(self, shadow_id: str) -> None:
        await self._database.write(_SQL["remove_shadow"], shadow_id)

    async def note(self, rehearsal_id: str, lease: str, words: str, sheet: Sheet | None) -> bool:
        return bool(await self._database.write(_SQL["note"], rehearsal_id, lease, words, _json_of(sheet)))

    async def finish(
        self, rehearsal_id: str, lease: str, state: RehearsalState, words: str, sheet: Sheet | None
    ) -> bool:
        return bool(await self._database.write(_SQL["finish"], rehearsal_id, lease, state, words, _json_of(sheet)))

    async def secrets(self) -> Mapping[str, bytes]:
        rows = await self._database.fetch(_SQL["secrets"])
        return {str(row["rehearsal_id"]): row["crowd_secret"] for row in rows}


def _json_of(sheet: Sheet | None) -> str | None:
    return None if sheet is None else msgspec.json.encode(sheet).decode()


def _rehearsal_of(row: asyncpg.Record) -> Rehearsal:
    sheet: str | None = row["sheet"]
    return Rehearsal(
        rehearsal_id=str(row["rehearsal_id"]),
        sale_id=str(row["sale_id"]),
        state=RehearsalState(row["state"]),
        wish=msgspec.json.decode(row["wish"], type=Wish),
        asked_by=row["asked_by"],
        reason=row["reason"],
        asked_ms=row["asked_ms"],
        started_ms=row["started_ms"],
        finished_ms=row["finished_ms"],
        shadow_sale_id="" if row["shadow_sale_id"] is None else str(row["shadow_sale_id"]),
        words=row["words"],
        progress=msgspec.json.decode(row["progress"]),
        sheet=None if sheet is None else msgspec.json.decode(sheet, type=Sheet),
    )
