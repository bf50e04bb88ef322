"""The steps of a sale's day in PostgreSQL: implements `engine.timeline_ports.TimelineStore`.

Owns: which statement belongs to which method. Steps are planned by a trigger, in the transaction that moves the sale.
Read next: `migrations/sql/0009_timeline.sql`.
"""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain.figures import SaleFigures
from doorbuster.domain.plan import Plan
from doorbuster.domain.timeline import LEASE_MS, ORDER_PATIENCE_MS, StepName, StepRow, StepState
from doorbuster.engine.ports import Actor
from doorbuster.engine.timeline_ports import KeptReport, Outcome

_SQL: Final = load("timeline.sql")


class PostgresTimelineStore:
    """The engine's TimelineStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def steps(self, sale_id: str) -> Sequence[StepRow]:
        if not is_id(sale_id):
            return ()
        return [_row(row) for row in await self._database.fetch(_SQL["steps"], sale_id)]

    async def claim(self, lease: str, *, limit: int) -> Sequence[StepRow]:
        rows = await self._database.write(_SQL["claim"], lease, LEASE_MS, ORDER_PATIENCE_MS, limit)
        return [_row(row) for row in rows]

    async def renew(self, row: StepRow) -> bool:
        return bool(await self._database.write(_SQL["renew"], row.sale_id, row.step, row.lease, LEASE_MS))

    async def finish(self, row: StepRow, outcome: Outcome) -> bool:
        [answer] = await self._database.write(
            _SQL["finish"],
            row.sale_id,
            row.step,
            row.lease,
            outcome.state,
            outcome.wait_ms,
            outcome.counts,
            outcome.words,
            msgspec.json.encode(outcome.detail).decode(),
        )
        return answer["taken"]

    async def run(self, sale_id: str, step: StepName, actor: Actor) -> str:
        return await self._word("run", sale_id, step, actor)

    async def skip(self, sale_id: str, step: StepName, actor: Actor) -> str:
        return await self._word("skip", sale_id, step, actor)

    async def plan(self, sale_id: str) -> Plan:
        row = await self._database.fetchrow(_SQL["plan"], sale_id) if is_id(sale_id) else None
        return Plan() if row is None else msgspec.json.decode(row["plan"], type=Plan)

    async def set_plan(self, sale_id: str, plan: Plan, actor: Actor) -> bool:
        if not is_id(sale_id):
            return False
        text = msgspec.json.encode(plan).decode()
        [row] = await self._database.write(_SQL["set_plan"], sale_id, text, actor.name, actor.reason)
        return row["known"]

    async def keep_report(self, sale_id: str, report: dict[str, Any]) -> None:
        await self._database.write(_SQL["keep_report"], sale_id, msgspec.json.encode(report).decode())

    async def report(self, sale_id: str) -> KeptReport | None:
        row = await self._database.fetchrow(_SQL["report"], sale_id) if is_id(sale_id) else None
        return None if row is None else KeptReport(report=msgspec.json.decode(row["report"]), at_ms=row["at_ms"])

    async def figures(self, sale_id: str) -> SaleFigures:
        """Implements `engine.reporting.FigureStore`."""
        row = await self._database.fetchrow(_SQL["figures"], sale_id) if is_id(sale_id) else None
        return SaleFigures() if row is None else SaleFigures(**row)

    async def _word(self, verb: str, sale_id: str, step: StepName, actor: Actor) -> str:
        if not is_id(sale_id):
            return "not_found"
        [row] = await self._database.write(_SQL[verb], sale_id, step, actor.name, actor.reason)
        return row["word"]


def _row(row: asyncpg.Record) -> StepRow:
    return StepRow(
        sale_id=str(row["sale_id"]),
        step=StepName(row["step"]),
        due_ms=row["due_ms"],
        state=StepState(row["state"]),
        attempts=row["attempts"],
        next_ms=row["next_ms"],
        started_ms=row["started_ms"],
        finished_ms=row["finished_ms"],
        words=row["words"],
        detail=msgspec.json.decode(row["detail"]),
        forced=row["forced"],
        lease="" if row["lease"] is None else str(row["lease"]),
    )
