"""A battery of checks that every implementation of a port has to pass.

A suite is a decorator: what it decorates is one check. Tests run each check on each implementation; whoever writes
another implementation runs the same suite with a bench for it.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import pytest

Bench = TypeVar("Bench")
Check = Callable[[Bench], Awaitable[None]]


class Suite(Generic[Bench]):
    """Checks by name, in the order they are written."""

    def __init__(self, *parts: "Suite[Bench]") -> None:
        self._checks: dict[str, Check[Bench]] = {}
        for part in parts:
            for check in part:
                self(check)

    def __call__(self, check: Check[Bench]) -> Check[Bench]:
        name = check.__name__
        assert name not in self._checks, f"two checks are called {name}"
        self._checks[name] = check
        return check

    def __iter__(self) -> Iterator[Check[Bench]]:
        return iter(self._checks.values())

    def parameters(self) -> pytest.MarkDecorator:
        """Runs a test once for each check, under the check's name."""
        return pytest.mark.parametrize("check", list(self._checks.values()), ids=list(self._checks))
