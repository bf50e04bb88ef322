"""How a hold is packed into one text, and what may not stand in it.

Owns: the separator and the order of the fields; `functions/prelude.lua` packs the same way.
Ids and keys hold no control characters when they arrive here; they are refused all the same, because a separator
inside a field would let one buyer's key be read as another's (I5).
"""

from collections.abc import Sequence
from typing import Final

from doorbuster.domain.order import Hold

SEPARATOR: Final = "\x1f"


def check_texts(*columns: Sequence[str]) -> None:
    """ValueError if one of the texts cannot be sent: it has the separator in it, or a lone surrogate, which has no
    UTF-8 form and which JSON can smuggle in."""
    for column in columns:
        joined = "".join(column)  # one look at all is far cheaper than a look at each
        if SEPARATOR in joined:
            message = "a text has the separator U+001F in it"
            raise ValueError(message)
        joined.encode()


def read_hold(hold_id: bytes, record: bytes) -> Hold:
    user_id, key, quantity, since_ms, digest = record.decode().split(SEPARATOR)
    return Hold(
        hold_id=hold_id.decode(),
        user_id=user_id,
        quantity=int(quantity),
        key=key,
        digest=digest,
        since_ms=int(since_ms),
    )
