"""Waitlists and notices in memory: implements `engine.waitlist.WaitlistStore` and `engine.notifying.NoticeStore`.

Owns: rows in dictionaries; its time is the ledger's. Read next: `engine/notifying.py`.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from doorbuster.domain.notices import REMINDERS, Channel, NoticeKind, NoticeState
from doorbuster.domain.push import Subscription
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.notifying import Notice, Sending
from doorbuster.reference.ledger import ReferenceLedger


class _Row(msgspec.Struct):
    notice: Notice
    next_ms: int
    state: NoticeState = NoticeState.PENDING
    lease: str = ""

    @property
    def place(self) -> tuple[bool, int, int]:
        """Results come after what is only good for a while."""
        result = self.notice.kind in (NoticeKind.WON, NoticeKind.LOST)
        return result, self.next_ms, self.notice.notice_id


class ReferenceWaitlist:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self._people: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self._tokens: dict[str, str] = {}
        self._browsers: dict[str, Subscription] = {}
        self._unsubscribed: set[str] = set()
        self._notices: dict[tuple[str, str, NoticeKind, Channel, int], _Row] = {}

    async def join(self, sale_id: str, user_id: str, email: str | None, push: Subscription | None = None) -> bool:
        if email is not None:
            email = next((known for known in self._tokens if known.lower() == email.lower()), email)
        known = self._people.get((sale_id, user_id))
        old_email, old_endpoint = known or (None, None)
        endpoint = None if push is None else push.endpoint
        self._people[sale_id, user_id] = (email or old_email, endpoint or old_endpoint)
        if email is not None:
            self._tokens.setdefault(email, str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email}")))
        if push is not None:
            self._browsers[push.endpoint] = push
            self._unsubscribed.discard(push.endpoint)
        return known is None

    async def leave(self, sale_id: str, user_id: str) -> bool:
        return self._people.pop((sale_id, user_id), None) is not None

    async def counts(self) -> dict[str, int]:
        return dict(Counter(sale_id for sale_id, _ in self._people))

    async def unsubscribed(self, token: str) -> bool | None:
        return token in self._unsubscribed if token in self._tokens.values() else None

    async def unsubscribe(self, token: str) -> bool:
        known = token in self._tokens.values()
        if known:
            self._unsubscribed.add(token)
        return known

    # ------------------------------------------------------------------------------------------------ notices

    async def people(self, sale_id: str) -> int:
        return (await self.counts()).get(sale_id, 0)

    async def queue(self, sale_id: str, kind: NoticeKind, expires_ms: int, start_ms: int | None = None) -> int:
        made = 0
        if start_ms is None:
            start_ms = self._ledger.sales[sale_id].start_ms
        start_ms = start_ms if kind in REMINDERS else 0
        for (sale, user_id), (email, endpoint) in sorted(self._people.items()):
            if sale != sale_id:
                continue
            if kind in (NoticeKind.WON, NoticeKind.LOST) and (kind is NoticeKind.WON) != self._won(sale_id, user_id):
                continue
            for channel, there in ((Channel.MAIL, email), (Channel.PUSH, endpoint)):
                address = self._tokens[there] if there and channel is Channel.MAIL else there
                key = (sale_id, user_id, kind, channel, start_ms)
                if there is None or key in self._notices or address in self._unsubscribed:
                    continue
                told = (row.notice for one, row in self._notices.items() if (one[0], *one[2:]) == (sale_id, *key[2:]))
                if any(there in (notice.email, _endpoint(notice)) for notice in told):
                    continue
                made += 1
                notice = Notice(
                    notice_id=len(self._notices) + 1,
                    sale_id=sale_id,
                    user_id=user_id,
                    kind=kind,
                    expires_ms=expires_ms,
                    start_ms=start_ms,
                    attempts=0,
                    email=there if channel is Channel.MAIL else "",
                    token=self._tokens[there] if channel is Channel.MAIL else "",
                    push=self._browsers[there] if channel is Channel.PUSH else None,
                )
                self._notices[key] = _Row(notice=notice, next_ms=self._ledger.clock.now_ms())
        return made

    async def claim(self, lease: str, channel: Channel, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        now = self._ledger.clock.now_ms()
        mine = [row for row in self._notices.values() if row.lease == lease]
        for row in mine:
            row.next_ms = now + lease_ms
        if mine:
            return [row.notice for row in mine]
        rows = [row for key, row in self._notices.items() if key[3] is channel and row.next_ms <= now]
        taken: list[Notice] = []
        for row in sorted(rows, key=lambda row: row.place):
            if row.state is NoticeState.SENDING:
                row.state, row.lease = NoticeState.UNKNOWN, ""
            elif row.state is not NoticeState.PENDING:
                continue
            elif (there := self._address(row.notice, channel)) is None:
                row.state = NoticeState.UNSUBSCRIBED
            elif row.notice.expires_ms <= now or self._out_of_date(row.notice):
                row.state = NoticeState.EXPIRED
            elif len(taken) < limit:
                attempts = row.notice.attempts + 1
                row.notice = msgspec.structs.replace(row.notice, attempts=attempts, **there)
                row.state, row.lease, row.next_ms = NoticeState.SENDING, lease, now + lease_ms
                taken.append(row.notice)
        return taken

    def _address(self, notice: Notice, channel: Channel) -> dict[str, Any] | None:
        """Where its buyer wants it now, with the keys of now; None: nowhere."""
        email, endpoint = self._people.get((notice.sale_id, notice.user_id), (None, None))
        if channel is Channel.MAIL and email and self._tokens[email] not in self._unsubscribed:
            return {"email": email, "token": self._tokens[email]}
        if channel is Channel.PUSH and endpoint and endpoint not in self._unsubscribed:
            return {"push": self._browsers[endpoint]}
        return None

    def _out_of_date(self, notice: Notice) -> bool:
        sale = self._ledger.sales[notice.sale_id]
        now = (sale.status, sale.start_ms)
        return notice.kind in REMINDERS and now != (SaleStatus.SCHEDULED, notice.start_ms)

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None:
        rows = {row.notice.notice_id: row for row in self._notices.values() if row.lease == lease}
        for sending in sendings:
            row = rows.get(sending.notice_id)
            if row is not None:
                row.state, row.lease = sending.state, ""
                if not sending.counts:
                    row.notice = msgspec.structs.replace(row.notice, attempts=row.notice.attempts - 1)
                row.next_ms = self._ledger.clock.now_ms() + sending.pause_ms
                if row.state is NoticeState.UNSUBSCRIBED and row.notice.push is not None:
                    self._unsubscribed.add(row.notice.push.endpoint)

    async def progress(self, sale_id: str, kind: NoticeKind, channel: Channel) -> Mapping[NoticeState, int]:
        asked = (sale_id, kind, channel)
        return Counter(row.state for (sale, _, *what, _), row in self._notices.items() if (sale, *what) == asked)

    def _won(self, sale_id: str, user_id: str) -> bool:
        return any(
            order.user_id == user_id and order.order_id not in self._ledger.returned
            for order in self._ledger.orders_of(sale_id, OrderStatus.PAID)
        )


def _endpoint(notice: Notice) -> str:
    return "" if notice.push is None else notice.push.endpoint
