"""The image of a sale: what Valkey is told of it, and what can be read back.

Owns: the shapes of an image, which is written in chunks and can be read only once its head is published.
Read next: `ports.StockStore`, whose methods take and give these; `rebuilding.py`, which makes one.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from doorbuster.domain.order import Hold


class ImageState(StrEnum):
    """What the function lets through, besides the clock."""

    SELLING = "selling"
    PAUSED = "paused"
    OVER = "over"


class ImageTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a sale's terms that the function decides by."""

    state: ImageState
    opens_ms: int
    ends_ms: int
    limit: int
    standby_limit: int | None = None


class LineHead(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an image's head that only sales with a line have."""

    number_next: int
    """The highest number issued; the next joiner gets the one after it."""
    number_high: int
    """Numbers up to here may be issued (Q2)."""
    moves_ms: int
    """Nothing is granted before this time (R9e)."""
    ended_number: int = 0
    """Numbers up to here wait for nothing (Q6)."""


class ImageHead(ImageTerms, frozen=True, kw_only=True):
    """What is published last when an image is built: from then on the image can be read."""

    available: int
    stock: int
    held: int
    tick: int
    line: LineHead | None = None


class LineRow(msgspec.Struct, frozen=True, array_like=True):
    """One who waits, by the ledger: an entry of a draw that was drawn."""

    user_id: str
    number: int


class SpentRow(msgspec.Struct, frozen=True, array_like=True):
    """The highest number of a buyer that waits no longer: it was granted (`hold_id` is the order's id) or it was
    given up (`hold_id` is empty). A ticket with this number or a lower one brings nothing back."""

    user_id: str
    number: int
    hold_id: str


class ImageChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an image: live holds (reserved and paid), keys of closed orders, blocked accounts."""

    holds: Sequence[Hold] = ()
    closed_keys: Sequence[Hold] = ()
    """Closed orders whose idempotency key must go on answering with them; they own no units."""
    blocked: Sequence[str] = ()
    spent: Sequence[SpentRow] = ()
    line: Sequence[LineRow] = ()
    """All spent rows come before the first of these: an old number must not take the place of a new one."""


class ImageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The published image in numbers, read in one atomic step. `pending` counts holds not yet confirmed."""

    epoch: int
    state: ImageState
    opens_ms: int
    ends_ms: int
    limit: int
    available: int
    stock: int
    held: int
    pending: int
    tick: int
    run_id: str
    standby_limit: int | None = None
    waiting: int = 0
    """Buyers in the line, those included whose grant is being committed."""
    line: LineHead | None = None
    blocked: int = 0
    """Buyers who may not take part."""
