"""The image of one sale, and what it makes of one ask.

Owns: the precedence of the words of a take, and what moves when a unit is taken or given back.
Keeps: I1, I5, I6; the Lua functions of the real store are compared with these lines.
Read next: `stock.py`, which decides which image may be touched.
"""

from collections.abc import Iterator

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageState, ImageTerms
from doorbuster.engine.line_ports import Grant, NewsItem
from doorbuster.engine.ports import (
    Ask,
    Release,
    Take,
    TakeWord,
)


class LineState(msgspec.Struct, kw_only=True):
    """The line's part of a head, and what has changed in it."""

    number_next: int
    number_high: int
    moves_ms: int
    ended_number: int
    mark: int = 0
    seq: int = 0
    news: list[NewsItem] = msgspec.field(default_factory=list[NewsItem])

    def tell(self, item: NewsItem) -> None:
        self.seq += 1
        self.news = [*self.news[-limits.NEWS_KEPT + 1 :], item]


class Head(msgspec.Struct, kw_only=True):
    """The published numbers of an image."""

    epoch: int
    terms: ImageTerms
    available: int
    stock: int
    held: int
    tick: int
    line: LineState | None = None

    def closed_word(self, now_ms: int) -> TakeWord | None:
        """Why the sale sells nothing at this moment; None if it sells."""
        terms = self.terms
        if terms.state is ImageState.PAUSED:
            return TakeWord.PAUSED
        # A sale that was ended or aborted before its start does not start any more.
        if now_ms < terms.opens_ms and terms.state is not ImageState.OVER:
            return TakeWord.NOT_STARTED
        if terms.state is ImageState.OVER or now_ms >= terms.ends_ms:
            return TakeWord.OVER
        return None


class Image(msgspec.Struct, kw_only=True):
    """Every key of one sale. `head` is set last when an image is published; without it nothing can be read."""

    head: Head | None = None
    stock_lost: bool = False
    """The number of free units is gone or garbled: that is no image, never a stock of 0."""
    holds: dict[str, Hold] = msgspec.field(default_factory=dict[str, Hold])
    claims: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Units held or bought by each buyer."""
    keys: dict[tuple[str, str], tuple[str, str]] = msgspec.field(default_factory=dict[tuple[str, str], tuple[str, str]])
    """Buyer and idempotency key to hold id and digest."""
    pending: set[str] = msgspec.field(default_factory=set[str])
    """Holds not yet confirmed."""
    blocked: set[str] = msgspec.field(default_factory=set[str])
    queue: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Buyers who wait, with their numbers."""
    granting: dict[str, Grant] = msgspec.field(default_factory=dict[str, Grant])
    """Buyers whose unit is taken and whose order is not settled."""
    spent: dict[str, tuple[int, str]] = msgspec.field(default_factory=dict[str, tuple[int, str]])
    """The highest number of a buyer that waits no longer, and the order it became."""
    build: tuple[int, str] | None = None
    """The epoch being built, and the run of the server that began it."""

    def decide(self, head: Head, ask: Ask, now_ms: int) -> Take:
        """Answer one ask on what those before it have left, and write what it gets."""
        earlier = self.keys.get((ask.user_id, ask.key))
        if earlier is not None:  # I5
            hold_id, digest = earlier
            return Take(TakeWord.SEEN, hold_id) if digest == ask.digest else Take(TakeWord.MISMATCH)
        closed = head.closed_word(now_ms)
        if closed is not None:
            return Take(closed)
        if ask.user_id in self.blocked:
            return Take(TakeWord.BLOCKED)
        if self.claims.get(ask.user_id, 0) + ask.quantity > head.terms.limit:  # I6
            return Take(TakeWord.LIMIT)
        if ask.quantity > head.stock:  # I1
            return Take(TakeWord.NO_STOCK)
        # Point of no return.
        hold = Hold(
            hold_id=ask.hold_id,
            user_id=ask.user_id,
            quantity=ask.quantity,
            key=ask.key,
            digest=ask.digest,
            since_ms=now_ms,
        )
        self.add(hold)
        self.pending.add(hold.hold_id)
        head.stock -= hold.quantity
        head.held += hold.quantity
        return Take(TakeWord.HELD, hold.hold_id)

    def add(self, hold: Hold) -> None:
        """Write a hold, its units to its buyer's claims, and its key. A hold that is there is left as it is."""
        if hold.hold_id not in self.holds:
            self.holds[hold.hold_id] = hold
            self.claims[hold.user_id] = self.claims.get(hold.user_id, 0) + hold.quantity
        self.remember_key(hold)

    def remember_key(self, hold: Hold) -> None:
        if hold.key:
            self.keys[hold.user_id, hold.key] = (hold.hold_id, hold.digest)

    def give_back(self, head: Head, release: Release) -> int:
        """Units returned: those of the hold if it is there and the buyer's, else none."""
        hold = self.holds.get(release.hold_id)
        if hold is None or hold.user_id != release.user_id:
            return 0
        # Point of no return.
        del self.holds[hold.hold_id]
        self.pending.discard(hold.hold_id)
        self.claims[hold.user_id] -= hold.quantity
        if not self.claims[hold.user_id]:
            del self.claims[hold.user_id]
        # A key that answers with another hold by now is that hold's.
        if release.forget_key and self.keys.get((hold.user_id, hold.key), ("", ""))[0] == hold.hold_id:
            del self.keys[hold.user_id, hold.key]
        head.stock += hold.quantity
        head.held -= hold.quantity
        return hold.quantity

    def write(self, chunk: ImageChunk) -> None:
        """Rows of an image that is being built."""
        for hold in chunk.holds:
            self.add(hold)
        for hold in chunk.closed_keys:
            self.remember_key(hold)
        self.blocked.update(chunk.blocked)
        for spent in chunk.spent:
            if spent.number > self.spent_number(spent.user_id):
                self.spent[spent.user_id] = (spent.number, spent.hold_id)
            if self.queue.get(spent.user_id, spent.number + 1) <= spent.number:
                del self.queue[spent.user_id]
        for row in chunk.line:
            if row.number > self.spent_number(row.user_id):
                self.wait(row.user_id, row.number)

    def wait(self, user_id: str, number: int) -> None:
        """Into the line, with the lower of two numbers."""
        self.queue[user_id] = min(number, self.queue.get(user_id, number))

    def spent_number(self, user_id: str) -> int:
        return self.spent.get(user_id, (0, ""))[0]

    def waiting(self) -> int:
        return len(self.queue) + len(self.granting)

    def position(self, user_id: str) -> int:
        """1-based among all who wait; those being granted are first."""
        grant = self.granting.get(user_id)
        if grant is not None:
            return 1 + sum(other.number < grant.number for other in self.granting.values())
        number = self.queue[user_id]
        return 1 + len(self.granting) + sum(other < number for other in self.queue.values())

    def left_behind(self) -> "Image":
        """What outlives an image: who waits, those included whose order was not settled, at their old numbers."""
        kept = Image(queue=dict(self.queue))
        for grant in self.granting.values():
            kept.wait(grant.user_id, grant.number)
        return kept

    def pending_holds(self) -> Iterator[Hold]:
        """Holds not confirmed, oldest first."""
        holds = (self.holds[hold_id] for hold_id in self.pending if hold_id in self.holds)
        yield from sorted(holds, key=lambda hold: (hold.since_ms, hold.hold_id))
