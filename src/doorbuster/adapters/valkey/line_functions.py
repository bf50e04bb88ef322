"""What the line says to Valkey's functions and what they answer; the spec of a function.

Owns: names, keys and arguments of the line's functions, as `functions.py` owns those of the stock; tests hold both
against the headers of the `.lua` files. Read next: `line.py`.
"""

from typing import Final

import msgspec

from doorbuster.adapters.valkey.keys import Name


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One function: its keys, arguments and rows (or columns) in order, and the words it answers with."""

    keys: tuple[Name, ...]
    arguments: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    replies: tuple[str, ...]


LINE_SPECS: Final[dict[str, Spec]] = {
    "ask": Spec(
        keys=("meta", "stock", "claims", "blocked", "queue", "granting", "spent", "news"),
        arguments=("epoch_min", "now_ms", "paid"),
        columns=("user_id", "join", "ticket", "done"),
        replies=("no_image", "stale_epoch", "placed"),
    ),
    "leave": Spec(
        keys=("meta", "stock", "queue", "granting", "spent", "news"),
        arguments=("epoch", "user_id", "number"),
        replies=("left", "granting", "granted", "absent", "no_image", "other_epoch"),
    ),
    "grant": Spec(
        keys=(
            *("meta", "stock", "holds", "claims", "keys", "blocked"),
            *("queue", "granting", "grants", "spent", "news"),
        ),
        arguments=("epoch", "now_ms"),
        rows=("hold_id",),
        replies=("grants", "closed", "no_image", "other_epoch"),
    ),
    "settle": Spec(
        keys=("meta", "stock", "holds", "claims", "keys", "granting", "grants", "spent", "news"),
        arguments=("epoch", "mark", "granted"),
        rows=("user_id", "number", "hold_id"),
        replies=("settled", "no_image", "other_epoch"),
    ),
    "news": Spec(
        keys=("meta", "stock", "queue", "granting", "news"),
        arguments=("since", "epoch"),
        replies=("news", "no_image"),
    ),
    "issue": Spec(keys=("meta", "stock"), arguments=("epoch", "high"), replies=("issued", "no_image", "other_epoch")),
    "end_line": Spec(
        keys=("meta", "stock", "queue", "news"),
        arguments=("epoch", "number"),
        replies=("ended", "no_image", "other_epoch"),
    ),
}
