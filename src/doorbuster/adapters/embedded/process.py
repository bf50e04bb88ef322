"""One server process that never outlives its parent.

Owns: starting, watching and stopping a server, and where its output goes. The kernel sends the death signal when the
thread that started the process ends, so servers are started from the main thread.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.identity import Identity

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_STOP_PATIENCE_S: Final = 20.0


def die_with_parent(number: int, parent: int) -> None:
    """Ask the kernel for this signal when the parent dies. Runs in the child, after it has changed its user."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(1)


class ServerProcess:
    """A server of one kind; `start` again after it has ended."""

    def __init__(self, name: str, log: Path, identity: Identity, *, stop_signal: signal.Signals) -> None:
        self.name = name
        self._log = log
        self._identity = identity
        self._stop_signal = stop_signal
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def spawn(self, command: Sequence[str], environment: dict[str, str]) -> None:
        parent, number = os.getpid(), int(self._stop_signal)
        try:
            with self._log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._identity.prefix,
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C at the terminal is for us, who then stop in order
                    preexec_fn=lambda: die_with_parent(number, parent),
                    **self._identity.options(),
                )
        except FileNotFoundError as error:
            raise EmbeddedError(
                f"{self.name}: the program {error.filename} is missing; install the package again"
            ) from error
        except OSError as error:
            raise EmbeddedError(f"{self.name} cannot be started: {reason(error)}") from error

    async def wait(self) -> int:
        """The exit code, when it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end and wait; after much patience insist."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self._stop_signal)
        try:
            await asyncio.wait_for(process.wait(), _STOP_PATIENCE_S)
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def failure(self) -> EmbeddedError:
        """Why it ended, in its own last words."""
        code = self._process.returncode if self._process is not None else None
        return EmbeddedError(f"{self.name} ended with code {code}: {last_words(self._log)} (log: {self._log})")


def last_words(log: Path) -> str:
    """The last line that says something; of several, one that says why."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-40:] if line.strip()]
    except OSError:
        return "it wrote no log"
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror", "No space", "Fatal"))]
    return (telling or lines or ["it wrote nothing"])[-1]


def reason(error: OSError) -> str:
    """What an operator can do about it."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; make room and start again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename} cannot be written; choose another --data-dir or mend its permissions"
    return error.strerror or str(error)
