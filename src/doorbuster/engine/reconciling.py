"""Compares a gateway's book with the ledger, repairs what may be repaired, and stores what was found (P10).

Owns: the order of looking, and what counts as settled. The book is read first and the ledger after it, so a payment
that moves meanwhile looks unfinished or newer, never wrong; what still looks wrong is looked at once more, one by one,
before anything is done. Repairs use the keys of the attempts: whoever repairs twice repairs once (I8).
Keeps: I7. Read next: `domain/balance.py` (what a break is, and what is done about it).
"""

import asyncio
import hashlib
from typing import Final

import msgspec
import structlog

from doorbuster.domain.balance import (
    BookEntry,
    Break,
    BreakKind,
    Reconciliation,
    Repair,
    Verdict,
    break_of,
    verdict_of,
)
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ALARM_MS, PAYMENT_UNFINISHED, Attempt, Operation, gateway_key
from doorbuster.engine.money_ports import BalanceStore
from doorbuster.engine.payment_ports import (
    Authorized,
    Captured,
    Charge,
    Gateway,
    Refunded,
    Voided,
)
from doorbuster.engine.ports import Actor, Clock, OutcomeUnknown, SaleStore, StoreUnavailable
from doorbuster.engine.settling import charge_of

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 16
"""Repairs and second looks under way; a gateway that was wrong about a thousand charges is not to be stormed."""


class Reconciler:
    """Stateless; any number at once."""

    def __init__(self, *, sales: SaleStore, balance: BalanceStore, gateway: Gateway, clock: Clock) -> None:
        self._sales = sales
        self._balance = balance
        self._gateway = gateway
        self._clock = clock

    async def reconcile(self, sale_id: str, actor: Actor) -> Reconciliation | Refusal:
        """One sale, whole. Safe at any time, also during the sale. NOT_FOUND; UNAVAILABLE if the ledger does not
        answer. A gateway that does not show its whole book is a verdict, UNKNOWN, and nothing is repaired."""
        try:
            if await self._sales.get(sale_id) is None:
                return Refusal(Code.NOT_FOUND, "there is no such sale")
            found = await self._look(sale_id)
            await self._balance.record(found, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return found

    async def latest(self, sale_id: str) -> Reconciliation | Refusal:
        try:
            found = await self._balance.latest(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return found or Refusal(Code.NOT_FOUND, "this sale was not reconciled yet")

    async def examine(self, attempt: Attempt) -> Break | None:
        """Late news of an attempt that has ended: look, repair, store (P9). May raise StoreUnavailable or
        OutcomeUnknown."""
        entry = await self._entry_of(attempt)
        found = break_of(attempt, entry) if entry is not None else None
        if found is None or found.kind is BreakKind.MISSING_MONEY:
            return None  # only the whole book can say that something is not there
        found = await self._repair(found, entry, attempt)
        await self._balance.note(attempt.order.sale_id, self._gateway.name, found)
        return found

    # ------------------------------------------------------------------------------------------------ looking

    async def _look(self, sale_id: str) -> Reconciliation:
        at_ms = self._clock.now_ms()
        name = self._gateway.name
        try:
            book = {entry.key: entry async for entry in self._gateway.book(sale_id)}
        except StoreUnavailable as problem:
            unknown = Verdict.UNKNOWN
            return Reconciliation(sale_id=sale_id, gateway=name, at_ms=at_ms, verdict=unknown, note=str(problem))
        attempts = {
            gateway_key(attempt, Operation.AUTHORIZE): attempt
            async for chunk in self._balance.attempts_of(sale_id, name)
            for attempt in chunk
        }
        breaks = await self._settled_breaks(book, attempts)
        paid_orders, paid_cents = await self._balance.paid(sale_id)
        under_way = [attempt for attempt in attempts.values() if attempt.state in PAYMENT_UNFINISHED]
        verdict = verdict_of(breaks)
        return Reconciliation(
            sale_id=sale_id,
            gateway=name,
            at_ms=at_ms,
            verdict=verdict,
            charges=len(book),
            captured=sum(1 for entry in book.values() if entry.net_cents),
            captured_cents=sum(entry.captured_cents for entry in book.values()),
            refunded_cents=sum(entry.refunded_cents for entry in book.values()),
            paid_orders=paid_orders,
            paid_cents=paid_cents,
            under_way=len(under_way),
            quarantined=sum(1 for attempt in under_way if at_ms - attempt.created_ms > PAYMENT_ALARM_MS),
            breaks=tuple(breaks),
        )

    async def _settled_breaks(self, book: dict[str, BookEntry], attempts: dict[str, Attempt]) -> list[Break]:
        """Breaks that are still there at a second look, each with its repair made where one may be made."""
        suspects = [key for key in {**book, **attempts} if break_of(attempts.get(key), book.get(key)) is not None]
        again = {
            gateway_key(attempt, Operation.AUTHORIZE): attempt for attempt in await self._balance.by_keys(suspects)
        }
        slots = asyncio.Semaphore(_AT_ONCE)

        async def settle(key: str) -> Break | None:
            async with slots:
                attempt, entry = again.get(key), book.get(key)
                if attempt is not None:
                    entry = await self._entry_of(attempt, entry)
                found = break_of(attempt, entry)
                return None if found is None else await self._repair(found, entry, attempt)

        settled = await asyncio.gather(*(settle(key) for key in sorted(suspects)))
        return [found for found in settled if found is not None]

    async def _entry_of(self, attempt: Attempt, listed: BookEntry | None = None) -> BookEntry | None:
        """The charge as the gateway has it now; as it was listed if it does not say."""
        answer = await self._gateway.look_up(charge_of(attempt))
        if not isinstance(answer, Authorized | Captured | Voided):
            return listed
        captured = answer.amount_cents if isinstance(answer, Captured) else 0
        return BookEntry(
            key=gateway_key(attempt, Operation.AUTHORIZE),
            order_id=attempt.order.order_id,
            amount_cents=attempt.amount_cents if isinstance(answer, Voided) else answer.amount_cents,
            currency=attempt.currency if isinstance(answer, Voided) else answer.currency,
            authorized=not isinstance(answer, Voided),
            captured_cents=captured,
            refunded_cents=answer.refunded_cents if isinstance(answer, Captured) else 0,
            voided=isinstance(answer, Voided),
            ref=attempt.gateway_ref or "",
        )

    # ------------------------------------------------------------------------------------------------ repairing

    async def _repair(self, found: Break, entry: BookEntry | None, attempt: Attempt | None) -> Break:
        if found.repair is Repair.OPERATOR or entry is None:
            log.error("the gateway's book and the ledger differ", kind=found.kind.value, order_id=found.order_id)
            return found
        charge = charge_of(attempt) if attempt is not None else _charge_of_stranger(entry)
        if found.repair is Repair.REFUND:
            key = gateway_key(attempt, Operation.REFUND) if attempt is not None else _key_of_stranger(entry, "refund")
            done = isinstance(await self._gateway.refund(charge, key), Refunded)
        else:
            key = gateway_key(attempt, Operation.VOID) if attempt is not None else _key_of_stranger(entry, "void")
            done = isinstance(await self._gateway.void(charge, key), Voided)
        log.warning("a break was repaired" if done else "a break is not repaired yet", kind=found.kind.value)
        return msgspec.structs.replace(found, repaired=done)


def _charge_of_stranger(entry: BookEntry) -> Charge:
    """A charge the ledger has never heard of, or not any more (a restore from a backup): only the book describes it."""
    return Charge(
        key=entry.key,
        sale_id="",
        order_id=entry.order_id,
        amount_cents=entry.amount_cents,
        currency=entry.currency,
        payment_method="",
        ref=entry.ref or None,
    )


def _key_of_stranger(entry: BookEntry, operation: str) -> str:
    return hashlib.sha256(f"{entry.key}|{operation}".encode()).hexdigest()
