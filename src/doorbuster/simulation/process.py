"""A simulated process: tasks that die together, and wires to the stores that can be cut.

Owns: what a crash, a pause and a lost reply mean. A kill cuts the wires first, so nothing that runs while its tasks
are torn down can still reach a store: that is what makes it a kill and not a shutdown.
"""

import asyncio
import contextlib
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import msgspec

from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_current: ContextVar["Process | None"] = ContextVar("process", default=None)


class Weather(msgspec.Struct, kw_only=True):
    """How bad the network is: probabilities per call, and latency in seconds. Drawn per world, calm for the end."""

    refused: float = 0.0  # never arrives
    reply_lost: float = 0.0  # arrives, is done, and the answer is lost
    slow: float = 0.0  # takes up to `slow_s`
    latency_s: float = 0.002
    slow_s: float = 2.0
    cut_off: set[str] = msgspec.field(default_factory=set[str])
    """Stores that nobody can reach now: `stock`, `ledger`."""


class Process:
    """A gate or a worker. Start its work with `spawn`; everything that work starts belongs to the process too."""

    def __init__(self, name: str, rng: random.Random, weather: Weather) -> None:
        self.name = name
        self.alive = True
        self._rng = rng
        self._weather = weather
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running = asyncio.Event()
        self._running.set()

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        token = _current.set(self)
        try:
            return asyncio.ensure_future(work)  # pyright: ignore[reportReturnType]
        finally:
            _current.reset(token)

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def pause(self) -> None:
        """SIGSTOP: calls under way arrive, their answers are not looked at until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def kill(self) -> None:
        """SIGKILL: from this line on nothing of the process has an effect."""
        self.alive = False
        self._running.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, where: str, method: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """One call over the wire to a store, with the weather on the way out and on the way back."""
        weather, rng = self._weather, self._rng
        await self._travel(rng.random() * weather.latency_s)
        if not self.alive or where in weather.cut_off or rng.random() < weather.refused:
            raise StoreUnavailable("the call did not arrive")
        if rng.random() < weather.slow:
            await self._travel(rng.random() * weather.slow_s)
            if not self.alive:
                raise StoreUnavailable("the process is gone")
        answer = await method(*args, **kwargs)
        await self._travel(rng.random() * weather.latency_s)
        if not self.alive or where in weather.cut_off or rng.random() < weather.reply_lost:
            raise OutcomeUnknown("the answer did not arrive")
        return answer

    async def _travel(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._running.wait()


class Wire:
    """A store as one process sees it: every method of the store, through the process's wires."""

    def __init__(self, process: Process, where: str, store: object) -> None:
        self._process = process
        self._where = where
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        process, where = self._process, self._where
        if inspect.isasyncgenfunction(method):

            async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                chunks = [chunk async for chunk in method(*args, **kwargs)]  # one snapshot, as the ports promise
                for chunk in chunks:

                    async def give(value: Any = chunk) -> Any:
                        return value

                    yield await process.call(where, give)

            return stream

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await process.call(where, method, *args, **kwargs)

        return call


def own_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Make every task belong to the process that started it."""

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
        process = _current.get()
        if process is not None:
            process.own(task)
            if not process.alive:
                task.cancel()
        return task

    with contextlib.suppress(RuntimeError):
        loop.set_task_factory(factory)
