"""How a hold is packed into one text, and what may not stand in it.

Owns: the separator and the order of the fields; `functions/prelude.lua` packs the same way.
Ids and keys hold no control characters when they arrive here; they are refused all the same, because a separator
inside a field would let one buyer's key be read as another's (I5).
"""

from typing import Final

from doorbuster.domain.order import Hold
from doorbuster.engine.ports import Ask

SEPARATOR: Final = "\x1f"


def ask_problem(ask: Ask) -> str | None:
    """Why this ask cannot be sent, or None."""
    if SEPARATOR in ask.hold_id or SEPARATOR in ask.user_id or SEPARATOR in ask.key or SEPARATOR in ask.digest:
        return "an ask contains the separator U+001F"
    if ask.quantity < 1:
        return f"an ask is for {ask.quantity} units"
    return None


def encodable(*texts: str) -> bool:
    """Whether the texts can be sent; a lone surrogate, which JSON can smuggle in, cannot."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_hold(hold_id: bytes, record: bytes) -> Hold:
    user_id, quantity, since_ms, key, digest = record.decode().split(SEPARATOR)
    return Hold(
        hold_id=hold_id.decode(),
        user_id=user_id,
        quantity=int(quantity),
        key=key,
        digest=digest,
        since_ms=int(since_ms),
    )
