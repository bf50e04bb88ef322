"""An event loop without an outside world: time passes only when everybody waits.

Owns: virtual time. A world in it runs as fast as the machine computes, and the same seed gives the same run.
Inside, nothing may touch a socket, a thread or the real clock.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is left that could ever wake anybody."""


class _TimeSelector(selectors.BaseSelector):
    """Instead of waiting for files, moves the time on by as long as the loop would have waited."""

    def __init__(self) -> None:
        self.now = 0.0
        self._map: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: object = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._map[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return self._map[fd]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("every task waits and no timer is set")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual seconds since its birth."""

    def __init__(self) -> None:
        self._time_selector = _TimeSelector()
        super().__init__(self._time_selector)

    def time(self) -> float:
        return self._time_selector.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a world of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
