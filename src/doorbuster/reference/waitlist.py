"""Waitlists and notices in memory: implements `engine.waitlist.WaitlistStore` and `engine.notifying.NoticeStore`.

Owns: rows in dictionaries; its time is the ledger's. Read next: `engine/notifying.py`.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from doorbuster.domain.notices import NoticeKind, NoticeState
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.notifying import Notice, Sending
from doorbuster.reference.ledger import ReferenceLedger


class _Row(msgspec.Struct):
    notice: Notice
    expires_ms: int
    next_ms: int
    state: NoticeState = NoticeState.PENDING
    lease: str = ""


class ReferenceWaitlist:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self._people: dict[tuple[str, str], str | None] = {}
        self._tokens: dict[str, str] = {}
        self._unsubscribed: set[str] = set()
        self._notices: dict[tuple[str, str, NoticeKind], _Row] = {}

    async def join(self, sale_id: str, user_id: str, email: str | None) -> bool:
        known = (sale_id, user_id) in self._people
        self._people[sale_id, user_id] = email or self._people.get((sale_id, user_id))
        if email is not None:
            self._tokens.setdefault(email, str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email}")))
        return not known

    async def leave(self, sale_id: str, user_id: str) -> bool:
        known = (sale_id, user_id) in self._people
        self._people.pop((sale_id, user_id), None)
        return known

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

    async def queue(self, sale_id: str, kind: NoticeKind, expires_ms: int) -> int:
        made = 0
        for (sale, user_id), email in sorted(self._people.items()):
            known = (sale_id, user_id, kind) in self._notices
            if sale != sale_id or email is None or known or self._tokens[email] in self._unsubscribed:
                continue
            if kind in (NoticeKind.WON, NoticeKind.LOST) and (kind is NoticeKind.WON) != self._won(sale_id, user_id):
                continue
            made += 1
            self._notices[sale_id, user_id, kind] = _Row(
                notice=Notice(
                    notice_id=len(self._notices) + 1,
                    sale_id=sale_id,
                    user_id=user_id,
                    kind=kind,
                    email=email,
                    attempts=0,
                    token=self._tokens[email],
                ),
                expires_ms=expires_ms,
                next_ms=self._ledger.clock.now_ms(),
            )
        return made

    async def claim(self, lease: str, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        now = self._ledger.clock.now_ms()
        taken: list[Notice] = []
        for row in sorted(self._notices.values(), key=lambda row: (row.next_ms, row.notice.notice_id)):
            if row.state not in (NoticeState.PENDING, NoticeState.SENDING) or row.next_ms > now:
                continue
            if row.state is NoticeState.SENDING:
                row.state, row.lease = NoticeState.UNKNOWN, ""
            elif row.notice.token in self._unsubscribed:
                row.state = NoticeState.UNSUBSCRIBED
            elif row.expires_ms <= now:
                row.state = NoticeState.EXPIRED
            elif len(taken) < limit:
                row.notice = msgspec.structs.replace(row.notice, attempts=row.notice.attempts + 1)
                row.state, row.lease, row.next_ms = NoticeState.SENDING, lease, now + lease_ms
                taken.append(row.notice)
        return taken

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None:
        rows = {row.notice.notice_id: row for row in self._notices.values() if row.lease == lease}
        for sending in sendings:
            row = rows.get(sending.notice_id)
            if row is not None:
                row.state, row.lease = sending.state, ""
                row.next_ms = self._ledger.clock.now_ms() + sending.pause_ms

    async def progress(self, sale_id: str, kind: NoticeKind) -> Mapping[NoticeState, int]:
        return Counter(row.state for (sale, _, what), row in self._notices.items() if (sale, what) == (sale_id, kind))

    def _won(self, sale_id: str, user_id: str) -> bool:
        return any(
            order.user_id == user_id and order.order_id not in self._ledger.returned
            for order in self._ledger.orders_of(sale_id, OrderStatus.PAID)
        )
