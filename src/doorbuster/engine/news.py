"""Hears what a gateway says by itself, and goes to look (P8, P9).

Owns: that an event is stored before it is acknowledged, and that it is never believed: it names a charge, and the
charge is looked up. States move by what is found there, so late, doubled, shuffled and forged events change nothing
(C40, C41). An attempt that has ended already and that the event does not just confirm is examined against the book.
Keeps: I7, I13. Read next: `settling.py` (an attempt that has not ended), `reconciling.py` (one that has).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from enum import StrEnum
from typing import Final, Protocol

import msgspec
import structlog

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_UNFINISHED, Attempt
from doorbuster.domain.transitions import PaymentState
from doorbuster.engine.payment_ports import Gateway, News, NotNews, PaymentStore
from doorbuster.engine.ports import Clock, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.settling import Settler

log = structlog.get_logger(__name__)

LOOKS_AT_ONCE: Final = 32
"""Look-ups that news have started in one process; what finds no room waits for the resolver, which comes at once."""

_CONFIRMED: Final = {
    PaymentState.CAPTURED: frozenset({"authorized", "captured"}),
    PaymentState.DECLINED: frozenset({"declined"}),
    PaymentState.VOIDED: frozenset({"voided", "declined"}),
    PaymentState.REFUNDED: frozenset({"authorized", "captured", "refunded"}),
}
"""Kinds that tell nothing new of an attempt that has ended so. Any other, whatever it is called, is looked into."""


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says to an event: whether it was never heard of before, and the attempt it is about."""

    fresh: bool
    attempt: Attempt | None


class NewsStore(Protocol):
    """Events of one gateway in the ledger. May raise StoreUnavailable or OutcomeUnknown: the event was perhaps not
    kept, and the gateway has to deliver it again."""

    async def note(self, news: News) -> Noted:
        """Keep an event under its id, and mark its attempt to be looked at, in one transaction (C41)."""
        ...


class Word(StrEnum):
    """What became of an event; both are a success for who delivered it."""

    HEARD = "heard"
    KNOWN = "known"  # delivered before


class Newsroom:
    """One per gate. `stop` waits for the looks under way."""

    def __init__(
        self,
        *,
        store: NewsStore,
        payments: PaymentStore,
        gateway: Gateway,
        clock: Clock,
        examine: Callable[[Attempt], Awaitable[object]],
    ) -> None:
        """`examine` is asked about an attempt that has ended and of which there is news all the same."""
        self._store = store
        self._gateway = gateway
        self._settler = Settler(payments, gateway, clock)
        self._clock = clock
        self._examine = examine
        self._hearing: dict[str, asyncio.Future[Noted]] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self.heard = 0
        self.known = 0
        self.refused = 0

    async def hear(self, gateway: str, headers: Mapping[str, str], body: bytes) -> Word | Refusal:
        """One delivery. NOT_FOUND: not the gateway of this shop. UNAUTHENTICATED: forged, too old or unreadable.
        UNAVAILABLE: not kept; deliver it again."""
        if gateway != self._gateway.name:
            return Refusal(Code.NOT_FOUND, f"payments here go through {self._gateway.name!r}, not {gateway!r}")
        news = self._gateway.read_news(headers, body, self._clock.now_ms())
        if isinstance(news, NotNews):
            self.refused += 1
            log.warning("a webhook was refused", gateway=gateway, reason=news.reason)
            return Refusal(Code.UNAUTHENTICATED, news.reason)
        try:
            noted, first = await self._note(news)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; deliver it again", 1_000)
        if not (noted.fresh and first):
            self.known += 1
            return Word.KNOWN
        self.heard += 1
        if noted.attempt is not None:
            self._look(noted.attempt, news)
        return Word.HEARD

    async def stop(self) -> None:
        while self._looks:
            await asyncio.wait(self._looks.values())

    async def _note(self, news: News) -> tuple[Noted, bool]:
        """What the store says; a delivery beside the first of the same event shares its answer."""
        under_way = self._hearing.get(news.event_id)
        if under_way is not None:
            return await asyncio.shield(under_way), False
        task = asyncio.ensure_future(self._store.note(news))
        self._hearing[news.event_id] = task
        task.add_done_callback(lambda _: self._hearing.pop(news.event_id, None))
        return await asyncio.shield(task), True

    def _look(self, attempt: Attempt, news: News) -> None:
        if news.kind in _CONFIRMED.get(attempt.state, frozenset()):
            return
        if attempt.payment_id in self._looks or len(self._looks) >= LOOKS_AT_ONCE:
            return  # it is marked: the resolver takes it with its next pass
        task = asyncio.get_running_loop().create_task(self._go_and_look(attempt))
        self._looks[attempt.payment_id] = task
        task.add_done_callback(lambda _: self._looks.pop(attempt.payment_id, None))

    def _go_and_look(self, attempt: Attempt) -> Coroutine[None, None, None]:
        return self._settle(attempt) if attempt.state in PAYMENT_UNFINISHED else self._examine_ended(attempt)

    async def _settle(self, attempt: Attempt) -> None:
        try:
            await self._settler.settle(attempt, interrupted=True)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the resolver goes on

    async def _examine_ended(self, attempt: Attempt) -> None:
        try:
            await self._examine(attempt)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the next reconciliation finds it
