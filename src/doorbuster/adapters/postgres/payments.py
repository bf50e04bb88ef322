"""Payment attempts in PostgreSQL.

Owns: the batching of payment steps (whatever gathers while one transaction is under way goes into the next) and the
words of `begin_payments` as refusals. Keeps: I4 for payments (`pool.py` never cancels a write), I8, I13 in SQL.
Read next: `migrations/sql/0002_payments.sql`, where the steps are.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg

from doorbuster.adapters.postgres import queries
from doorbuster.adapters.postgres.lanes import Lane
from doorbuster.adapters.postgres.pool import Database
from doorbuster.adapters.postgres.rows import is_id, order_of
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import Attempt, VoidReason
from doorbuster.domain.transitions import PaymentState
from doorbuster.engine.payment_ports import NOTHING_TO_REFUND, BeginWord, Begun, NotBegunWord, PayAsk, not_begun
from doorbuster.engine.ports import Actor, InvariantViolation

_SQL: Final = queries.load("payments.sql")
_NOT_BEGUN: Final = frozenset(NotBegunWord)


class PostgresPaymentStore:
    """PaymentStore over one `Database`; use it inside one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin = Lane(self._begin_many, lambda ask: ask.order_id)
        self._send = Lane(self._step("send"), _same)
        self._captured = Lane(self._step("captured"), _same)
        self._voided = Lane(self._step("voided"), _same)
        self._refund_due = Lane(self._step("refund_due"), _same)
        self._refunded = Lane(self._step("refunded"), _same)
        self._decline = Lane(self._told_step("decline"), _first)
        self._confirm = Lane(self._told_step("confirm"), _first)
        self._void = Lane(self._told_step("void"), _first)

    async def begin(self, ask: PayAsk) -> Begun | Refusal:
        if not is_id(ask.order_id) or not _is_storable(ask.user_id):
            return not_begun(NotBegunWord.NOT_FOUND, attempts=0)
        if not _is_storable(ask.key):
            return Refusal(Code.INVALID_REQUEST, "the idempotency key contains characters that cannot be kept")
        return await self._begin.ask(ask)

    async def send(self, payment_id: str) -> Attempt:
        return await self._send.ask(payment_id)

    async def decline(self, payment_id: str, reason: str) -> Attempt:
        return await self._decline.ask((payment_id, reason))

    async def confirm(self, payment_id: str, ref: str) -> Attempt:
        return await self._confirm.ask((payment_id, ref))

    async def captured(self, payment_id: str) -> Attempt:
        return await self._captured.ask(payment_id)

    async def void(self, payment_id: str, reason: VoidReason) -> Attempt:
        return await self._void.ask((payment_id, reason.value))

    async def voided(self, payment_id: str) -> Attempt:
        return await self._voided.ask(payment_id)

    async def refund_due(self, payment_id: str) -> Attempt:
        return await self._refund_due.ask(payment_id)

    async def refunded(self, payment_id: str) -> Attempt:
        return await self._refunded.ask(payment_id)

    async def refund(self, order_id: str, actor: Actor) -> Attempt | Refusal:
        if not is_id(order_id):
            return Refusal(Code.NOT_FOUND, "there is no such order")
        [row] = await self._database.write(_SQL["refund"], order_id, actor.name, actor.reason)
        match row["word"]:
            case "refunding":
                return attempt_of(row)
            case "not_found":
                return Refusal(Code.NOT_FOUND, "there is no such order")
            case _:
                return Refusal(Code.CONFLICT, NOTHING_TO_REFUND)

    async def refund_aborted(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        if not is_id(sale_id):
            return 0
        [row] = await self._database.write(_SQL["refund_aborted"], sale_id, actor.name, actor.reason, limit)
        return row["refunding"]

    async def claim(self, *, gateway: str, quiet_ms: int, limit: int) -> Sequence[Attempt]:
        return [attempt_of(row) for row in await self._database.write(_SQL["claim"], gateway, quiet_ms, limit)]

    async def attempts(self, order_id: str) -> Sequence[Attempt]:
        if not is_id(order_id):
            return []
        return [attempt_of(row) for row in await self._database.fetch(_SQL["attempts"], order_id)]

    async def _begin_many(self, asks: Sequence[PayAsk]) -> Sequence[Begun | Refusal]:
        rows = await self._database.write(
            _SQL["begin"],
            asks[0].gateway,
            limits.PAYMENT_ATTEMPTS_MAX,
            [ask.payment_id for ask in asks],
            [ask.order_id for ask in asks],
            [ask.user_id for ask in asks],
            [ask.payment_method for ask in asks],
            [ask.key for ask in asks],
            [ask.digest for ask in asks],
        )
        return [_begun_of(row) for row in rows]

    def _step(self, name: str) -> Callable[[Sequence[str]], Awaitable[Sequence[Attempt]]]:
        async def call(ids: Sequence[str]) -> Sequence[Attempt]:
            return _in_order(ids, await self._database.write(_SQL[name], list(ids)))

        return call

    def _told_step(self, name: str) -> Callable[[Sequence[tuple[str, str]]], Awaitable[Sequence[Attempt]]]:
        async def call(items: Sequence[tuple[str, str]]) -> Sequence[Attempt]:
            ids = [payment_id for payment_id, _ in items]
            return _in_order(ids, await self._database.write(_SQL[name], ids, [text for _, text in items]))

        return call


def _same(payment_id: str) -> str:
    return payment_id


def _first(item: tuple[str, str]) -> str:
    return item[0]


def _in_order(ids: Sequence[str], rows: Sequence[asyncpg.Record]) -> list[Attempt]:
    found = {str(row["attempt_id"]): row for row in rows}
    missing = [payment_id for payment_id in ids if payment_id not in found]
    if missing:
        raise InvariantViolation(f"payment {missing[0]} is not in the ledger")
    return [attempt_of(found[payment_id]) for payment_id in ids]


def _begun_of(row: asyncpg.Record) -> Begun | Refusal:
    if row["word"] in _NOT_BEGUN:
        return not_begun(NotBegunWord(row["word"]), attempts=row["attempts"] or 0)
    return Begun(word=BeginWord(row["word"]), attempt=attempt_of(row))


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text: one that it cannot must not sink the batch it would travel in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def attempt_of(row: asyncpg.Record) -> Attempt:
    """An attempt with its order, of a row of `attempt_view`."""
    return Attempt(
        payment_id=str(row["attempt_id"]),
        attempt=row["attempt_number"],
        gateway=row["attempt_gateway"],
        payment_method=row["attempt_method"],
        state=PaymentState(row["attempt_state"]),
        amount_cents=row["attempt_amount_cents"],
        currency=row["attempt_currency"],
        idempotency_key=row["attempt_key"],
        body_digest=row["attempt_digest"],
        gateway_ref=row["attempt_ref"],
        decline_reason=row["attempt_reason"],
        created_ms=row["attempt_created_ms"],
        updated_ms=row["attempt_updated_ms"],
        order=order_of(row),
    )
