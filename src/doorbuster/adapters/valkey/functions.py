"""The function library as Python sees it: what each function takes, and what its replies mean.

Owns: the order of keys and arguments, and the reading of replies. A test compares SPECS with the headers of the
`.lua` files. Read next: `functions/take.lua`, `store.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from doorbuster.adapters.valkey.calls import Answer
from doorbuster.adapters.valkey.keys import Name, sale_keys
from doorbuster.adapters.valkey.library import function_name
from doorbuster.adapters.valkey.records import SEPARATOR
from doorbuster.adapters.valkey.wire import Part
from doorbuster.domain.order import Hold
from doorbuster.engine.ports import (
    Ask,
    ImageChunk,
    ImageHead,
    ImageState,
    ImageSummary,
    ImageTerms,
    InvariantViolation,
    Release,
    Take,
    Taken,
    TakeWord,
)

ROWS_MAX: Final = 1_000
"""Rows in one call, as in the prelude: about 2 ms of Valkey's thread at most, so no taker waits long behind it."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One function: its keys, arguments and columns of rows in order, and the words it answers with."""

    keys: tuple[Name, ...]
    arguments: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    replies: tuple[str, ...]


_TERMS: Final = ("state", "opens", "ends", "limit")
_REFUSED: Final = ("no_image", "other_epoch")

SPECS: Final[dict[str, Spec]] = {
    "take": Spec(
        keys=("meta", "stock", "holds", "claims", "keys", "pending", "blocked"),
        arguments=("epoch_min", "now_ms"),
        rows=("hold_id", "user_id", "quantity", "key", "digest"),
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
    "summary": Spec(keys=("meta", "stock", "pending"), replies=("image", "no_image")),
    "begin_image": Spec(
        keys=("meta", "stock", "holds", "claims", "keys", "pending", "blocked", "build"),
        arguments=("epoch",),
        replies=("begun", "overtaken"),
    ),
    "write_image": Spec(
        keys=("holds", "claims", "keys", "blocked", "build"),
        arguments=("epoch", "hold_rows", "closed_rows"),
        rows=("hold_id", "user_id", "quantity", "since_ms", "key", "digest"),
        replies=("written", "overtaken"),
    ),
    "publish_image": Spec(
        keys=("meta", "stock", "build"),
        arguments=("epoch", *_TERMS, "available", "stock", "held", "tick"),
        replies=("published", "overtaken"),
    ),
}


@lru_cache(maxsize=16_384)
def head(sale_id: str, name: str) -> tuple[Part, ...]:
    """The beginning of a call: everything but its arguments."""
    keys = sale_keys(sale_id).some(*SPECS[name].keys)
    return (b"FCALL", function_name(name).encode(), len(keys), *keys)


# -------------------------------------------------------------------------------------------------- arguments


def take_arguments(asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> list[Part]:
    parts: list[Part] = [epoch_min, now_ms]
    for ask in asks:
        parts += (ask.hold_id, ask.user_id, ask.quantity, ask.key, ask.digest)
    return parts


def release_arguments(releases: Sequence[Release], *, epoch: int) -> list[Part]:
    parts: list[Part] = [epoch]
    for release in releases:
        parts += (release.hold_id, release.user_id, "forget" if release.forget_key else "keep")
    return parts


def terms_arguments(terms: ImageTerms) -> list[Part]:
    return [terms.state.value, terms.opens_ms, terms.ends_ms, terms.limit]


def head_arguments(epoch: int, image: ImageHead) -> list[Part]:
    return [epoch, *terms_arguments(image), image.available, image.stock, image.held, image.tick]


def image_calls(epoch: int, chunk: ImageChunk) -> list[list[Part]]:
    """The arguments of as many calls as the chunk takes, each of at most ROWS_MAX rows."""
    rows: list[tuple[int, tuple[Part, ...]]] = [(0, _hold_row(hold)) for hold in chunk.holds]
    rows += [(1, _hold_row(hold)) for hold in chunk.closed_keys]
    rows += [(2, ("", user_id, 0, 0, "", "")) for user_id in chunk.blocked]
    calls: list[list[Part]] = []
    for at in range(0, len(rows), ROWS_MAX):
        part = rows[at : at + ROWS_MAX]
        kinds = [kind for kind, _ in part]
        arguments: list[Part] = [epoch, kinds.count(0), kinds.count(1)]
        for _, row in part:
            arguments += row
        calls.append(arguments)
    return calls


def _hold_row(hold: Hold) -> tuple[Part, ...]:
    return (hold.hold_id, hold.user_id, hold.quantity, hold.since_ms, hold.key, hold.digest)


# -------------------------------------------------------------------------------------------------- replies

_HELD: Final = TakeWord.HELD.value.encode()
_SEEN: Final = (TakeWord.SEEN.value + SEPARATOR).encode()
_PLAIN: Final[dict[int | bytes, Take]] = {
    word.value.encode(): Take(word) for word in TakeWord if word not in (TakeWord.HELD, TakeWord.SEEN)
}
"""Words that come without a hold id; their answers are shared."""


def fields(answer: Answer, name: str) -> tuple[str, list[int | bytes]]:
    """The word of a reply, and what follows it."""
    reply = answer.reply
    if isinstance(reply, list) and reply and isinstance(reply[0], bytes):
        word = reply[0].decode()
        rest = [part for part in reply[1:] if isinstance(part, int | bytes)]
        if word in SPECS[name].replies and len(rest) == len(reply) - 1:
            return word, rest
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


def read_taken(answer: Answer, asks: Sequence[Ask]) -> Taken:
    word, parts = fields(answer, "take")
    if word == "no_image":
        none = [Take(TakeWord.NO_IMAGE)] * len(asks)
        return Taken(epoch=0, available=0, stock=0, tick=0, run_id=answer.run_id, takes=none)
    epoch, available, stock, tick = (number(parts, at) for at in range(4))
    if word == "stale_epoch":
        takes = [Take(TakeWord.STALE_EPOCH)] * len(asks)
    elif len(parts) == 4 + len(asks):
        takes = [_read_take(part, ask) for part, ask in zip(parts[4:], asks, strict=True)]
    else:
        raise InvariantViolation(f"valkey answered {len(parts) - 4} asks of {len(asks)}")
    return Taken(epoch=epoch, available=available, stock=stock, tick=tick, run_id=answer.run_id, takes=takes)


def _read_take(part: int | bytes, ask: Ask) -> Take:
    plain = _PLAIN.get(part)
    if plain is not None:
        return plain
    if part == _HELD:
        return Take(TakeWord.HELD, ask.hold_id)
    if isinstance(part, bytes) and part.startswith(_SEEN):
        return Take(TakeWord.SEEN, part[len(_SEEN) :].decode())
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
    )
