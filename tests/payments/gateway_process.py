"""The simulated gateway as a process of its own, which a test may kill and start again on the same book and address."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_RUN = (
    "import ctypes; ctypes.CDLL(None).prctl(1, 9); "  # it dies with the tests, whatever ends them
    "import sys; from pathlib import Path; from doorbuster.adapters.payments.simulated_server import run; "
    "run('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), announce_fd=int(sys.argv[3]))"
)
_PATIENCE_S = 20


class GatewayProcess:
    """`start` returns when it answers; `kill` is SIGKILL; the address survives both."""

    def __init__(self, book: Path) -> None:
        self.book = book
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as announced:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _RUN, str(self._port), str(self.book), str(writer)], pass_fds=(writer,)
                )
            finally:
                os.close(writer)
            assert select.select([announced], [], [], _PATIENCE_S)[0], "the gateway says nothing"
            line = announced.readline()
        assert line, "the gateway ended before it listened"
        self._port = int(line)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It goes on existing and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(_PATIENCE_S)


@contextmanager
def gateway_process(book: Path) -> Generator[GatewayProcess, None, None]:
    process = GatewayProcess(book)
    process.start()
    try:
        yield process
    finally:
        process.kill()
