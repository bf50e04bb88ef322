"""Other processors for pure functions that take seconds: the shuffle of a draw.

Owns: a few processes, started when they are first needed and given up again. Python runs one thread of a process at a
time, so a thread would neither be quicker nor let the event loop alone.
Implements `engine.drawing.Offload`. Read next: `domain/draw.py`, which is all that runs there.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, TypeVar

from doorbuster.engine.ports import StoreUnavailable

_T = TypeVar("_T")
_PROCESSES_MAX: Final = 4
_SMALL: Final = 1_000_000
"""Bytes of arguments below which the way to another process takes longer than the work."""


class Processors:
    """Call it with a function and its arguments, all of which can be pickled. Small work is done in a thread."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def __call__(self, work: Callable[..., _T], /, *args: Any) -> _T:
        if sum(len(arg) for arg in args if isinstance(arg, bytes)) < _SMALL:
            return await asyncio.to_thread(work, *args)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._open(), work, *args)
        except BrokenProcessPool as problem:  # killed from outside: the next call starts new ones
            self._pool = None
            raise StoreUnavailable("a process that was computing has ended") from problem

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not forked: threads of the event loop's process may hold locks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(min(_PROCESSES_MAX, os.cpu_count() or 1), mp_context=context)
        return self._pool

    async def close(self) -> None:
        """Waits for what is being computed."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown)
