"""Processes that are started again when they die.

Owns: restarts and their back-off. Keeps: I16 (whatever dies is back within seconds, and what dies again and again does
not take the machine with it).
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO, Final

import structlog

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.process import Process, Step

log = structlog.get_logger(__name__)

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 5.0
_STEADY_AFTER_S: Final = 10.0
"""A process that lived this long had no trouble starting: the next back-off begins anew."""
_DRAIN_PATIENCE_S: Final = 15.0


class Kept:
    """Runs `start`, waits with `wait` until what was started has ended, and starts it again."""

    def __init__(self, name: str, start: Callable[[], Awaitable[None]], wait: Callable[[], Awaitable[int]]) -> None:
        self.name = name
        self.restarts = 0
        self._start = start
        self._wait = wait
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it the first time; trouble is raised, not retried: a person is watching."""
        await self._start()
        self.keep()

    def keep(self) -> None:
        """From here on keep what was started already."""
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self.name}")

    async def release(self) -> None:
        """Keep it no longer; it goes on running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _BACKOFF_FIRST_S
        while True:
            started = loop.time()
            code = await self._wait()
            if loop.time() - started > _STEADY_AFTER_S:
                backoff = _BACKOFF_FIRST_S
            self.restarts += 1
            log.warning("a process died; starting it again", name=self.name, code=code, after_s=backoff)
            while True:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_MAX_S)
                try:
                    await self._start()
                except EmbeddedError as problem:
                    log.warning("it does not start", name=self.name, problem=str(problem), again_in_s=backoff)
                else:
                    break


class Child:
    """One of our own processes: gate, worker, gateway. It dies with this process, whatever kills it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.command = list(command)
        """What the next start runs."""
        self._environment = environment
        self._output = output
        self._pass_fds = tuple(pass_fds)
        self._teller: int | None = None
        # Its stores die with us too, so there is nothing left to finish: SIGKILL frees the port at once.
        self._process = Process(name, ending=(Step(signal.SIGTERM, _DRAIN_PATIENCE_S),), death_signal=signal.SIGKILL)
        self.kept = Kept(name, self.spawn, self._wait)

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid

    async def spawn(self) -> None:
        self._process.spawn(self.command, self._environment, output=self._output, pass_fds=self._pass_fds)

    def spawn_untold(self) -> None:
        """Start it before its settings are known: it loads its code and waits for `tell`."""
        reader, self._teller = os.pipe()
        try:
            command = [*self.command, "--told-fd", str(reader)]
            pass_fds = (*self._pass_fds, reader)
            self._process.spawn(command, self._environment, output=self._output, pass_fds=pass_fds)
        finally:
            os.close(reader)

    def tell(self, environment: Mapping[str, str]) -> None:
        """What `spawn_untold` left open. From here on it is known at every start."""
        self._environment = {**self._environment, **environment}
        assert self._teller is not None
        with contextlib.suppress(BrokenPipeError):  # it died; whoever keeps it starts it again
            os.write(self._teller, json.dumps(dict(environment)).encode())
        self._hang_up()

    async def stop(self) -> None:
        """SIGTERM, and the time it needs to finish what is under way."""
        await self.kept.release()
        await self._process.stop()
        self._forget(self._process.last_pid)
        self._hang_up()

    async def _wait(self) -> int:
        pid = self._process.last_pid
        code = await self._process.wait()
        self._forget(pid)
        return code

    def _forget(self, pid: int | None) -> None:
        """What it said of itself is true no longer: nobody listens to a gate that is gone. Counters stay."""
        folder = self._environment.get("PROMETHEUS_MULTIPROC_DIR")
        if folder and pid is not None:
            from prometheus_client import multiprocess  # noqa: PLC0415 - not while `up` starts

            multiprocess.mark_process_dead(pid, folder)  # pyright: ignore[reportUnknownMemberType]

    def _hang_up(self) -> None:
        if self._teller is not None:
            os.close(self._teller)
            self._teller = None
