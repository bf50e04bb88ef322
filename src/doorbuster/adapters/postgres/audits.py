"""What PostgreSQL says about a sale when it is asked to account for itself (layer 3).

Owns: the audit store. Keeps: I15 (the whole log is replayed, every hash computed again, in one snapshot with the rows).
Read next: `domain/audit.py`, which judges what is read here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg
import msgspec

from doorbuster.adapters.postgres.pool import Database, Reader
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id, sale_of
from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport, LedgerFacts
from doorbuster.domain.chain import LogKind, LogRow, Replay, Replayer
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Actor

_SQL: Final = load("audits.sql")
_LOG_CHUNK: Final = 2_000
"""Log rows replayed without letting anything else run: about 10 ms."""
_TIMEOUT_S: Final = 120.0
"""Sums over a sale of ten million orders take seconds; nothing waits for an audit."""


class PostgresAuditStore:
    """The engine's AuditStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self, sale_id: str) -> LedgerFacts | None:
        if not is_id(sale_id):
            return None
        async with self._database.snapshot() as connection:
            row = await connection.fetchrow(_SQL["sale"], sale_id)
            if row is None:
                return None
            sale = sale_of(row)
            counts = await connection.fetch(_SQL["orders_by_status"], sale_id, timeout=_TIMEOUT_S)
            orders = dict.fromkeys(map(str, OrderStatus), 0) | {row["status"]: row["orders"] for row in counts}
            units = {row["status"]: row["units"] for row in counts}
            wrong = await connection.fetch(
                _SQL["eligibility_wrong"],
                sale_id,
                sale.per_user_limit,
                limits.AUDIT_ROWS_NAMED_MAX,
                timeout=_TIMEOUT_S,
            )
            return LedgerFacts(
                sale=sale,
                orders_by_status=orders,
                units_reserved=units.get(OrderStatus.RESERVED, 0),
                units_paid=units.get(OrderStatus.PAID, 0),
                eligibility_units=await connection.fetchval(_SQL["eligibility_units"], sale_id, timeout=_TIMEOUT_S),
                eligibility_wrong=tuple(row["user_id"] for row in wrong),
                releases_pending=await connection.fetchval(_SQL["releases_pending"], sale_id, timeout=_TIMEOUT_S),
                replay=await _replay(connection, sale_id),
            )

    async def log_rows(self, sale_id: str, *, after_seq: int = 0) -> AsyncIterator[Sequence[LogRow]]:
        """The log in chunks, not in one snapshot: it only grows, so what was read stays true."""
        if not is_id(sale_id):
            return
        while rows := await self._database.fetch(_SQL["log_part"], sale_id, after_seq, _LOG_CHUNK):
            yield [_log_row(sale_id, row) for row in rows]
            after_seq = rows[-1]["seq"]

    async def record(self, report: AuditReport, actor: Actor) -> None:
        await self._database.write(
            _SQL["record"],
            report.sale_id,
            report.verdict,
            report.epoch,
            report.at_ms,
            actor.name,
            actor.reason,
            msgspec.json.encode(report).decode(),
        )

    async def latest(self, sale_id: str) -> AuditReport | None:
        if not is_id(sale_id):
            return None
        row = await self._database.fetchrow(_SQL["latest"], sale_id)
        return None if row is None else msgspec.json.decode(row["report"], type=AuditReport)


async def _replay(connection: Reader, sale_id: str) -> Replay:
    replayer = Replayer(sale_id)
    log = await connection.cursor(_SQL["log"], sale_id, 0)
    while rows := await log.fetch(_LOG_CHUNK, timeout=_TIMEOUT_S):
        replayer.add(_log_row(sale_id, row) for row in rows)
        if replayer.state.fault:
            break
        await asyncio.sleep(0)
    return replayer.state


def _log_row(sale_id: str, row: asyncpg.Record) -> LogRow:
    order_id = row["order_id"]
    return LogRow(
        sale_id=sale_id,
        seq=row["seq"],
        kind=LogKind(row["kind"]),
        order_id="" if order_id is None else str(order_id),
        quantity=row["quantity"],
        epoch=row["epoch"],
        at_ms=row["at_ms"],
        hash=row["hash"],
    )
