"""A store behind a bad wire: calls that do not arrive, and answers that do not.

Owns: what the two accidents of `engine/ports.py` mean, drawn from a seed or written down call by call.
What a server itself can lose is in `stock.py`: `throw_back`, `empty`, `restart`, `lose_stock_key`.
"""

import inspect
import random
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Any, TypeVar, cast

from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_Store = TypeVar("_Store")


class Fault(StrEnum):
    NOT_EXECUTED = "not_executed"  # StoreUnavailable: nothing happened
    REPLY_LOST = "reply_lost"  # OutcomeUnknown, after it did happen
    NONE = "none"  # arrives and answers; only of use in a script


class Faults:
    """Decides what becomes of each call. `script` comes first, then chance; `happened` counts by method and fault."""

    def __init__(self, seed: int = 0, *, not_executed: float = 0.0, reply_lost: float = 0.0) -> None:
        self.not_executed = not_executed
        self.reply_lost = reply_lost
        self.happened: Counter[tuple[str, Fault]] = Counter()
        self._random = random.Random(seed)  # noqa: S311 - the same seed has to give the same faults
        self._scripts: defaultdict[str, deque[Fault]] = defaultdict(deque[Fault])

    def script(self, method: str, *faults: Fault) -> None:
        """The next calls of this method end like this, one after the other."""
        self._scripts[method].extend(faults)

    def draw(self, method: str) -> Fault:
        chance = self._random.random()
        if self._scripts[method]:
            fault = self._scripts[method].popleft()
        elif chance < self.not_executed:
            fault = Fault.NOT_EXECUTED
        elif chance < self.not_executed + self.reply_lost:
            fault = Fault.REPLY_LOST
        else:
            fault = Fault.NONE
        self.happened[method, fault] += 1
        return fault


def faulty(store: _Store, faults: Faults) -> _Store:
    """The same store, with every call over the bad wire."""
    return cast("_Store", _Wire(store, faults))


class _Wire:
    def __init__(self, store: object, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._stream(name, method) if inspect.isasyncgenfunction(method) else self._call(name, method)

    def _call(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            fault = self._faults.draw(name)
            if fault is Fault.NOT_EXECUTED:
                raise StoreUnavailable(f"{name} did not arrive")
            answer = await method(*args, **kwargs)
            if fault is Fault.REPLY_LOST:
                raise OutcomeUnknown(f"the answer of {name} was lost")
            return answer

        return call

    def _stream(self, name: str, method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        """Reads break off before the first part or after it."""

        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            fault = self._faults.draw(name)
            if fault is Fault.NOT_EXECUTED:
                raise StoreUnavailable(f"{name} did not arrive")
            async for part in method(*args, **kwargs):
                yield part
                if fault is Fault.REPLY_LOST:
                    raise StoreUnavailable(f"{name} broke off")

        return stream
