"""What the engine needs from the world. Every implementation passes the same conformance suite.

Owns: the ports. Keeps: the failure policy of each, stated in its docstring.
Time is milliseconds in the database's clock and is always passed in. Sale, order and buyer ids are strings.
Read next: `selling.py`, which uses most of this; `reference/`, which is the shortest complete implementation.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from doorbuster.domain.audit import AuditReport, LedgerFacts
from doorbuster.domain.chain import LogRow
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.image import ImageChunk, ImageHead, ImageSummary, ImageTerms

# ---------------------------------------------------------------------------------------------------- accidents


class StoreUnavailable(Exception):
    """The store did not take the call: nothing happened. A retry is safe."""


class OutcomeUnknown(Exception):
    """The call left and no answer came: it may or may not have happened. Only an idempotent repeat is safe."""


class InvariantViolation(Exception):
    """Something that cannot be: the process must not go on with what it believes."""


# ---------------------------------------------------------------------------------------------------- system


class Clock(Protocol):
    """The only source of time. `now_ms` is the database's clock as this process knows it; it never runs backwards by
    a wall-clock change. `trusted` is false while the offset is unknown or has just jumped: a gate is then not ready."""

    def now_ms(self) -> int: ...
    def monotonic(self) -> float: ...
    @property
    def trusted(self) -> bool: ...


class Ids(Protocol):
    """The only source of randomness. Ids are UUIDv7 text, rising within a process; `jitter` is uniform in [0, 1)."""

    def new_id(self) -> str: ...
    def jitter(self) -> float: ...


# ---------------------------------------------------------------------------------------------------- Valkey


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One buyer's wish for units. `key` and `digest` are the idempotency key and the hash of the body."""

    hold_id: str
    user_id: str
    quantity: int
    key: str
    digest: str


class TakeWord(StrEnum):
    """What the atomic function says to one ask; the order is the precedence."""

    NO_IMAGE = "no_image"
    STALE_EPOCH = "stale_epoch"  # the caller knows a newer epoch than the image has
    MISMATCH = "mismatch"  # key seen with another digest
    SEEN = "seen"  # key seen: `Take.hold_id` is the hold it got then
    PAUSED = "paused"
    NOT_STARTED = "not_started"
    OVER = "over"
    BLOCKED = "blocked"
    LIMIT = "limit"
    NO_STOCK = "no_stock"
    HELD = "held"


class Take(msgspec.Struct, frozen=True, array_like=True):
    word: TakeWord
    hold_id: str = ""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one batch. `takes` is in the order of the asks. With NO_IMAGE all numbers are 0.

    `tick` counts the batches that changed this image; a tick lower than one seen before means the store went back in
    time. `run_id` names the server process that answered.
    """

    epoch: int
    available: int
    stock: int
    tick: int
    run_id: str
    takes: Sequence[Take]


class TakenOne(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one ask of a batch; the numbers are those of the whole batch, 0 with NO_IMAGE."""

    epoch: int
    available: int
    stock: int
    tick: int
    run_id: str
    word: TakeWord
    hold_id: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Give a hold's units back. `forget_key` also forgets the idempotency key (the buyer was never given an order)."""

    hold_id: str
    user_id: str
    forget_key: bool = False


class StockStore(Protocol):
    """Valkey: the fast filter. Fails closed: any call may raise StoreUnavailable (nothing happened) or OutcomeUnknown.

    Every write names its epoch and does nothing (answers False / an empty result) if the published image has another.
    """

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        """R2: decide a batch in one atomic step. Not idempotent by itself, but a repeat with the same keys is."""
        ...

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> Awaitable[TakenOne]:
        """As `take`, for one ask: those of one turn of the event loop are decided in one batch per sale. May be
        cancelled at any time; a unit taken for a cancelled ask is an orphan (R7)."""
        ...

    async def confirm(self, sale_id: str, hold_ids: Sequence[str], *, epoch: int) -> int:
        """The holds are orders now: they are no longer pending. Idempotent; returns how many were pending."""
        ...

    async def release(self, sale_id: str, releases: Sequence[Release], *, epoch: int) -> int | None:
        """Compare-and-delete by hold id: give units back once. Returns units returned to stock; None if there is no
        image of this epoch (try again later). Idempotent."""
        ...

    async def set_available(self, sale_id: str, available: int, *, epoch: int) -> bool:
        """Change the units on sale to `available`: the free stock moves by the difference to the image's own number,
        in one step, so a repeat or a late copy does no harm. False, and nothing changed, if that would take more than
        is free or the epoch differs. Idempotent."""
        ...

    async def set_terms(self, sale_id: str, terms: ImageTerms, *, epoch: int) -> bool:
        """Publish new terms (pause, resume, end, moved window). Idempotent; False if the epoch differs."""
        ...

    async def block(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool: ...
    async def unblock(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool: ...

    async def summary(self, sale_id: str) -> ImageSummary | None:
        """The published image in numbers, or None if there is none."""
        ...

    async def pending_before(self, sale_id: str, before_ms: int, limit: int) -> Sequence[Hold]:
        """Holds taken before `before_ms` and never confirmed, oldest first: candidates for R7."""
        ...

    def holds(self, sale_id: str) -> AsyncIterator[Sequence[Hold]]:
        """All holds in chunks, not atomic (a hold may be missed or seen twice while it changes)."""
        ...

    async def claims(self, sale_id: str, user_ids: Sequence[str]) -> dict[str, int]:
        """Units claimed by each of these buyers; buyers without any are absent."""
        ...

    async def begin_image(self, sale_id: str, epoch: int) -> bool:
        """Unpublish and drop the present image and claim the building of `epoch`. False if this or a newer epoch is
        already published or a newer one is being built: then the caller has been overtaken and must stop.
        Who waits in the line is kept, with those whose grant was not committed at their old numbers: a number is
        the ledger's, so what is left of a line is never wrong, only incomplete (Q3)."""
        ...

    async def write_image(self, sale_id: str, epoch: int, chunk: ImageChunk) -> bool:
        """Add rows to the image being built. False if overtaken. Idempotent."""
        ...

    async def publish_image(self, sale_id: str, epoch: int, head: ImageHead) -> str | None:
        """Make the image readable, in one step. Returns the server's run id; None if overtaken."""
        ...

    async def drop_image(self, sale_id: str) -> None:
        """Remove every key of the sale. For sales that are over, and for tests of a lost image."""
        ...

    async def run_id(self, sale_id: str) -> str:
        """Identity of the server process that holds this sale now."""
        ...


# ---------------------------------------------------------------------------------------------------- PostgreSQL


class CommitWord(StrEnum):
    """What the ledger says to one hold; the order is the precedence."""

    COMMITTED = "committed"  # this call, or an earlier one with the same id, made the order
    SEEN = "seen"  # another order has this buyer's key: that order is the answer, this hold must be released
    MISMATCH = "mismatch"  # as SEEN, but its body differs
    TOMBSTONED = "tombstoned"  # the orphan sweep was first: the hold is dead (I12)
    STALE_EPOCH = "stale_epoch"
    PAUSED = "paused"
    NOT_STARTED = "not_started"
    OVER = "over"
    BLOCKED = "blocked"
    LIMIT = "limit"
    LAPSED = "lapsed"  # the buyer let too many holds run out unpaid
    NO_STOCK = "no_stock"  # divergence: Valkey had stock that the ledger has not


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    word: CommitWord
    order: Order | None = None


class CommitBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Holds of one sale that were taken under one epoch. `tick` is the highest tick seen with them."""

    sale_id: str
    epoch: int
    tick: int
    holds: Sequence[Hold]


KEEPER: Final = "keeper"
"""Who has an image written anew when nobody asked for it."""


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something to a sale, and why; stored with it."""

    name: str
    reason: str = ""


class PendingRelease(msgspec.Struct, frozen=True, kw_only=True):
    """An outbox row: units that PostgreSQL has given back and Valkey has not yet (R8)."""

    release_id: int
    sale_id: str
    hold_id: str
    user_id: str
    epoch: int
    forget_key: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of orders; `next_cursor` is None on the last."""

    orders: Sequence[Order]
    next_cursor: str | None = None


class SaleStore(Protocol):
    """Sales in PostgreSQL. May raise StoreUnavailable or OutcomeUnknown; every method is one transaction.

    Methods that move a sale lock its row, write the sale's log where stock changes, and record the actor.
    """

    async def create(self, sale_id: str, terms: SaleTerms, actor: Actor, *, now_ms: int | None = None) -> Sale: ...
    async def get(self, sale_id: str) -> Sale | None: ...
    async def list_sales(self, *, cursor: str | None, limit: int) -> tuple[Sequence[Sale], str | None]: ...

    async def live(self) -> Sequence[Sale]:
        """Sales that are not over, and those over whose orders are still RESERVED or whose releases are pending."""
        ...

    async def change(self, sale_id: str, terms: SaleTerms, expected: Sale, actor: Actor) -> Sale | Refusal:
        """Replace the terms; `expected` is the row the caller decided on. A stock change is logged (I15); a cut below
        what is reserved or paid is refused by the guard (CONFLICT), as is a row that changed meanwhile."""
        ...

    async def move(self, sale_id: str, to: SaleStatus, actor: Actor, *, start_now: bool = False) -> Sale | Refusal:
        """Along an arrow of SALE_ARROWS, else CONFLICT. Idempotent: already there is success. Moving to ACTIVE from
        PAUSED lands on SOLD_OUT when nothing is free. `start_now` also sets start_time to now (the verb `open`)."""
        ...

    async def follow_clock(self) -> Sequence[Sale]:
        """Move stored statuses after the database's clock (SCHEDULED to ACTIVE at the start, to ENDED at the end).
        Returns the sales moved. Idempotent."""
        ...

    async def raise_epoch(self, sale_id: str, seen: int, reason: str, by: str = KEEPER) -> int | None:
        """R9a: from here every commit under `seen` fails. Returns the new epoch; None if the epoch is no longer
        `seen` (someone else was first)."""
        ...

    async def request_rebuild(self, sale_id: str, epoch: int, reason: str) -> bool:
        """Mark the image of `epoch` as not to be trusted; the rebuilder acts on it. False if the epoch has moved on."""
        ...

    async def image_published(self, sale_id: str, epoch: int, run_id: str) -> bool:
        """R9d: note which server process holds the image, clear the request. False if the epoch has moved on."""
        ...

    def image_rows(self, sale_id: str, chunk: int) -> AsyncIterator[ImageChunk]:
        """R9b: what an image is made of, read in one snapshot, in chunks."""
        ...

    async def set_blocked(
        self, sale_id: str, user_ids: Sequence[str], actor: Actor
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Replace the block list; returns (added, removed)."""
        ...

    async def blocked_count(self, sale_id: str) -> int:
        """Accounts on the block list."""
        ...

    async def time_ms(self) -> int:
        """The database's clock (clock_timestamp), for measuring this process's offset."""
        ...


class OrderStore(Protocol):
    """Orders in PostgreSQL: the truth about who owns what. Every method is one transaction."""

    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        """R4 and R6: make orders of holds, answers in the order of the holds. One bad row never sinks its batch.
        Idempotent by hold id: after OutcomeUnknown repeat the same batch; the repeat always writes (barrier), so
        what it reports as committed is as durable as the commit itself."""
        ...

    async def get(self, order_id: str) -> Order | None: ...

    async def by_key(self, sale_id: str, user_id: str, key: str) -> Order | None:
        """The order this buyer's idempotency key made, or None."""
        ...

    async def page(self, sale_id: str, *, status: OrderStatus | None, cursor: str | None, limit: int) -> Page: ...

    async def cancel(self, order_id: str, *, user_id: str | None, actor: Actor) -> Order | Refusal:
        """RESERVED to CANCELLED; the units, the allowance, the log row and the release row in one transaction.
        `user_id` None is the operator. Idempotent: a cancelled order is returned as it is; another closed state is
        ORDER_CLOSED; someone else's is NOT_FOUND; an open payment attempt is CONFLICT."""
        ...

    async def cancel_all(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        """Cancel up to `limit` RESERVED orders of an aborted sale. Returns how many; repeat until 0."""
        ...

    async def expire_due(self, *, limit: int) -> int:
        """R8: expire what is due by the database's clock and has no open payment, across sales, skipping rows others
        have locked. Returns how many. Two at once are safe."""
        ...

    async def next_expiry_ms(self) -> int | None:
        """When the next RESERVED order becomes due, or None."""
        ...

    async def tombstone(self, sale_id: str, holds: Sequence[Hold]) -> Sequence[str]:
        """R7: for each hold insert a CANCELLED order unless the order exists; with those that won, a release row.
        Returns the hold ids whose order exists already, as live orders or tombstones (to be confirmed)."""
        ...

    async def pending_releases(self, *, limit: int) -> Sequence[PendingRelease]: ...
    async def releases_done(self, release_ids: Sequence[int]) -> None: ...

    async def live_hold_ids(self, sale_id: str) -> set[str]:
        """Ids of live orders, read at one instant; for the audit."""
        ...

    async def closing_hold_ids(self, sale_id: str, hold_ids: Sequence[str]) -> dict[str, str]:
        """For each of these ids that PostgreSQL knows: `live`, `releasing` (closed, release pending) or `closed`."""
        ...


class AuditStore(Protocol):
    async def facts(self, sale_id: str) -> LedgerFacts | None:
        """PostgreSQL's side in one snapshot, the log replayed included."""
        ...

    def log_rows(self, sale_id: str, *, after_seq: int = 0) -> AsyncIterator[Sequence[LogRow]]: ...
    async def record(self, report: AuditReport, actor: Actor) -> None: ...
    async def latest(self, sale_id: str) -> AuditReport | None: ...
