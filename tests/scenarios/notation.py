"""The notation of a story: one step a line, who does what, and what comes of it.

    sale     units=2 per_buyer=1 hold_ttl=120s
    reserve  B1            -> reserved              free=1 held=1 sold=0
    reserve  B1 key=again  -> already-purchased
    reserve  B2..B4        -> reserved all-held*2   # in any order
    advance  120s
    expire                 -> 2

Names stand for buyers: `B1..B4` are four, `B1*64` is one with 64 requests at once. What follows `->` are the words of
the answers, in any order and counted, and numbers that hold after the step; either may be left out.
Read next: `verbs.py`, which says what each verb does.
"""

import re
from collections import Counter
from typing import Final

import msgspec

_NAMES: Final = re.compile(r"(?P<stem>[A-Za-z]+)(?P<first>\d+)\.\.(?P=stem)(?P<last>\d+)")
_TIMES: Final = re.compile(r"(?P<name>.+)\*(?P<count>\d+)")
_SPAN: Final = re.compile(r"(?P<count>\d+)(?P<unit>ms|s|m|h)")
_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


class NotationError(Exception):
    """A line that says nothing, with its number."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `said` is None where nothing is expected of the answer."""

    line: int
    text: str
    verb: str
    names: tuple[str, ...] = ()
    options: dict[str, str] = {}
    said: Counter[str] | None = None
    after: dict[str, str] = {}

    def number(self, name: str, default: int) -> int:
        return int(self.options.get(name, default))

    def span_ms(self, name: str, default: str) -> int:
        return span_ms(self.options.get(name, default))


def span_ms(text: str) -> int:
    """Milliseconds of `250ms`, `10s`, `2m`, `1h`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of time; write 250ms, 10s, 2m or 1h")
    return int(found["count"]) * _UNITS[found["unit"]]


def read(text: str) -> list[Step]:
    """The steps of a story. NotationError names the first line that cannot be read."""
    steps: list[Step] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#")[0].strip()
        if line:
            try:
                steps.append(_step(number, line))
            except ValueError as problem:
                raise NotationError(f"line {number}: {problem}: {raw.strip()}") from problem
    return steps


def _step(number: int, line: str) -> Step:
    done, arrow, expected = line.partition("->")
    verb, *words = done.split()
    names = [name for word in words if "=" not in word for name in _names_of(word)]
    said, after = _split(expected.split())
    if arrow and not expected.strip():
        raise ValueError("nothing is expected after ->")
    return Step(
        line=number,
        text=line,
        verb=verb,
        names=tuple(names),
        options=_split(words)[1],
        said=_counted(said) if said else None,
        after=after,
    )


def _split(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Plain words, and those of the form name=value."""
    pairs = [word.partition("=") for word in words if "=" in word]
    options = {name: value for name, _, value in pairs}
    if len(options) < len(pairs):
        raise ValueError("something is said twice")
    return [word for word in words if "=" not in word], options


def _names_of(word: str) -> list[str]:
    several = _NAMES.fullmatch(word)
    if several is not None:
        return [f"{several['stem']}{n}" for n in range(int(several["first"]), int(several["last"]) + 1)]
    name, count = _times(word)
    return [name] * count


def _counted(words: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for word in words:
        name, count = _times(word)
        counted[name] += count
    return counted


def _times(word: str) -> tuple[str, int]:
    found = _TIMES.fullmatch(word)
    return (word, 1) if found is None else (found["name"], int(found["count"]))
