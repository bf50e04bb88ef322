"""Orders in PostgreSQL: who owns what.

Owns: the order store. Keeps: I1, I5, I6, I10, I11, I12, I13, in the functions it calls; here only their words are read.
A batch is one call of `commit_holds`, so one round trip and one transaction.
Read next: `migrations/sql/0003_commit.sql`.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.queries import load
from doorbuster.adapters.postgres.rows import is_foreign, is_id, is_text, order_of
from doorbuster.domain import limits
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Actor, CommitBatch, Committed, CommitWord, Page, PendingRelease

_SQL: Final = load("orders.sql")
_BEFORE_ALL: Final = "00000000-0000-0000-0000-000000000000"
_INTEGER_MAX: Final = 2**31 - 1
_NUMBER_MAX: Final = 2**63 - 1


class PostgresOrderStore:
    """The engine's OrderStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        holds = [hold for hold in batch.holds if _can_be_stored(hold)]
        rows = await self._database.write(
            _SQL["commit"],
            batch.sale_id,
            batch.epoch,
            batch.tick,
            [hold.hold_id for hold in holds],
            [hold.user_id for hold in holds],
            [hold.quantity for hold in holds],
            [hold.key for hold in holds],
            [hold.digest for hold in holds],
            [hold.number for hold in holds] if any(hold.number for hold in holds) else None,
        )
        answers = [_committed(batch.sale_id, hold, row) for hold, row in zip(holds, rows, strict=True)]
        if len(holds) == len(batch.holds):
            return answers
        # Sometimes a row cannot even be sent; it must not sink its batch. LIMIT has its hold given back.
        stored = iter(answers)
        return [next(stored) if _can_be_stored(hold) else Committed(word=CommitWord.LIMIT) for hold in batch.holds]

    async def get(self, order_id: str) -> Order | None:
        if not is_id(order_id):
            return None
        row = await self._database.fetchrow(_SQL["get"], order_id)
        return None if row is None else order_of(row)

    async def by_key(self, sale_id: str, user_id: str, key: str) -> Order | None:
        if not is_id(sale_id) or not is_text(user_id) or not is_text(key):
            return None
        row = await self._database.fetchrow(_SQL["by_key"], sale_id, user_id, key)
        return None if row is None else order_of(row)

    async def page(self, sale_id: str, *, status: OrderStatus | None, cursor: str | None, limit: int) -> Page:
        """`cursor` is the last order id of the page before; what is no id finds nothing."""
        after = _BEFORE_ALL if cursor is None else cursor
        if not is_id(sale_id) or not is_id(after):
            return Page(orders=())
        statuses = list(OrderStatus) if status is None else [status]
        rows = await self._database.fetch(_SQL["page"], sale_id, statuses, after, limit + 1)
        orders = [order_of(row) for row in rows[:limit]]
        return Page(orders=orders, next_cursor=orders[-1].order_id if len(rows) > limit else None)

    async def cancel(self, order_id: str, *, user_id: str | None, actor: Actor) -> Order | Refusal:
        if not is_id(order_id) or (user_id is not None and not is_text(user_id)):
            return Refusal(Code.NOT_FOUND, "there is no such order")
        [row] = await self._database.write(_SQL["cancel"], order_id, user_id, actor.name, actor.reason)
        match row["word"]:
            case "ok":
                return order_of(row)
            case "order_closed":
                return Refusal(Code.ORDER_CLOSED, f"the order is {row['status']}")
            case "payment_open":
                return Refusal(Code.CONFLICT, "a payment of this order is under way")
            case _:
                return Refusal(Code.NOT_FOUND, "there is no such order")

    async def cancel_all(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        if not is_id(sale_id):
            return 0
        [row] = await self._database.write(_SQL["cancel_reserved"], sale_id, actor.name, actor.reason, limit)
        return row["cancelled"]

    async def expire_due(self, *, limit: int) -> int:
        """One transaction per sale, so that no sale waits for another's lock."""
        expired = 0
        for due in await self._database.fetch(_SQL["sales_with_due"]):
            if expired >= limit:
                break
            [row] = await self._database.write(_SQL["expire_sale"], due["sale_id"], limit - expired)
            expired += row["expired"]
        return expired

    async def next_expiry_ms(self) -> int | None:
        row = await self._database.fetchrow(_SQL["next_expiry"])
        return None if row is None else row["expires_ms"]

    async def tombstone(self, sale_id: str, holds: Sequence[Hold]) -> Sequence[str]:
        if not is_id(sale_id):
            return ()
        named = [hold for hold in holds if is_id(hold.hold_id)]
        rows = await self._database.write(
            _SQL["tombstone"],
            sale_id,
            [hold.hold_id for hold in named],
            # Even a hold that could never be an order has to die: its row takes what fits.
            [_storable(hold.user_id) for hold in named],
            [min(max(hold.quantity, 1), limits.QUANTITY_MAX) for hold in named],
            [hold.since_ms for hold in named],
        )
        return [str(row["order_id"]) for row in rows]

    async def pending_releases(self, *, limit: int) -> Sequence[PendingRelease]:
        rows = await self._database.fetch(_SQL["pending_releases"], limit)
        return [
            PendingRelease(
                release_id=row["release_id"],
                sale_id=str(row["sale_id"]),
                hold_id=str(row["hold_id"]),
                user_id=row["user_id"],
                epoch=row["epoch"],
                forget_key=row["forget_key"],
            )
            for row in rows
        ]

    async def releases_done(self, release_ids: Sequence[int]) -> None:
        if release_ids:
            await self._database.write(_SQL["releases_done"], release_ids)

    async def live_hold_ids(self, sale_id: str) -> set[str]:
        if not is_id(sale_id):
            return set()
        return {str(row["order_id"]) for row in await self._database.fetch(_SQL["live_hold_ids"], sale_id)}

    async def closing_hold_ids(self, sale_id: str, hold_ids: Sequence[str]) -> dict[str, str]:
        ids = [hold_id for hold_id in hold_ids if is_id(hold_id)]
        if not ids or not is_id(sale_id):
            return {}
        rows = await self._database.fetch(_SQL["closing_hold_ids"], sale_id, ids)
        return {str(row["order_id"]): row["state"] for row in rows}


def _committed(sale_id: str, hold: Hold, row: asyncpg.Record) -> Committed:
    word = CommitWord(row["word"])
    if row["order_id"] is not None:
        return Committed(word=word, order=order_of(row))
    if word is not CommitWord.COMMITTED:
        return Committed(word=word)
    order = Order(
        order_id=hold.hold_id,
        sale_id=sale_id,
        user_id=hold.user_id,
        quantity=hold.quantity,
        amount_cents=hold.quantity * row["price_cents"],
        currency=row["sale_currency"],
        status=OrderStatus.RESERVED,
        reserved_ms=row["since_ms"],
        expires_ms=row["until_ms"],
        idempotency_key=hold.key,
        body_digest=hold.digest,
        line_number=hold.number or None,
    )
    return Committed(word=word, order=order)


def _can_be_stored(hold: Hold) -> bool:
    return (
        is_id(hold.hold_id)
        and 0 <= hold.quantity <= _INTEGER_MAX
        and 0 <= hold.number <= _NUMBER_MAX
        and is_text(hold.user_id)
        and is_text(hold.key)
        and is_text(hold.digest)
    )


def _storable(text: str) -> str:
    cleaned = "".join("?" if is_foreign(character) else character for character in text)
    return cleaned[: limits.USER_ID_LENGTH_MAX] or "?"
