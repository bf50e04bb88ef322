"""Who wants to be told of a sale before it begins.

Owns: the use case. Nothing is read from PostgreSQL for a visitor: counts are read once a second for all, and those who
join in one moment are one transaction. Read next: `notifying.py`.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from doorbuster.domain.notices import email_problem
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.push import Subscription, subscription_problem
from doorbuster.domain.rehearsal import foreign
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SALE_OVER, SaleStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.ports import Clock, OutcomeUnknown, StoreUnavailable

PAGE_OPENS_MS = 300_000
"""How long before the start the page of those who wait is shown."""


class WaitlistStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def join(self, sale_id: str, user_id: str, email: str | None, push: Subscription | None = None) -> bool:
        """Be on the list; a later address replaces the one before, a later browser as well. A browser that was gone
        is back by this. False: the buyer was on it."""
        ...

    async def leave(self, sale_id: str, user_id: str) -> bool: ...
    async def counts(self) -> dict[str, int]:
        """People on the list, by sale."""
        ...

    async def unsubscribed(self, token: str) -> bool | None:
        """Whether the address of this link gets no mails any more; None: there is no such link."""
        ...

    async def unsubscribe(self, token: str) -> bool:
        """No mail goes there any more, of any sale. False: there is no such link."""
        ...


class PushTerms(msgspec.Struct, frozen=True):
    """Whose messages a browser is asked to take, and from which push services; see `subscription_problem`."""

    public_key: str
    services: Sequence[str]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    sale: Sale
    people: int
    page_open: bool
    push_key: str | None


class Waitlist:
    """`push` None: there is no web push here."""

    def __init__(self, store: WaitlistStore, board: SaleBoard, clock: Clock, push: PushTerms | None = None) -> None:
        self._store = store
        self._push = push
        self._board = board
        self._clock = clock
        self._counts: dict[str, int] = {}

    async def refresh(self) -> None:
        """Read the counts; the gate does so once a second."""
        self._counts = await self._store.counts()

    async def see(self, sale_id: str) -> Waiting | Refusal:
        sale = await self._sale(sale_id)
        if isinstance(sale, Refusal):
            return sale
        open_from = sale.start_ms - PAGE_OPENS_MS
        page_open = sale.status is SaleStatus.SCHEDULED and open_from <= self._clock.now_ms() < sale.start_ms
        push_key = None if self._push is None else self._push.public_key
        return Waiting(sale=sale, people=self._counts.get(sale_id, 0), page_open=page_open, push_key=push_key)

    async def join(
        self, sale_id: str, user_id: str, email: str | None, push: Subscription | None = None
    ) -> Sale | Refusal:
        """Before the sale begins; again, with another address or browser, to change it."""
        problem = None if email is None else email_problem(email)
        problem = problem or (None if push is None else self._push_problem(push))
        if problem is not None:
            return Refusal(Code.INVALID_REQUEST, problem)
        sale = await self._sale(sale_id)
        if isinstance(sale, Refusal):
            return sale
        if foreign(sale, user_id):
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        if sale.status in SALE_OVER:
            return Refusal(Code.ENDED, "the sale is over")
        if sale.status is not SaleStatus.SCHEDULED or self._clock.now_ms() >= sale.start_ms:
            return Refusal(Code.CONFLICT, "the sale has begun; there is nothing to wait for")
        try:
            await self._store.join(sale_id, user_id, email, push)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return sale

    async def leave(self, sale_id: str, user_id: str) -> Sale | Refusal:
        sale = await self._sale(sale_id)
        if isinstance(sale, Refusal):
            return sale
        try:
            await self._store.leave(sale_id, user_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return sale

    async def unsubscribed(self, token: str) -> bool | Refusal:
        try:
            found = await self._store.unsubscribed(token)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return Refusal(Code.NOT_FOUND, "this link is of no mail of ours") if found is None else found

    async def unsubscribe(self, token: str) -> bool | Refusal:
        try:
            known = await self._store.unsubscribe(token)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return True if known else Refusal(Code.NOT_FOUND, "this link is of no mail of ours")

    def _push_problem(self, push: Subscription) -> str | None:
        if self._push is None:
            return "push: this shop sends no push messages (DOORBUSTER_PUSH_PRIVATE_KEY is not set); leave it out"
        return subscription_problem(push, self._push.services)

    async def _sale(self, sale_id: str) -> Sale | Refusal:
        try:
            sale = self._board.get(sale_id) or await self._board.look(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
        return sale or Refusal(Code.NOT_FOUND, "there is no such sale")
