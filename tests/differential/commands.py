"""What a command is, and the table of all operations with the words they can answer."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from differential.side import Side
from differential.view import View


class Outcome(NamedTuple):
    """What one side answered: words for the coverage, and the whole answer for the comparison."""

    words: Iterable[str]
    answer: object


class Command(NamedTuple):
    """One step: what it says in a report, and how it is done to a side."""

    text: str
    run: Callable[[Side], Awaitable[Outcome]]


Draw = Callable[[View], Command | None]
"""None: there is nothing to do this about now."""

OPERATIONS: dict[str, Draw] = {}
WORDS: set[tuple[str, str]] = set()
"""Every (operation, word) that has to be seen before a run may end."""


def operation(*words: str) -> Callable[[Draw], Draw]:
    def register(draw: Draw) -> Draw:
        name = draw.__name__
        OPERATIONS[name] = draw
        WORDS.update((name, str(word)) for word in words)
        return draw

    return register


def yes_or_no(answer: bool) -> Outcome:
    return Outcome(["yes" if answer else "no"], answer)
