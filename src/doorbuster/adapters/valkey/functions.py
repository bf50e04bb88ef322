"""The function library as Python sees it: what each function takes, and what its replies mean.

Owns: the order of keys and arguments, and the reading of replies. A test compares SPECS with the headers of the
`.lua` files. Read next: `functions/take.lua`, `store.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, cast

import msgspec

from doorbuster.adapters.valkey.calls import Answer
from doorbuster.adapters.valkey.keys import sale_keys
from doorbuster.adapters.valkey.library import function_name
from doorbuster.adapters.valkey.line_functions import LINE_SPECS, Spec
from doorbuster.adapters.valkey.records import SEPARATOR, check_texts
from doorbuster.adapters.valkey.wire import Part
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead, ImageState, ImageSummary, ImageTerms, LineHead
from doorbuster.engine.ports import (
    Ask,
    InvariantViolation,
    Release,
    Take,
    Taken,
    TakeWord,
)

ROWS_MAX: Final = 1_000
"""Rows in one call, as in the prelude: about 2 ms of Valkey's thread at most, so no taker waits long behind it."""


_TERMS: Final = ("state", "opens", "ends", "limit", "standby")
_NO_LIMIT: Final = -1
_REFUSED: Final = ("no_image", "other_epoch")

SPECS: Final[dict[str, Spec]] = {
    "take": Spec(
        keys=("meta", "stock", "holds", "claims", "keys", "pending", "blocked"),
        arguments=("epoch_min", "now_ms"),
        columns=("hold_id", "user_id", "quantity", "user_key", "digest"),
        replies=("no_image", "stale_epoch", "decided"),
    ),
    "confirm": Spec(
        keys=("meta", "stock", "pending"), arguments=("epoch",), rows=("hold_id",), replies=("confirmed", *_REFUSED)
    ),
    "release": Spec(
        keys=("meta", "stock", "holds", "claims", "keys", "pending"),
        arguments=("epoch",),
        rows=("hold_id", "user_id", "key_fate"),
        replies=("released", *_REFUSED),
    ),
    "set_available": Spec(
        keys=("meta", "stock"), arguments=("epoch", "available"), replies=("changed", "same", "too_few", *_REFUSED)
    ),
    "set_terms": Spec(keys=("meta", "stock"), arguments=("epoch", *_TERMS), replies=("changed", "same", *_REFUSED)),
    "block": Spec(
        keys=("meta", "stock", "blocked"), arguments=("epoch",), rows=("user_id",), replies=("blocked", *_REFUSED)
    ),
    "unblock": Spec(
        keys=("meta", "stock", "blocked"), arguments=("epoch",), rows=("user_id",), replies=("unblocked", *_REFUSED)
    ),
    "summary": Spec(keys=("meta", "stock", "pending", "blocked", "queue", "granting"), replies=("image", "no_image")),
    "begin_image": Spec(
        keys=(
            *("meta", "stock", "holds", "claims", "keys", "pending", "blocked", "build"),
            *("queue", "granting", "grants", "spent", "news"),
        ),
        arguments=("epoch",),
        replies=("begun", "overtaken"),
    ),
    "write_image": Spec(
        keys=("holds", "claims", "keys", "blocked", "build", "queue", "spent"),
        arguments=("epoch", "hold_rows", "closed_rows", "blocked_rows", "spent_rows"),
        rows=("hold_id", "user_id", "quantity", "since_ms", "key", "digest"),
        replies=("written", "overtaken"),
    ),
    "publish_image": Spec(
        keys=("meta", "stock", "build", "queue"),
        arguments=("epoch", *_TERMS, "available", "stock", "held", "tick", "next", "high", "moves", "ended"),
        replies=("published", "overtaken"),
    ),
    **LINE_SPECS,
}


@lru_cache(maxsize=16_384)
def head(sale_id: str, name: str) -> tuple[Part, ...]:
    """The beginning of a call: everything but its arguments."""
    keys = sale_keys(sale_id).some(*SPECS[name].keys)
    return (b"FCALL", function_name(name).encode(), len(keys), *keys)


# -------------------------------------------------------------------------------------------------- arguments


def take_arguments(asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> list[Part]:
    """As columns, so that the function hands a column on without copying it. ValueError: an ask cannot be sent."""
    hold_ids = [ask.hold_id for ask in asks]
    user_ids = [ask.user_id for ask in asks]
    quantities = [ask.quantity for ask in asks]
    keys = [ask.key for ask in asks]
    digests = [ask.digest for ask in asks]
    check_texts(hold_ids, user_ids, keys, digests)
    if min(quantities, default=1) < 1:
        message = f"an ask is for {min(quantities)} units"
        raise ValueError(message)
    user_keys = [f"{user_id}{SEPARATOR}{key}" for user_id, key in zip(user_ids, keys, strict=True)]
    return [epoch_min, now_ms, *hold_ids, *user_ids, *quantities, *user_keys, *digests]


def release_arguments(releases: Sequence[Release], *, epoch: int) -> list[Part]:
    parts: list[Part] = [epoch]
    for release in releases:
        parts += (release.hold_id, release.user_id, "forget" if release.forget_key else "keep")
    return parts


def terms_arguments(terms: ImageTerms) -> list[Part]:
    standby = _NO_LIMIT if terms.standby_limit is None else terms.standby_limit
    return [terms.state.value, terms.opens_ms, terms.ends_ms, terms.limit, standby]


def head_arguments(epoch: int, image: ImageHead) -> list[Part]:
    line = image.line
    numbers = (
        (_NO_LIMIT, 0, 0, 0) if line is None else (line.number_next, line.number_high, line.moves_ms, line.ended_number)
    )
    return [epoch, *terms_arguments(image), image.available, image.stock, image.held, image.tick, *numbers]


def image_calls(epoch: int, chunk: ImageChunk) -> list[list[Part]]:
    """The arguments of as many calls as the chunk takes, each of at most ROWS_MAX rows."""
    rows: list[tuple[int, tuple[Part, ...]]] = [(0, _hold_row(hold)) for hold in chunk.holds]
    rows += [(1, _hold_row(hold)) for hold in chunk.closed_keys]
    rows += [(2, ("", user_id, 0, 0, "", "")) for user_id in chunk.blocked]
    # First what waits no longer: an old number of somebody who has a new one must not take its place.
    rows += [(3, (row.hold_id, row.user_id, row.number, 0, "", "")) for row in chunk.spent]
    rows += [(4, ("", row.user_id, row.number, 0, "", "")) for row in chunk.line]
    calls: list[list[Part]] = []
    for at in range(0, len(rows), ROWS_MAX):
        part = rows[at : at + ROWS_MAX]
        kinds = [kind for kind, _ in part]
        arguments: list[Part] = [epoch, *(kinds.count(kind) for kind in range(4))]
        for _, row in part:
            arguments += row
        calls.append(arguments)
    return calls


def _hold_row(hold: Hold) -> tuple[Part, ...]:
    return (hold.hold_id, hold.user_id, hold.quantity, hold.since_ms, hold.key, hold.digest)


# -------------------------------------------------------------------------------------------------- replies

_HELD: Final = TakeWord.HELD.value.encode()
_SEEN: Final = (TakeWord.SEEN.value + SEPARATOR).encode()
LOSING_WORDS: Final[dict[int | bytes, TakeWord]] = {
    word.value.encode(): word for word in TakeWord if word not in (TakeWord.HELD, TakeWord.SEEN)
}
"""Words that come without a hold."""


def fields(answer: Answer, name: str) -> tuple[str, list[int | bytes]]:
    """The word of a reply, and what follows it."""
    reply = answer.reply
    if isinstance(reply, list) and reply and isinstance(reply[0], bytes):
        word = reply[0].decode()
        if word in SPECS[name].replies:
            return word, cast("list[int | bytes]", reply[1:])
    raise InvariantViolation(f"the valkey function {name} answered {reply!r}, which no release of it says")


def number(parts: Sequence[int | bytes], at: int = 0) -> int:
    value = parts[at]
    if isinstance(value, int):
        return value
    raise InvariantViolation(f"valkey answered {value!r} where a number belongs")


def text(parts: Sequence[int | bytes], at: int) -> str:
    value = parts[at]
    if isinstance(value, bytes):
        return value.decode()
    raise InvariantViolation(f"valkey answered {value!r} where a word belongs")


class Decided(msgspec.Struct, frozen=True):
    """The head of an answer to a batch. `parts` has what was said to each ask, or is empty when `word` is for all."""

    word: TakeWord | None
    epoch: int
    available: int
    stock: int
    tick: int
    parts: Sequence[int | bytes]


def read_decided(answer: Answer, count: int) -> Decided:
    word, parts = fields(answer, "take")
    if word == "no_image":
        return Decided(TakeWord.NO_IMAGE, 0, 0, 0, 0, ())
    epoch, available, stock, tick = (number(parts, at) for at in range(4))
    if word == "stale_epoch":
        return Decided(TakeWord.STALE_EPOCH, epoch, available, stock, tick, ())
    if len(parts) != 4 + count:
        raise InvariantViolation(f"valkey answered {len(parts) - 4} asks of {count}")
    return Decided(None, epoch, available, stock, tick, parts[4:])


def read_taken(answer: Answer, asks: Sequence[Ask]) -> Taken:
    decided = read_decided(answer, len(asks))
    if decided.word is not None:
        takes = [Take(decided.word)] * len(asks)
    else:
        takes = [Take(*read_word(part, ask.hold_id)) for part, ask in zip(decided.parts, asks, strict=True)]
    return Taken(
        epoch=decided.epoch,
        available=decided.available,
        stock=decided.stock,
        tick=decided.tick,
        run_id=answer.run_id,
        takes=takes,
    )


def read_word(part: int | bytes, hold_id: str) -> tuple[TakeWord, str]:
    """What was said to one ask, and the hold that belongs to it: its own, or the earlier one of its key."""
    if part == _HELD:
        return TakeWord.HELD, hold_id
    word = LOSING_WORDS.get(part)
    if word is not None:
        return word, ""
    if isinstance(part, bytes) and part.startswith(_SEEN):
        return TakeWord.SEEN, part[len(_SEEN) :].decode()
    raise InvariantViolation(f"valkey answered {part!r} to an ask")


def read_summary(answer: Answer) -> ImageSummary | None:
    word, parts = fields(answer, "summary")
    if word == "no_image":
        return None
    return ImageSummary(
        epoch=number(parts, 0),
        state=ImageState(text(parts, 1)),
        opens_ms=number(parts, 2),
        ends_ms=number(parts, 3),
        limit=number(parts, 4),
        available=number(parts, 5),
        stock=number(parts, 6),
        held=number(parts, 7),
        pending=number(parts, 8),
        tick=number(parts, 9),
        run_id=answer.run_id,
        standby_limit=None if number(parts, 10) < 0 else number(parts, 10),
        waiting=number(parts, 11),
        line=_line_head(parts),
        blocked=number(parts, 16),
    )


def _line_head(parts: Sequence[int | bytes]) -> LineHead | None:
    number_next, number_high, moves_ms, ended_number = (number(parts, at) for at in range(12, 16))
    if number_next < 0:
        return None
    return LineHead(number_next=number_next, number_high=number_high, moves_ms=moves_ms, ended_number=ended_number)
