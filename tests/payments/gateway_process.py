"""The simulated gateway as a process of its own, which a test may kill and start again on the same book and address."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

_RUN = (
    "import sys; from pathlib import Path; from doorbuster.adapters.payments.simulated_server import run; "
    "run('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), announce_fd=int(sys.argv[3]))"
)
_START_S = 20


class GatewayProcess:
    """`start` returns when it answers; `kill` is SIGKILL; the address survives both."""

    def __init__(self, book: Path) -> None:
        self.book = book
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        reader, writer = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _RUN, str(self._port), str(self.book), str(writer), pass_fds=(writer,)
            )
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as announced:
            line = await asyncio.wait_for(asyncio.to_thread(announced.readline), _START_S)
        assert line, "the gateway ended before it listened"
        self._port = int(line)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return await process.wait()


@contextlib.asynccontextmanager
async def gateway_process(book: Path) -> AsyncGenerator[GatewayProcess]:
    process = GatewayProcess(book)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()
