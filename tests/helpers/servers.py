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

from doorbuster.adapters.embedded.identity import Identity, choose
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres, binaries
from doorbuster.adapters.embedded.valkey import EmbeddedValkey, binary
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
        return self._server.pid

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

    def pause(self) -> None:
        """SIGSTOP: it is there and does not answer."""
        for process in self._family():
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


class OwnValkey(_Own):
    """A Valkey with an append-only file and the function library in it."""

    def __init__(self, server: EmbeddedValkey) -> None:
        super().__init__(server)
        self._valkey = server
        self.socket = Path(server.url.removeprefix("unix://"))

    async def start(self) -> None:
        await super().start()
        load_library(self.socket)

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
    packed: bytes = hiredis.pack_command(command)  # pyright: ignore[reportArgumentType, reportUnknownMemberType, reportUnknownVariableType] - its stub knows one part only
    return packed


def leaked_keys(path: Path) -> list[str]:
    """Keys that belong to no sale: nobody would ever remove them."""
    names = cast("list[bytes]", call(path, "KEYS", "*"))
    return [name.decode(errors="replace") for name in names if not name.startswith(b"sale:{")]
