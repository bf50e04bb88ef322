"""Traffic, samples and alerts in PostgreSQL: implements `engine.monitoring.MonitorStore`.

Owns: which statement belongs to which method. Read next: `migrations/sql/0012_monitor.sql`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain.alerts import Alert
from doorbuster.engine.monitoring import LedgerFigures, Sample, Traffic

_SQL: Final = load("monitor.sql")


class PostgresMonitor:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_traffic(self, traffic: Traffic) -> None:
        rows = [("code", code, count) for code, count in traffic.codes.items()]
        rows += [("took", str(power), count) for power, count in traffic.took.items()]
        if rows:
            await self._database.write(_SQL["add_traffic"], *(list(column) for column in zip(*rows, strict=True)))

    async def traffic(self, since_ms: int, until_ms: int) -> Traffic:
        rows = await self._database.fetch(_SQL["traffic"], since_ms, until_ms)
        return Traffic(
            codes={row["name"]: row["answers"] for row in rows if row["kind"] == "code"},
            took={int(row["name"]): row["answers"] for row in rows if row["kind"] == "took"},
        )

    async def take_mark(self, sale_id: str, *, every_ms: int) -> bool:
        [row] = await self._database.write(_SQL["take_mark"], sale_id, every_ms)
        return row["taken"]

    async def ledger(self, sale_id: str, *, after: int, until: int) -> LedgerFigures:
        [row] = await self._database.fetch(_SQL["ledger"], sale_id, after, until)
        return LedgerFigures(**row)

    async def keep(self, sale_id: str, sample: Sample) -> None:
        text = msgspec.json.encode(sample).decode()
        await self._database.write(_SQL["keep_sample"], sale_id, sample.at_ms, text)

    async def samples(self, sale_id: str, *, before_ms: int, limit: int) -> Sequence[Sample]:
        if not is_id(sale_id):
            return ()
        rows = await self._database.fetch(_SQL["samples"], sale_id, before_ms, limit)
        return [msgspec.json.decode(row["sample"], type=Sample) for row in rows]

    async def open_alerts(self, sale_id: str) -> Mapping[str, Alert]:
        rows = await self._database.fetch(_SQL["open_alerts"], sale_id)
        return {(alert := msgspec.json.decode(row["alert"], type=Alert)).rule: alert for row in rows}

    async def note_alerts(self, sale_id: str, alerts: Sequence[Alert]) -> None:
        if alerts:
            await self._database.write(_SQL["note_alerts"], sale_id, msgspec.json.encode(alerts).decode())

    async def alarmed(self) -> Sequence[str]:
        return [str(row["sale_id"]) for row in await self._database.fetch(_SQL["alarmed"])]

    async def alerts(self, sale_id: str, *, limit: int) -> Sequence[Alert]:
        if not is_id(sale_id):
            return ()
        rows = await self._database.fetch(_SQL["alerts"], sale_id, limit)
        return [msgspec.json.decode(row["alert"], type=Alert) for row in rows]

    async def prune(self) -> int:
        [row] = await self._database.write(_SQL["prune"])
        return row["gone"]
