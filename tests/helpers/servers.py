"""Real servers for tests: quick copies of a PostgreSQL that is ready, and handles that kill, pause and damage them."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import cast

import hiredis
import psutil

from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.adapters.postgres.migrate import apply
from doorbuster.adapters.valkey.library import library_text


class _Own:
    """What a test may do to a server besides using it."""

    def __init__(self, server: EmbeddedPostgres | EmbeddedValkey) -> None:
        self._server = server
        self.url = server.url

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._server.process.pid

    @property
    def log(self) -> Path:
        """What it wrote; all its starts."""
        assert self._server.process.log is not None
        return self._server.process.log

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        """As an administrator would: with everything written."""
        self.resume()
        await self._server.stop()

    async def kill(self) -> None:
        """SIGKILL to every process of it at once; returns when they are gone."""
        if self.pid is None:
            return
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self._server.process.wait()

    def forget(self) -> None:
        """Remove what a kill leaves outside the folder."""

    def pause(self) -> None:
        """SIGSTOP: it is there and does not answer."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):  # a helper that ended by itself meanwhile
                process.suspend()

    def resume(self) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _family(self) -> list[psutil.Process]:
        if self.pid is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        return []


class OwnPostgres(_Own):
    """A PostgreSQL whose database at `url` has the schema of this version."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        super().__init__(server)
        self.url_of = server.url_of
        self.data = server.data

    def forget(self) -> None:
        """The kernel keeps a killed server's piece of System V memory until somebody removes it."""
        with contextlib.suppress(OSError, IndexError):
            number = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "--shmem-id", number], capture_output=True, check=False)


class OwnValkey(_Own):
    """A Valkey with an append-only file and the function library in it."""

    def __init__(self, server: EmbeddedValkey) -> None:
        super().__init__(server)
        self._valkey = server
        self.socket = server.socket

    async def start(self) -> None:
        await super().start()
        load_library(self.socket)

    def call(self, *command: str | bytes | int) -> object:
        """One command over a connection of its own."""
        return call(self.socket, *command)

    @property
    def append_only_files(self) -> list[Path]:
        """The files that grow, the newest last; not the snapshot they build on."""
        return sorted(self._valkey.append_only_dir.glob("*.incr.aof"))

    def truncate_aof(self, cut: int) -> None:
        """Take this many bytes off the end of the file, as a power cut does. Only while it does not run."""
        assert self.pid is None
        file = self.append_only_files[-1]
        os.truncate(file, max(0, file.stat().st_size - cut))

    def empty(self) -> None:
        """Lose everything, library included. Only while it does not run."""
        assert self.pid is None
        shutil.rmtree(self._valkey.append_only_dir, ignore_errors=True)


class Servers:
    """Makes servers below one folder. Everything made is ended by `end`."""

    def __init__(self, folder: Path, pristine: Path) -> None:
        self._folder = folder
        self._pristine = pristine
        self._numbers = itertools.count(1)
        self._made: list[_Own] = []

    async def postgres(self, **settings: str) -> OwnPostgres:
        """A running server of one's own; `settings` are names and values of postgresql.conf."""
        place = self._place("p")
        subprocess.run(["cp", "-a", str(self._pristine), str(place / "data")], check=True)  # noqa: ASYNC221 - 0.1 s
        own = OwnPostgres(EmbeddedPostgres(place / "data", log=place / "log", settings=settings))
        self._made.append(own)
        await own.start()
        return own

    async def valkey(self, *, fsync: str = "everysec", **settings: str) -> OwnValkey:
        """A running server of one's own; `settings` are names (with _ for -) and values of valkey.conf."""
        place = self._place("v")
        told = {"appendfsync": fsync} | {name.replace("_", "-"): value for name, value in settings.items()}
        own = OwnValkey(EmbeddedValkey(place / "data", log=place / "log", settings=told))
        self._made.append(own)
        await own.start()
        return own

    async def end(self) -> None:
        """Nobody looks at their data again, so they need not write it."""
        for own in self._made:
            await own.kill()
            own.forget()
        self._made.clear()

    def _place(self, kind: str) -> Path:
        place = self._folder / f"{kind}{next(self._numbers)}"
        place.mkdir(mode=0o711)
        return place


async def make_pristine(folder: Path) -> Path:
    """Data in `folder`, which exists, of a stopped PostgreSQL with the schema in it, to be copied."""
    server = EmbeddedPostgres(folder / "data", log=folder / "log")
    await server.start()
    try:
        await apply(server.url)
    finally:
        await server.stop()
    return folder / "data"


def load_library(path: Path) -> None:
    call(path, "FUNCTION", "LOAD", "REPLACE", library_text())


def call(path: Path, *command: str | bytes | int) -> object:
    """One command to the Valkey at this socket; an error reply is raised."""
    reader = hiredis.Reader()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(_packed(command))
        while (reply := reader.gets()) is False:
            received = connection.recv(65_536)
            assert received, "the server hung up"
            reader.feed(received)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply


def _packed(command: tuple[str | bytes | int, ...]) -> bytes:
    # The library's stub knows commands of one part only.
    return cast("bytes", hiredis.pack_command(command))  # pyright: ignore[reportArgumentType, reportUnknownMemberType]


def leaked_keys(path: Path) -> list[str]:
    """Keys that belong to no sale: nobody would ever remove them."""
    names = cast("list[bytes]", call(path, "KEYS", "*"))
    return [name.decode(errors="replace") for name in names if not name.startswith(b"sale:{")]
