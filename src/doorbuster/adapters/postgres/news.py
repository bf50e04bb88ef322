"""Events of gateways in PostgreSQL: implements `engine.news.NewsStore`.

Owns: the batching of a storm: events of one moment are one transaction. Read next: `migrations/sql/0006_news.sql`.
"""

from collections.abc import Sequence
from typing import Final

from doorbuster.adapters.postgres import queries
from doorbuster.adapters.postgres.lanes import Lane
from doorbuster.adapters.postgres.payments import attempt_of
from doorbuster.adapters.postgres.pool import Database
from doorbuster.engine.news import Noted
from doorbuster.engine.payment_ports import News

_SQL: Final = queries.load("news.sql")


class PostgresNewsStore:
    """One per gateway's name; use it inside one event loop."""

    def __init__(self, database: Database, gateway: str) -> None:
        self._database = database
        self._gateway = gateway
        self._lane = Lane(self._note_many, lambda news: news.event_id)

    async def note(self, news: News) -> Noted:
        return await self._lane.ask(news)

    async def _note_many(self, batch: Sequence[News]) -> Sequence[Noted]:
        rows = await self._database.write(
            _SQL["note"],
            self._gateway,
            [news.event_id for news in batch],
            [news.kind for news in batch],
            [news.key for news in batch],
        )
        found = {
            row["event_id"]: Noted(fresh=row["fresh"], attempt=None if row["attempt_id"] is None else attempt_of(row))
            for row in rows
        }
        return [found[news.event_id] for news in batch]
