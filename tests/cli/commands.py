"""Runs `doorbuster` commands in processes of their own, and `doorbuster up` as long as a test wants."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from helpers.waiting import until


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "doorbuster", *arguments]


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any setting of doorbuster, and these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DOORBUSTER_")}
    return {**clean, **(settings or {})}


async def doorbuster(*arguments: str, settings: Mapping[str, str] | None = None, within: float = 60.0) -> Done:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


class Up:
    """A `doorbuster up` with one gate. `start` again finds the same data."""

    def __init__(self, data: Path, settings: Mapping[str, str], python: str, **options: Any) -> None:
        self.data = data
        self._settings = settings
        self._python = python
        self._options = options
        self._log = data.with_name(f"{data.name}.said")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was never started"
        return self._process

    def said(self) -> str:
        """Everything on its screen so far, by it and by what it runs."""
        return self._log.read_text()

    async def start(self) -> None:
        """Returns at once."""
        arguments = command("up", "--port", "0", "--gates", "1", "--data-dir", str(self.data))[1:]
        with self._log.open("ab") as screen:
            self._process = await asyncio.create_subprocess_exec(
                self._python, *arguments, env=environment(self._settings), stdout=screen, stderr=screen, **self._options
            )

    async def ready(self) -> None:
        """Wait until it says that it is up."""

        def is_up() -> bool:
            if self.process.returncode is not None:
                raise RuntimeError(f"up ended with {self.process.returncode}: {self.said()[-2_000:]}")
            return (self.data / "address").exists()

        await until(is_up, within=90)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 60)

    def family(self) -> list[psutil.Process]:
        """Every process below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def pids(self, title: str) -> set[int]:
        """Those that `ps` shows as this; of PostgreSQL the first alone."""
        found: set[int] = set()
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                if title in line and not line.startswith("postgres: "):
                    found.add(process.pid)
        return found

    async def end(self) -> None:
        """Whatever the test did to it, nothing is left."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def up(
    data: Path, settings: Mapping[str, str] | None = None, *, python: str = sys.executable, **options: Any
) -> AsyncGenerator[Up]:
    """A started one; wait for `ready` where that matters."""
    running = Up(data, settings or {}, python, **options)
    await running.start()
    try:
        yield running
    finally:
        await running.end()


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a dead one may wait for somebody to ask how it ended."""
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
