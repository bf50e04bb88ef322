"""Waiting for something to become true, without sleeping for a guessed time."""

import inspect
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_STEP_S = 0.005


async def until(predicate: "Callable[[], T | Awaitable[T]]", *, within: float = 10.0, what: str = "") -> T:
    """Ask again and again until the answer is true, and return it. AssertionError with the last answer after `within`
    seconds. The predicate may be async; AssertionErrors of its own count as not yet."""
    end = time.monotonic() + within
    problem: AssertionError | None = None
    answer: T | None = None
    while True:
        try:
            given = predicate()
            answer = await given if inspect.isawaitable(given) else given
            problem = None
        except AssertionError as error:
            problem = error
        if answer and problem is None:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or predicate}; last: {problem or answer!r}")
        await sleep(_STEP_S)
