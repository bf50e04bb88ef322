"""What the line needs from the world: Valkey's line of a sale, and what PostgreSQL remembers of it.

Owns: the ports of the line and the words they answer with. Keeps: I10 by what the implementations promise here.
Steps Q1 to Q6 are those of the protocol. Time is milliseconds in the database's clock and is always passed in.
Read next: `queueing.py` (join, place, leave), `granting.py` (who gets a unit).
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

# ---------------------------------------------------------------------------------------------------- Valkey


class LineAsk(msgspec.Struct, frozen=True, array_like=True):
    """One buyer's question to the line.

    `join` false only asks for the place. `ticket` is the number of a ticket of this sale and buyer whose seal was
    checked, 0 for none. `done` is the number of an earlier grant of this buyer that has ended or is paid, so that
    it is no reason any more not to join again; 0 for none.
    """

    user_id: str
    join: bool = False
    ticket: int = 0
    done: int = 0


class LineWord(StrEnum):
    """What the function says to one ask; the order is the precedence."""

    NO_IMAGE = "no_image"
    STALE_EPOCH = "stale_epoch"  # the caller knows a newer epoch than the image has
    AHEAD = "ahead"  # the ticket's number was never issued by this image: the store went back in time
    WAITING = "waiting"  # in the line, before this ask or put back by its ticket
    GRANTING = "granting"  # a unit is taken for this buyer, its order is being committed
    GRANTED = "granted"  # the entry was granted: `hold_id` is the order's id
    LEFT = "left"  # gave the place up, or lost it to a block; asking to join starts a new entry instead
    NOT_STARTED = "not_started"
    OVER = "over"  # also to a look, by somebody who waits no more because the line was ended
    BLOCKED = "blocked"
    LIMIT = "limit"
    SOLD_OUT = "sold_out"  # nothing free and as many paid as there are (`paid` of the call)
    FULL = "full"  # the standby limit is reached
    NO_NUMBERS = "no_numbers"  # the block is used up: `issue` more, then ask again
    ABSENT = "absent"  # not in the line, and did not ask to join
    JOINED = "joined"  # a new entry at the end


class Spot(msgspec.Struct, frozen=True, array_like=True):
    """Where one buyer stands. `position` is 1-based among all who wait, those being granted included; 0 when the
    buyer does not wait. The other numbers are those of the whole image, 0 with NO_IMAGE."""

    epoch: int
    available: int
    stock: int
    waiting: int
    tick: int
    run_id: str
    word: LineWord
    number: int = 0
    position: int = 0
    hold_id: str = ""
    seq: int = 0
    """The last change of the line that `position` takes into account; what comes after it is news."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A unit taken for the head of the line and not yet settled. `hold_id` becomes the order's id."""

    hold_id: str
    user_id: str
    number: int
    since_ms: int


class GrantWord(StrEnum):
    NO_IMAGE = "no_image"
    OTHER_EPOCH = "other_epoch"
    CLOSED = "closed"  # paused, not started, over, or not to move yet (R9e); nothing new was taken
    GRANTS = "grants"


class Granting(msgspec.Struct, frozen=True, kw_only=True):
    """Every grant that is not settled, lowest number first; `dropped` counts entries that were removed on the way
    because their buyer is blocked or has all a buyer may have."""

    word: GrantWord
    grants: Sequence[Grant] = ()
    dropped: int = 0
    tick: int = 0
    stock: int = 0
    waiting: int = 0
    run_id: str = ""


class NewsKind(StrEnum):
    """How a line changed other than at its end."""

    GRANTED = "granted"  # settled: the order is committed
    GONE = "gone"  # left, blocked, or dropped
    BACK = "back"  # put back at its old number by a ticket
    ENDED = "ended"  # everybody who waited waits for nothing any more


class NewsItem(msgspec.Struct, frozen=True, array_like=True):
    """`user_id` is empty with ENDED, whose `number` is the highest number ended; `hold_id` is there with GRANTED."""

    kind: NewsKind
    number: int
    user_id: str = ""
    hold_id: str = ""


class LineNews(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a line after `since`, in order. `complete` false: the reader is too far behind (or the image is
    another one) and has to ask for every place anew. `seq` is the `since` of the next call."""

    epoch: int
    seq: int
    complete: bool
    available: int
    stock: int
    waiting: int
    tick: int
    run_id: str
    items: Sequence[NewsItem] = ()


class LineStore(Protocol):
    """Valkey: the line of a sale. Fails closed: any call may raise StoreUnavailable (nothing happened) or
    OutcomeUnknown (then only the repeat of the same call is safe; every call here may be repeated).

    A line holds each buyer once (Q1), ordered by number. Writes that name an epoch do nothing under another.
    """

    def ask_one(self, sale_id: str, ask: LineAsk, now_ms: int, epoch_min: int, paid: int) -> Awaitable[Spot]:
        """Join, or ask for a place. Those of one turn of the event loop go in one batch per sale and are decided in
        one atomic step. `paid` is the number of units paid for, as far as the caller knows. May be cancelled at any
        time; a join may then have happened, and its repeat gives the same place."""
        ...

    async def ask(
        self, sale_id: str, asks: Sequence[LineAsk], *, now_ms: int, epoch_min: int, paid: int
    ) -> Sequence[Spot]:
        """As `ask_one` for a ready-made batch of at most TAKE_BATCH_MAX, answers in the order of the asks."""
        ...

    async def leave(self, sale_id: str, user_id: str, number: int, *, epoch: int) -> LineWord:
        """Take the entry with this number out of the line, to be remembered as given up. LEFT (also when repeated),
        GRANTING or GRANTED (too late: nothing changed), ABSENT (another number, or none), NO_IMAGE, STALE_EPOCH."""
        ...

    async def grant(self, sale_id: str, hold_ids: Sequence[str], *, now_ms: int, epoch: int) -> Granting:
        """Q5: if no grant is unsettled, take the heads of the line and a unit for each, in one step, as many as there
        are units, buyers and hold ids; then answer every unsettled grant, whoever took it. So a caller that died
        is finished by the next one, any number of callers see the same head, and no number is passed."""
        ...

    async def settle(
        self, sale_id: str, granted: Sequence[Grant], dropped: Sequence[Grant], *, mark: int, epoch: int
    ) -> bool:
        """The orders of `granted` are committed; those of `dropped` were refused by the ledger: their unit goes back
        and their entry ends. `mark` is the highest number granted so far (Q4). Idempotent, compare-and-delete by hold
        id. False if the epoch differs."""
        ...

    async def news(self, sale_id: str, since: int, epoch: int) -> LineNews | None:
        """What is new after `since` in the image of `epoch` (0, 0 to begin: then `complete` is false and `items`
        empty). None if there is no image. Bounded by NEWS_KEPT, whatever the length of the line."""
        ...

    async def issue(self, sale_id: str, number_high: int, *, epoch: int) -> bool:
        """Let numbers up to `number_high` be issued. Never lowers it. Idempotent; False if the epoch differs."""
        ...

    async def end_line(self, sale_id: str, number: int, *, epoch: int) -> int:
        """Everybody with a number up to this one, and no unsettled grant, waits for nothing any more. Returns how many
        that were; 0 if the epoch differs. Idempotent."""
        ...

    async def first_numbers(self, sale_id: str, limit: int) -> Sequence[tuple[str, int]]:
        """The first so many who wait, with their numbers; for the operator and for tests."""
        ...


# ---------------------------------------------------------------------------------------------------- PostgreSQL


class SealingKey(msgspec.Struct, frozen=True, array_like=True):
    """A secret that seals tickets. `key_id` is short and stands in the ticket."""

    key_id: str
    secret: bytes


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """How the holds of a sale end, in the ledger's own numbers; what chance and waiting time are told from.

    `paid` and `returned` count orders that have ended, one way or the other; `returned_last_minute` and
    `returned_minute_before` count units that came back; `granted_last_minute` counts orders made.
    `next_expiry_ms` is when the next hold that has no open payment runs out; None if there is none.
    """

    as_of_ms: int
    paid: int
    returned: int
    returned_last_minute: int
    returned_minute_before: int
    granted_last_minute: int
    next_expiry_ms: int | None
    entered: int = 0
    """Entries of a draw whose list is still open."""


class LineLedger(Protocol):
    """What PostgreSQL remembers of lines. May raise StoreUnavailable or OutcomeUnknown; every method is one transaction
    and may be repeated."""

    async def reserve_numbers(self, sale_id: str, count: int, *, epoch: int) -> tuple[int, int] | None:
        """Q2: raise `number_high` by `count`; (the mark before, the mark after). None if the epoch has moved on, or if
        this is a draw whose list is not closed."""
        ...

    async def note_left(self, sale_id: str, user_id: str, number: int) -> None:
        """This number is given up: a ticket with it, or with a lower one, brings nothing back. Never lowers."""
        ...

    async def end_line(self, sale_id: str) -> int | None:
        """Q6: if every unit is paid for, or the sale is over, everybody who has a number by now waits for nothing any
        more: raise `ended_number` to `number_high` and return it. None if units may still come back."""
        ...

    async def claim(self, order_ids: Sequence[str]) -> None:
        """Note that the buyers of these RESERVED orders have been seen, before they are shown their order: from here
        the order does not end before its `expires_at` (I11)."""
        ...

    async def expire_unclaimed(self, *, limit: int) -> int:
        """End RESERVED, granted orders without a claim whose sale's claim window is over, as `expire_due` does."""
        ...

    async def order_of(self, sale_id: str, user_id: str) -> str | None:
        """The id of this buyer's latest order in the sale, live ones first; for sales whose line is gone."""
        ...

    async def lapsed_holds(self, sale_id: str, user_id: str) -> int:
        """How many of this buyer's holds in the sale ran out unpaid."""
        ...

    async def pulse(self, sale_id: str) -> Pulse | None: ...

    async def sealing_keys(self) -> Sequence[SealingKey]:
        """Keys of tickets, the one to seal with first; made on first use, the same for every process."""
        ...

    def grants(self, sale_id: str) -> AsyncIterator[Sequence[tuple[int, int, int]]]:
        """The history of the line: (log's sequence, line number, time) of every grant, in the order of the log."""
        ...


# ---------------------------------------------------------------------------------------------------- draws


class EntryWord(StrEnum):
    ENTERED = "entered"  # by this call or an earlier one
    NOT_OPEN = "not_open"
    CLOSED = "closed"  # the list is closed, or the start is over: join behind it
    BLOCKED = "blocked"
    NO_SALE = "no_sale"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A buyer's entry in a draw. `entry_id` is pseudonymous: 32 hex digits."""

    word: EntryWord
    entry_id: str = ""
    entered_ms: int = 0


class DrawRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A draw as PostgreSQL has it. `seed` and `entry_secret` are secrets until the order is published; the entry
    secret stays one. `root`, `beacon` and `ranks` come one after the other."""

    sale_id: str
    commitment: bytes
    rules: str
    seed: bytes
    entry_secret: bytes
    closed_ms: int | None
    size: int | None
    removed: Sequence[str]
    """Entries taken off the list when it was closed, because their accounts were blocked."""
    root: bytes | None
    beacon_value: str | None
    beacon_note: str
    """Why there is no beacon value; empty when there is one or none was promised."""
    drawn_ms: int | None
    ranks: bytes | None
    """For the entries in the order of their ids: the number each was drawn to, 1-based, 4 bytes each, little-endian."""


class DrawLedger(Protocol):
    """Draws in PostgreSQL."""

    async def enter(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry]:
        """Store entries, durably, in one transaction; one per buyer (Q1). Idempotent."""
        ...

    async def entered(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry | None]:
        """The entries of these buyers, None for those without."""
        ...

    async def withdraw(self, sale_id: str, user_id: str) -> bool:
        """Take an entry back before the list is closed. False if it is closed; true if there is none."""
        ...

    async def record(self, sale_id: str) -> DrawRecord | None: ...

    async def entry_count(self, sale_id: str) -> int:
        """How many are on the list now, open or closed; 0 if there is none."""
        ...

    async def close(self, sale_id: str) -> DrawRecord | None:
        """From T-0, by the ledger's clock: no entry is taken any more, `draw_size` and `number_high` become the number
        of entries, blocked buyers are taken off with a note. Idempotent; None before T-0 or if it is no draw."""
        ...

    async def entry_ids(self, sale_id: str) -> bytes:
        """The ids of a closed list, 16 bytes each, sorted."""
        ...

    async def store_root(self, sale_id: str, root: bytes) -> DrawRecord:
        """Published from here on, before any beacon value is known to us. The first one stays."""
        ...

    async def store_order(
        self, sale_id: str, *, beacon_value: str | None, beacon_note: str, ranks: bytes
    ) -> DrawRecord:
        """The order and what it was made of, once: the first one stays and is returned."""
        ...
