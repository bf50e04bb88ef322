"""Waitlists and notices in PostgreSQL: implements `engine.waitlist.WaitlistStore` and `engine.notifying.NoticeStore`.

Owns: the batching of those who join in one moment. Read next: `migrations/sql/0024_notices.sql`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from doorbuster.adapters.postgres.lanes import Lane
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_id
from doorbuster.domain.notices import Channel, NoticeKind, NoticeState
from doorbuster.domain.push import Subscription
from doorbuster.engine.notifying import Notice, Sending

_SQL: Final = load("waitlist.sql")
_WAITING_MAX: Final = 20_000
"""Who would wait behind so many is told at once to come again."""
_Joining: TypeAlias = tuple[str, str, str | None, str | None, str | None, str | None]
"""A row of what the function takes: sale, buyer, address, and the three parts of a browser's subscription."""


class PostgresWaitlist:
    """Use it inside one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lane: Lane[_Joining, bool] = Lane(
            self._join_many, lambda joining: f"{joining[0]} {joining[1]}", waiting_max=_WAITING_MAX
        )

    async def join(self, sale_id: str, user_id: str, email: str | None, push: Subscription | None = None) -> bool:
        if push is None:
            return await self._lane.ask((sale_id, user_id, email, None, None, None))
        return await self._lane.ask((sale_id, user_id, email, push.endpoint, push.p256dh, push.auth))

    async def _join_many(self, batch: Sequence[_Joining]) -> Sequence[bool]:
        rows = await self._database.write(_SQL["join"], *(list(column) for column in zip(*batch, strict=True)))
        return [not row["known"] for row in rows]

    async def leave(self, sale_id: str, user_id: str) -> bool:
        [row] = await self._database.write(_SQL["leave"], sale_id, user_id)
        return row["gone"]

    async def counts(self) -> dict[str, int]:
        return {str(row["sale_id"]): row["people"] for row in await self._database.fetch(_SQL["counts"])}

    async def unsubscribed(self, token: str) -> bool | None:
        row = await self._database.fetchrow(_SQL["address"], token) if is_id(token) else None
        return None if row is None else row["unsubscribed"]

    async def unsubscribe(self, token: str) -> bool:
        return is_id(token) and bool(await self._database.write(_SQL["unsubscribe"], token))

    # ------------------------------------------------------------------------------------------------ notices

    async def people(self, sale_id: str) -> int:
        return (await self.counts()).get(sale_id, 0)

    async def queue(self, sale_id: str, kind: NoticeKind, expires_ms: int, start_ms: int | None = None) -> int:
        [row] = await self._database.write(_SQL["queue"], sale_id, kind, expires_ms, start_ms)
        return row["made"]

    async def claim(self, lease: str, channel: Channel, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        return [
            Notice(
                notice_id=row["notice_id"],
                sale_id=str(row["sale_id"]),
                user_id=row["user_id"],
                kind=NoticeKind(row["kind"]),
                expires_ms=row["expires_ms"],
                start_ms=row["start_ms"],
                attempts=row["attempts"],
                email=row["email"] or "",
                token=str(row["token"] or ""),
                push=None
                if row["endpoint"] is None
                else Subscription(endpoint=row["endpoint"], p256dh=row["p256dh"], auth=row["auth"]),
            )
            for row in await self._database.write(_SQL["claim"], lease, channel, lease_ms, limit)
        ]

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None:
        await self._database.write(
            _SQL["record"],
            lease,
            [sending.notice_id for sending in sendings],
            [sending.state for sending in sendings],
            [sending.words for sending in sendings],
            [sending.pause_ms for sending in sendings],
            [sending.counts for sending in sendings],
        )

    async def progress(self, sale_id: str, kind: NoticeKind, channel: Channel) -> Mapping[NoticeState, int]:
        if not is_id(sale_id):
            return {}
        rows = await self._database.fetch(_SQL["progress"], sale_id, kind, channel)
        return {NoticeState(row["state"]): row["notices"] for row in rows}
