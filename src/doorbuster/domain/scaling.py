"""How many gates a crowd needs.

Owns: the formula. Its numbers are guesses about people, stated so that they can be argued with; what one gate does is
measured, and a setting.
"""

import math
from collections.abc import Iterable
from typing import Final

REQUESTS_PER_PERSON: Final = 1.0
"""In the worst second. Half of a crowd that was told a time presses in the first second, and each of them twice: people
double-click, pages retry."""
HEAD_ROOM: Final = 1.5
"""A gate that is asked for all it can give answers late; and one of three may be lost."""
AHEAD_MS: Final = 60 * 60_000
"""A sale counts from this long before its start until its end."""


def gates_needed(crowds: Iterable[int], *, capacity: float) -> int:
    """Gates for these crowds, whose sales are on together. `capacity`: requests one gate answers in a second."""
    return math.ceil(sum(crowds) * REQUESTS_PER_PERSON * HEAD_ROOM / capacity)


def gates_wanted(crowds: Iterable[int], *, capacity: float, least: int = 1, most: int) -> int:
    """As many of them as somebody may be asked for."""
    return max(least, min(most, gates_needed(crowds, capacity=capacity)))
