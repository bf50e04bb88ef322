"""What a shop may call one of its payments.

Owns: the check of a reference. A card number must not get into the ledger or a log by way of one.
"""

import re
from typing import Final

from doorbuster.domain.payment import looks_like_card_number

REFERENCE_LENGTH_MAX: Final = 200
_HEXADECIMAL: Final = re.compile(
    r"(?<![0-9a-zA-Z])"
    r"(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|(?=[0-9]*[a-fA-F])[0-9a-fA-F]{24,})"
    r"(?![0-9a-zA-Z])"
)
"""A UUID or a hash, wherever it stands. One in a few hundred has enough digits in a row, with a good check digit, for a
card number."""


def reference_problem(reference: str) -> str | None:
    """What is wrong with it, or None. The text itself is never repeated: it may be a card number."""
    if not reference or len(reference) > REFERENCE_LENGTH_MAX:
        return f"reference must have 1 to {REFERENCE_LENGTH_MAX} characters"
    if not reference.isprintable() or reference != reference.strip():
        return "reference must be printable characters, with no space before or after them"
    if looks_like_card_number(_HEXADECIMAL.sub("x", reference)):
        return "reference looks like a card number; send the name your payment system has for the payment"
    return None
