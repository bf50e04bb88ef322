"""Tells people on a waitlist: queues what they are to be told, and sends it.

Owns: the steps of the day that tell people, and the sending, by mail and by web push. A notice is marked before it is
sent, and one whose sender died is never sent again: a reminder less is better than two. Keeps: what a sender took and
did not begin to send goes back, whatever the store says meanwhile. Read next: `adapters/notify/`, `agents/notifier.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.notices import (
    AWAY_MS,
    REMINDERS,
    Channel,
    NoticeKind,
    NoticeState,
    pause_after,
    worth_sending_until,
)
from doorbuster.domain.plan import Plan
from doorbuster.domain.push import Subscription
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotSent, StepSkipped
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, SaleStore, StoreUnavailable
from doorbuster.engine.timeline_ports import TimelineStore

LEASE_MS: Final = 600_000
"""Senders give back what is left of a batch after a minute; the rest of this is for a ledger that is away when the
outcomes are to be written."""
BATCH: Final = 100
PAUSE_ASKED_MS_MAX: Final = 3_600_000
"""A receiver that asks for more is asked again in an hour all the same."""
_MANY: Final = 10
"""So many who are put off at once are no accident of theirs."""
_SALES_KEPT: Final = 1_000
_PLURALS: Final = {Channel.MAIL: "mails", Channel.PUSH: "pushes"}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """For an address or for a browser, as its channel has it; the other is empty. `token` names the address in the
    link that ends all mails to it. `expires_ms`: it is worth nothing after. `start_ms`: the start that a reminder is
    of; 0 for others."""

    notice_id: int
    sale_id: str
    user_id: str
    kind: NoticeKind
    expires_ms: int
    start_ms: int
    attempts: int
    email: str = ""
    token: str = ""
    push: Subscription | None = None


class Letter(msgspec.Struct, frozen=True):
    """A notice and what is to be said of its sale."""

    notice: Notice
    sale: Sale
    plan: Plan


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """How it went with one notice. A browser that is `unsubscribed` is sent nothing any more. `counts` False: the try
    was none, for it never came to the receiver."""

    notice_id: int
    state: NoticeState
    words: str = ""
    pause_ms: int = 0
    counts: bool = True


class NoticeStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def people(self, sale_id: str) -> int: ...

    async def queue(self, sale_id: str, kind: NoticeKind, expires_ms: int, start_ms: int | None = None) -> int:
        """One notice on each channel for everybody on the sale's waitlist that it is for; who has one gets no second,
        nor has an address or a browser that several gave. A reminder is one of a start: `start_ms`, or the sale's as it
        is now. Returns how many were made now."""
        ...

    async def claim(self, lease: str, channel: Channel, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        """Take notices to send, reminders and what is called off before results; each is taken once, and once more by
        the same lease alone. Each goes where its buyer wants it now. What is too late, of a start that is not the
        sale's, of a buyer who left, or whose sender was not heard of, is closed."""
        ...

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None: ...
    async def progress(self, sale_id: str, kind: NoticeKind, channel: Channel) -> Mapping[NoticeState, int]: ...


class Deliver(Protocol):
    """Writes and sends, each once, as its channel does; one outcome for each, None for one that was accepted."""

    async def __call__(self, letters: Sequence[Letter], now_ms: int) -> Sequence[NotSent | None]: ...


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
        """What has become of the mails and of the pushes, for the timeline."""
        return {
            f"{_PLURALS[channel]}_{state.value}": count
            for channel in Channel
            for state, count in (await self._store.progress(sale_id, kind, channel)).items()
            if count
        }

    async def results(self, sale_id: str) -> Detail:
        """The same of all that is told of how it ended."""
        kinds = (NoticeKind.WON, NoticeKind.LOST, NoticeKind.ABORTED)
        found = [(kind, await self.progress(sale_id, kind)) for kind in kinds]
        return {f"{kind.value}_{what}": count for kind, detail in found for what, count in detail.items()}

    async def _remind(self, asked: Asked, kind: NoticeKind) -> Detail:
        until = worth_sending_until(kind, asked.sale, asked.now_ms)
        if asked.now_ms >= until:
            raise StepSkipped("it is too late for this reminder")
        people = await self._store.people(asked.sale.sale_id)
        if not people:
            raise StepSkipped("nobody is on the waitlist")
        return {"people": people, "queued": await self._queue(asked.sale, kind, until)}

    async def _queue(self, sale: Sale, kind: NoticeKind, until: int) -> int:
        return await self._store.queue(sale.sale_id, kind, until, sale.start_ms)


class NoticeSender:
    """One pass takes a batch of one channel and sends it. Any number of them at once."""

    def __init__(
        self,
        *,
        store: NoticeStore,
        sales: SaleStore,
        timeline: TimelineStore,
        channel: Channel,
        deliver: Deliver,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._sales = sales
        self._channel = channel
        self._deliver = deliver
        self._timeline = timeline
        self._clock = clock
        self._ids = ids
        self._known: dict[str, tuple[Sale, Plan]] = {}
        self._lease = ""
        """Of a claim that was not answered: it may have taken some."""
        self._owed: list[tuple[str, Sequence[Sending]]] = []
        """What is not written yet, by lease."""
        self.trouble = ""
        """What it said, if it is nothing about those it was for."""
        self.down = False
        """The last batch reached nobody: there is no use in taking the next one at once."""

    async def run_once(self, limit: int = BATCH) -> Mapping[str, int]:
        await self._write()
        lease = self._lease = self._lease or self._ids.new_id()
        notices = await self._store.claim(lease, self._channel, lease_ms=LEASE_MS, limit=limit)
        self._lease = ""
        if not notices:
            return {}
        try:
            letters = [Letter(notice, *await self._about(notice)) for notice in notices]
        except (StoreUnavailable, OutcomeUnknown):
            untried = NotSent("the ledger did not answer", away=True)
            self._owed.append((lease, [self._sending(notice, untried) for notice in notices]))
            raise
        outcomes = await self._deliver(letters, self._clock.now_ms())
        self.down = all(problem is not None and not problem.final for problem in outcomes)
        ours = self.down and (len(outcomes) >= _MANY or all(problem and problem.away for problem in outcomes))
        self.trouble = str(outcomes[0]) if ours else ""
        sendings = [self._sending(notice, problem) for notice, problem in zip(notices, outcomes, strict=True)]
        self._owed.append((lease, sendings))
        await self._write()
        sent = sum(sending.state is NoticeState.SENT for sending in sendings)
        later = sum(sending.state is NoticeState.PENDING for sending in sendings)
        return {"sent": sent, "refused": len(sendings) - sent - later, "later": later}

    async def _write(self) -> None:
        """What went wrong is tried before the next claim."""
        while self._owed:
            await self._store.record(*self._owed[0])
            self._owed.pop(0)

    def _sending(self, notice: Notice, problem: NotSent | None) -> Sending:
        if problem is None:
            return Sending(notice_id=notice.notice_id, state=NoticeState.SENT)
        words = str(problem)[:200]
        pause = int(AWAY_MS * (0.5 + self._ids.jitter()))
        if not problem.away:
            pause = pause_after(notice.attempts, self._ids.jitter())
        if problem.gone:
            state = NoticeState.UNSUBSCRIBED
        elif problem.unsure:
            state = NoticeState.UNKNOWN
        elif problem.final or pause is None:
            state = NoticeState.REFUSED
        else:
            pause_ms = max(pause, min(problem.pause_ms, PAUSE_ASKED_MS_MAX))
            return Sending(
                notice_id=notice.notice_id,
                state=NoticeState.PENDING,
                words=words,
                pause_ms=pause_ms,
                counts=not problem.away,
            )
        return Sending(notice_id=notice.notice_id, state=state, words=words)

    async def _about(self, notice: Notice) -> tuple[Sale, Plan]:
        """As it was when a mail about it was written lately: a title costs no query. A start that is not the one of the
        reminder is out of date: the claim looked."""
        sale_id = notice.sale_id
        known = self._known.get(sale_id)
        if known is None or (notice.kind in REMINDERS and known[0].start_ms != notice.start_ms):
            sale = await self._sales.get(sale_id)
            assert sale is not None, "a notice of a sale that is not there"
            while len(self._known) >= _SALES_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[sale_id] = (sale, await self._timeline.plan(sale_id))
        return self._known[sale_id]

    def forget_sales(self) -> None:
        """Called between passes now and then: a sale may have been moved."""
        self._known.clear()
