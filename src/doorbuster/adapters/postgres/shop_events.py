"""The outbox and the shop's endpoints in PostgreSQL: implements `engine.shop_ports.EndpointStore` and `Outbox`.

Owns: which statement belongs to which method. Events are written by `append_log` and by a trigger, with the change they
tell of. Read next: `migrations/sql/0007_shop_events.sql`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain.shop_events import ENDPOINTS_MAX, DeliveryState
from doorbuster.engine.shop_ports import Backlog, Claimed, Delivery, Endpoint, Record, ResendWord, Target

_SQL: Final = load("shop_events.sql")
_ID_MAX: Final = 2**63 - 1


class PostgresShopEvents:
    """The engine's EndpointStore and Outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------------------------------------------ endpoints

    async def endpoints(self) -> Sequence[Endpoint]:
        return [_endpoint(row) for row in await self._database.fetch(_SQL["endpoints"])]

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        row = await self._database.fetchrow(_SQL["endpoint"], endpoint_id) if is_id(endpoint_id) else None
        return None if row is None else _endpoint(row)

    async def create(
        self, endpoint_id: str, *, url: str, description: str, event_types: Sequence[str], enabled: bool
    ) -> str | None:
        [row] = await self._database.write(
            _SQL["create_endpoint"], endpoint_id, url, description, list(event_types), enabled, ENDPOINTS_MAX
        )
        return row["secret"]

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None,
        description: str | None,
        event_types: Sequence[str] | None,
        enabled: bool | None,
    ) -> None:
        if is_id(endpoint_id):
            types = None if event_types is None else list(event_types)
            await self._database.write(_SQL["change_endpoint"], endpoint_id, url, description, types, enabled)

    async def delete(self, endpoint_id: str) -> bool:
        if not is_id(endpoint_id):
            return False
        [row] = await self._database.write(_SQL["delete_endpoint"], endpoint_id)
        return row[0]

    async def rotate(self, endpoint_id: str, *, overlap_ms: int) -> str | None:
        if not is_id(endpoint_id):
            return None
        [row] = await self._database.write(_SQL["rotate"], endpoint_id, overlap_ms)
        return row["secret"]

    async def target(self, endpoint_id: str) -> Target | None:
        row = await self._database.fetchrow(_SQL["address"], endpoint_id) if is_id(endpoint_id) else None
        return None if row is None else Target(url=row["url"], secrets=row["secrets"])

    async def deliveries(
        self, endpoint_id: str, *, state: DeliveryState | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        if not is_id(endpoint_id):
            return []
        below = _ID_MAX if before is None else min(before, _ID_MAX)
        rows = await self._database.fetch(_SQL["deliveries"], endpoint_id, state, below, limit)
        return [_delivery(row) for row in rows]

    async def delivery(self, delivery_id: int) -> Delivery | None:
        if not 0 < delivery_id <= _ID_MAX:
            return None
        row = await self._database.fetchrow(_SQL["delivery"], delivery_id)
        return None if row is None else _delivery(row)

    async def resend(self, delivery_id: int) -> ResendWord:
        if not 0 < delivery_id <= _ID_MAX:
            return ResendWord.NOT_FOUND
        [row] = await self._database.write(_SQL["resend"], delivery_id)
        return ResendWord(row["word"])

    async def resend_dead(self, endpoint_id: str) -> int:
        if not is_id(endpoint_id):
            return 0
        [row] = await self._database.write(_SQL["resend_dead"], endpoint_id)
        return row["count"]

    # ------------------------------------------------------------------------------------------------ the relay

    async def claim(self, busy: Mapping[str, int], *, most: int, lease_ms: int) -> Sequence[Claimed]:
        rows = await self._database.write(_SQL["claim"], most, list(busy), list(busy.values()), lease_ms)
        return [Claimed(delivery=_delivery(row), target=Target(url=row["url"], secrets=row["secrets"])) for row in rows]

    async def record(self, records: Sequence[Record]) -> None:
        sent = [record.sent for record in records]
        await self._database.write(
            _SQL["record"],
            [record.delivery_id for record in records],
            [record.attempt for record in records],
            [record.word.value for record in records],
            [record.pause_ms for record in records],
            [one.status for one in sent],
            [one.error for one in sent],
            [one.body for one in sent],
            [one.took_ms for one in sent],
        )

    async def backlog(self) -> Backlog:
        row = await self._database.fetchrow(_SQL["backlog"])
        assert row is not None
        return Backlog(**dict(row.items()))

    async def prune(self, *, limit: int) -> int:
        [row] = await self._database.write(_SQL["prune"], limit)
        return row["pruned"]


def _endpoint(row: asyncpg.Record) -> Endpoint:
    fields: dict[str, Any] = dict(row.items())
    fields["endpoint_id"] = str(row["endpoint_id"])
    return Endpoint(**fields)


def _delivery(row: asyncpg.Record) -> Delivery:
    fields: dict[str, Any] = {name: row[name] for name in Delivery.__struct_fields__}
    fields.update({name: str(row[name]) for name in ("endpoint_id", "event_id", "aggregate_id")})
    fields["state"] = DeliveryState(row["state"])
    return Delivery(**fields)
