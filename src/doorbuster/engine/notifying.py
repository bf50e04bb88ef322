"""Tells people on a waitlist: queues what they are to be told, and sends it.

Owns: the steps of the day that tell people, and the sending. A notice is marked before it is sent, and one whose sender
died is never sent again: a reminder less is better than two. Read next: `adapters/notify/`, `agents/notifier.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.notices import NoticeKind, NoticeState, pause_after, worth_sending_until
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, Mail, Mailer, StepSkipped
from doorbuster.engine.ports import Clock, Ids, SaleStore
from doorbuster.engine.timeline_ports import TimelineStore

LEASE_MS: Final = 120_000
"""Longer than a batch takes at the slowest rate that a server is asked with."""
BATCH: Final = 100
_SALES_KEPT: Final = 1_000


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """`token` names the address in the link that ends all mails to it."""

    notice_id: int
    sale_id: str
    user_id: str
    kind: NoticeKind
    email: str
    attempts: int
    token: str


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """How it went with one notice."""

    notice_id: int
    state: NoticeState
    words: str = ""
    pause_ms: int = 0


class NoticeStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def people(self, sale_id: str) -> int: ...

    async def queue(self, sale_id: str, kind: NoticeKind, expires_ms: int) -> int:
        """One notice for everybody on the sale's waitlist that it is for; who has one gets no second. Returns how many
        were made now."""
        ...

    async def claim(self, lease: str, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        """Take notices to send; each is taken once. What is too late, or whose sender was not heard of, is closed."""
        ...

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None: ...
    async def progress(self, sale_id: str, kind: NoticeKind) -> Mapping[NoticeState, int]: ...


Compose = Callable[[Notice, Sale, Plan], Mail]


class Notifying:
    """The steps `notify-1h`, `notify-5m` and `waitlist-open`, and what is told when all is over."""

    def __init__(self, store: NoticeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def in_an_hour(self, asked: Asked) -> Detail:
        return await self._remind(asked, NoticeKind.HOUR)

    async def in_five_minutes(self, asked: Asked) -> Detail:
        return await self._remind(asked, NoticeKind.MINUTES)

    async def waitlist_open(self, asked: Asked) -> Detail:
        """The page is shown by the clock alone; this says who waits for it."""
        if asked.sale.status is not SaleStatus.SCHEDULED:
            raise StepSkipped("the sale has begun")
        return {"people": await self._store.people(asked.sale.sale_id)}

    async def tell_results(self, sale: Sale) -> Detail:
        """Who bought, and who did not; of an aborted sale, that it was called off."""
        kinds = (NoticeKind.WON, NoticeKind.LOST)
        if sale.status is SaleStatus.CANCELLED:
            kinds = (NoticeKind.ABORTED,)
        now = self._clock.now_ms()
        return {
            f"told_{kind.value}": await self._store.queue(sale.sale_id, kind, worth_sending_until(kind, sale, now))
            for kind in kinds
        }

    async def progress(self, sale_id: str, kind: NoticeKind) -> Detail:
        """What has become of the mails, for the timeline."""
        found = await self._store.progress(sale_id, kind)
        return {f"mails_{state.value}": count for state, count in found.items() if count}

    async def _remind(self, asked: Asked, kind: NoticeKind) -> Detail:
        until = worth_sending_until(kind, asked.sale, asked.now_ms)
        if asked.now_ms >= until:
            raise StepSkipped("it is too late for this reminder")
        people = await self._store.people(asked.sale.sale_id)
        if not people:
            raise StepSkipped("nobody is on the waitlist")
        return {"people": people, "queued": await self._store.queue(asked.sale.sale_id, kind, until)}


class NoticeSender:
    """One pass takes a batch and sends it. Any number of them at once."""

    def __init__(
        self,
        *,
        store: NoticeStore,
        sales: SaleStore,
        timeline: TimelineStore,
        mailer: Mailer,
        compose: Compose,
        ids: Ids,
    ) -> None:
        self._store = store
        self._sales = sales
        self._mailer = mailer
        self._compose = compose
        self._timeline = timeline
        self._ids = ids
        self._known: dict[str, tuple[Sale, Plan]] = {}
        self.down = False
        """The last batch reached nobody: there is no use in taking the next one at once."""

    async def run_once(self, limit: int = BATCH) -> Mapping[str, int]:
        lease = self._ids.new_id()
        notices = await self._store.claim(lease, lease_ms=LEASE_MS, limit=limit)
        if not notices:
            return {}
        mails = [self._compose(notice, *await self._about(notice.sale_id)) for notice in notices]
        outcomes = await self._mailer.send_many(mails)
        sendings: list[Sending] = []
        for notice, problem in zip(notices, outcomes, strict=True):
            if problem is None:
                sendings.append(Sending(notice_id=notice.notice_id, state=NoticeState.SENT))
                continue
            pause = None if problem.final else pause_after(notice.attempts, self._ids.jitter())
            state = NoticeState.REFUSED if pause is None else NoticeState.PENDING
            if problem.unsure:
                state = NoticeState.UNKNOWN
            words = str(problem)[:200]
            sendings.append(Sending(notice_id=notice.notice_id, state=state, words=words, pause_ms=pause or 0))
        await self._store.record(lease, sendings)
        self.down = all(problem is not None and not problem.final for problem in outcomes)
        sent = sum(sending.state is NoticeState.SENT for sending in sendings)
        later = sum(sending.state is NoticeState.PENDING for sending in sendings)
        return {"sent": sent, "refused": len(sendings) - sent - later, "later": later}

    async def _about(self, sale_id: str) -> tuple[Sale, Plan]:
        """As it was when a mail about it was written lately: a title costs no query."""
        if sale_id not in self._known:
            sale = await self._sales.get(sale_id)
            assert sale is not None, "a notice of a sale that is not there"
            while len(self._known) >= _SALES_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[sale_id] = (sale, await self._timeline.plan(sale_id))
        return self._known[sale_id]

    def forget_sales(self) -> None:
        """Called between passes now and then: a sale may have been moved."""
        self._known.clear()
