"""A process that never outlives us.

Owns: starting, watching and ending one process, and where its output goes. Keeps: no orphan, however we end (on Linux
the kernel sends the death signal; elsewhere the next start on the same data ends what is left). The death signal is
tied to the thread that forks: start processes from the main thread.
Knows nothing of what it runs. Read next: `postgres.py`, `valkey.py`.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from doorbuster.adapters.embedded.errors import EmbeddedError, reason
from doorbuster.adapters.embedded.identity import Identity

_PR_SET_PDEATHSIG: Final = 1
_LINUX: Final = sys.platform == "linux"
_POLL_S: Final = 0.02
_LOG_BYTES_MAX: Final = 10_000_000
"""A log that is larger when its process starts is moved aside; one older log is kept."""
_TAIL_BYTES: Final = 8_000
_COMPLAINTS: Final = ("FATAL", "PANIC", "rror", "No space", "Fatal", "an't ")
_LINES_QUOTED: Final = 4
# Looked up before any fork: a lookup in the child of a threaded process could meet a lock that nobody will release.
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl if _LINUX else None


class Step(msgspec.Struct, frozen=True):
    """One step of ending a process: what to send, and how long to wait before the next step."""

    signal: signal.Signals
    patience_s: float


class Process:
    """A process of one kind; `spawn` again after it has ended. Belongs to no event loop.

    `ending` is how it is asked to end; after the last step it gets SIGKILL. `death_signal` is sent if we die.
    """

    def __init__(
        self, name: str, *, ending: Sequence[Step], death_signal: signal.Signals, log: Path | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._ending = tuple(ending)
        self._death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._popen is None or self._popen.poll() is not None else self._popen.pid

    @property
    def last_pid(self) -> int | None:
        """Of the last start, also when it has ended since."""
        return None if self._popen is None else self._popen.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: an exit code, or minus the number of the signal that ended it."""
        return None if self._popen is None else self._popen.poll()

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        identity: Identity | None = None,
        output: "IO[bytes] | int | None" = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it. It writes to its log, else to `output`, else where we write. EmbeddedError if it cannot start."""
        identity = identity or Identity()
        try:
            with contextlib.ExitStack() as stack:
                if self.log is not None:
                    self._log_start = _make_room(self.log)
                    output = stack.enter_context(self.log.open("ab"))
                self._popen = subprocess.Popen(  # noqa: S603 - the commands are our own
                    [*identity.prefix, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(environment),
                    cwd="/" if identity.uid is not None else None,
                    user=identity.uid,
                    group=identity.gid,
                    extra_groups=None if identity.uid is None else [],
                    start_new_session=True,  # a Ctrl-C at the terminal is for us, who then stop in order
                    pass_fds=pass_fds,
                    # Runs after the change of user, which would clear the death signal.
                    preexec_fn=_tied_to(os.getpid(), self._death_signal),  # noqa: PLW1509 - one system call
                )
        except OSError as problem:
            raise EmbeddedError(f"{self.name} cannot be started: {reason(problem)}") from problem

    async def wait(self) -> int:
        """How it ended, once it has. Any number of tasks may wait."""
        assert self._popen is not None
        popen = self._popen
        while (code := popen.poll()) is None:
            await _change_of(popen.pid)
        return code

    async def ended_within(self, seconds: float) -> bool:
        """Wait at most this long; whether it has ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)
        return self.pid is None

    async def stop(self) -> None:
        """Ask, wait, insist; returns when it has ended."""
        for step in self._ending:
            if self.pid is None:
                return
            self.send(step.signal)
            self.send(signal.SIGCONT)  # a stopped process would not act on anything but SIGKILL
            if await self.ended_within(step.patience_s):
                return
        if self.pid is not None:
            self.kill()
            await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended is left alone."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)

    def output_since_start(self) -> str:
        """The end of what it wrote to its log since it was started."""
        if self.log is None:
            return ""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
        return ""


def _tied_to(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    def tie() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return tie


async def _change_of(pid: int) -> None:
    """Return when this child has ended, or after a moment where the system cannot tell."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # another system, an old kernel, a sandbox
        await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(handle, _settle, ended)
        await ended
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _make_room(log: Path) -> int:
    """Where in the log a new process begins to write."""
    with contextlib.suppress(FileNotFoundError):
        size = log.stat().st_size
        if size <= _LOG_BYTES_MAX:
            return size
        log.replace(log.with_name(f"{log.name}.1"))
    return 0


def telling_lines(output: str) -> str:
    """What matters in a server's output, on one line: its first complaint and what follows, else its last words."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if any(word in line for word in _COMPLAINTS):
            return " | ".join(lines[number : number + _LINES_QUOTED])
    return " | ".join(lines[-_LINES_QUOTED:])


def is_running(pid: int, *, naming: str) -> bool:
    """Whether this process runs and has `naming` in its command line: a pid is used again sooner or later."""
    if not _LINUX:
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            return True
        return False
    try:
        return os.fsencode(naming) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def works_in(folder: Path) -> bool:
    """Whether any process has this as its working directory. True where the system does not tell."""
    if not _LINUX:
        return True
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's and none of ours
            if (process / "cwd").samefile(folder):
                return True
    return False
