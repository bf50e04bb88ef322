"""Gates and pages in PostgreSQL: implements `engine.scaling.Fleet` and `engine.paging.PageStore`.

Owns: which statement belongs to which method. Read next: `migrations/sql/0011_fleet.sql`.
"""

from collections.abc import Sequence
from typing import Any, Final

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.scaling import STALE_MS, GateBeat

_SQL: Final = load("fleet.sql")


class PostgresFleet:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, beat: GateBeat) -> None:
        said = (beat.gate_id, beat.host, beat.pid, beat.ready, beat.clock_offset_ms, beat.busy, beat.pool_share)
        await self._database.write(_SQL["beat"], *said)

    async def leave(self, gate_id: str) -> None:
        await self._database.write(_SQL["leave"], gate_id)

    async def gates(self) -> Sequence[GateBeat]:
        return [
            GateBeat(
                gate_id=str(row["gate_id"]),
                host=row["host"],
                pid=row["pid"],
                ready=row["ready"],
                clock_offset_ms=row["clock_offset_ms"],
                busy=row["busy"],
                pool_share=row["pool_share"],
                started_ms=row["started_ms"],
                beat_ms=row["beat_ms"],
            )
            for row in await self._database.fetch(_SQL["gates"], STALE_MS)
        ]


class PostgresPages:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, call: PageCall) -> bool:
        sale_id = call.sale_id or None
        [row] = await self._database.write(_SQL["open"], call.key, sale_id, call.title, call.text, call.severity)
        return row["opened"]

    async def resolve(self, key: str, text: str) -> bool:
        [row] = await self._database.write(_SQL["resolve"], key, text)
        return row["resolved"]

    async def claim(self, *, lease_ms: int, limit: int) -> Sequence[PageCall]:
        return [_call(row) for row in await self._database.write(_SQL["claim"], lease_ms, limit)]

    async def matters(self) -> Sequence[PageCall]:
        return [_call(row) for row in await self._database.fetch(_SQL["matters"])]

    async def reached(self, call: PageCall, ways: Sequence[str], *, again_ms: int) -> None:
        await self._database.write(_SQL["reached"], call.key, list(ways), call.resolved, again_ms)

    async def missed(self, key: str, *, again_ms: int) -> None:
        await self._database.write(_SQL["missed"], key, again_ms)

    async def ways(self, key: str) -> Sequence[str]:
        row = await self._database.fetchrow(_SQL["ways"], key)
        return () if row is None else tuple(row["reached"])


def _call(row: Any) -> PageCall:
    return PageCall(
        key=row["key"],
        title=row["title"],
        text=row["text"],
        severity=row["severity"],
        resolved=row["resolved"],
        sale_id="" if row["sale_id"] is None else str(row["sale_id"]),
    )
