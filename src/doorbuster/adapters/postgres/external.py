"""The shop's reports and the keys of passes in PostgreSQL: implements `engine.external.ReportStore` and
`engine.passes.PassKeyStore`.

Owns: nothing but the calls; the rules are in `migrations/sql/0008_external.sql`.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from doorbuster.adapters.postgres import queries
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.rows import is_id, order_of
from doorbuster.domain.passes import KEY_AHEAD_MS, KEY_KEPT_MS, PassKey
from doorbuster.engine.external import CancelWord, PaidReport, Reported, ReportPage, ReportRow, ReportWord
from doorbuster.engine.ports import Actor

_SQL: Final = queries.load("external.sql")
_BEFORE_ALL: Final = "00000000-0000-0000-0000-000000000000"


class PostgresReportStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def paid(self, report: PaidReport) -> Reported:
        if not is_id(report.order_id):
            return Reported(word=ReportWord.NOT_FOUND)
        actor = report.actor
        [row] = await self._database.write(
            _SQL["paid"],
            report.report_id,
            report.order_id,
            report.reference,
            report.amount_cents,
            report.currency,
            actor.name,
            actor.reason,
        )
        word = ReportWord(row["word"])
        if word is ReportWord.NOT_FOUND:
            return Reported(word=word)
        taken_by = row["taken_by"]
        return Reported(word=word, order=order_of(row), taken_by=None if taken_by is None else str(taken_by))

    async def cancelled_late(self, report_id: str, order_id: str, actor: Actor) -> CancelWord | None:
        if not is_id(order_id):
            return CancelWord.ELSEWHERE
        [row] = await self._database.write(_SQL["cancelled"], report_id, order_id, actor.name, actor.reason)
        return None if row["word"] is None else CancelWord(row["word"])

    async def reports(self, sale_id: str, *, cursor: str | None, limit: int) -> ReportPage:
        after = _BEFORE_ALL if cursor is None else cursor
        if not is_id(sale_id) or not is_id(after):
            return ReportPage(reports=())
        rows = [_report_of(row) for row in await self._database.fetch(_SQL["reports"], sale_id, after, limit + 1)]
        shown = rows[:limit]
        return ReportPage(reports=shown, next_cursor=shown[-1].report_id if len(rows) > limit else None)


class PostgresPassKeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def pass_keys(self) -> Sequence[PassKey]:
        rows = await self._database.fetch(_SQL["pass_keys"], KEY_KEPT_MS)
        if not rows:
            await self._database.write(_SQL["first_pass_key"])
            rows = await self._database.fetch(_SQL["pass_keys"], KEY_KEPT_MS)
        return [PassKey(**dict(row.items())) for row in rows]

    async def rotate_pass_keys(self, *, leaked: bool, actor: Actor) -> None:
        await self._database.write(
            _SQL["rotate_pass_keys"], KEY_AHEAD_MS, KEY_KEPT_MS, leaked, actor.name, actor.reason
        )


def _report_of(row: asyncpg.Record) -> ReportRow:
    return ReportRow(
        report_id=str(row["report_id"]),
        order_id=str(row["order_id"]),
        kind=row["kind"],
        reference=row["reference"],
        amount_cents=row["amount_cents"],
        currency=row["currency"],
        answer=row["answer"],
        at_ms=row["at_ms"],
        last_ms=row["last_ms"],
        times=row["times"],
        actor=Actor(name=row["actor"], reason=row["reason"]),
    )
