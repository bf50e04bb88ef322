"""Everything of one machine: servers, gates, worker and gateway, started in order and kept alive.

Owns: the order of start and stop, and what each process is told. `up`, `demo` and the tests run the same stack.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import IO, Final

import aiohttp
import structlog

from doorbuster.adapters.embedded.errors import EmbeddedError, reason
from doorbuster.adapters.embedded.paths import DataDir
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.adapters.postgres.migrate import apply
from doorbuster.cli.child import Child, Kept
from doorbuster.cli.secrets import kept_secret
from doorbuster.config import Settings
from doorbuster.engine.ports import StoreUnavailable

log = structlog.get_logger(__name__)

_READY_WITHIN_S: Final = 60.0
_GATEWAY_WITHIN_S: Final = 20.0


def bind(host: str, port: int) -> socket.socket:
    """The listening socket all gates share: it outlives each of them, so no connection is refused while one restarts.
    EmbeddedError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise EmbeddedError(
            f"port {port} on {host} cannot be used ({error.strerror}); stop what uses it, or choose another --port"
        ) from error
    return listener


class Stack:
    """`start` raises EmbeddedError in one line and leaves nothing behind; `stop` may be called in any state.

    `log_file`: where the processes write; None: the terminal.
    """

    def __init__(self, settings: Settings, *, log_file: Path | None = None) -> None:
        self.settings = settings
        self.data = DataDir(settings.data_dir)
        self.database_url = settings.database_url
        self.valkey_url = settings.valkey_url
        self.gateway_url = settings.gateway_url
        self.admin_token = settings.admin_token.get_secret_value()
        self.buyer_secret = settings.buyer_secret.get_secret_value()
        self.url = ""
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self.gates: list[Child] = []
        self.worker: Child | None = None
        self.gateway: Child | None = None
        self._log_file = log_file
        self._output: IO[bytes] | None = None
        self._listener: socket.socket | None = None
        self._servers: list[Kept] = []

    async def start(self) -> None:
        """Everything up and ready to answer."""
        try:
            self._listener = bind(self.settings.host, self.settings.port)
            self.data.claim()
            self._open_log()
            self._make_secrets()
            await self._start_servers()
            await self._migrate()
            await self._start_processes()
            await self._ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Gates first, so that what they hold in their hands is finished while the stores are there."""
        await asyncio.gather(*(gate.stop() for gate in self.gates))
        for child in (self.worker, self.gateway):
            if child is not None:
                await child.stop()
        for kept in self._servers:
            await kept.release()
        if self.valkey is not None:
            await self.valkey.stop()
        if self.postgres is not None:
            await self.postgres.stop()
        with contextlib.suppress(OSError):
            (self.data.root / "address").unlink(missing_ok=True)
        if self._listener is not None:
            self._listener.close()
        if self._output is not None:
            self._output.close()
        self.data.release()

    async def add_gate(self) -> None:
        """One more gate process on the same address."""
        assert self._listener is not None
        number = len(self.gates) + 1
        fd = self._listener.fileno()
        command = [sys.executable, "-m", "doorbuster", "gate", "--fd", str(fd)]
        gate = Child(f"gate {number}", command, self._environment(), output=self._output, pass_fds=[fd])
        self.gates.append(gate)
        await gate.kept.start()

    def _open_log(self) -> None:
        if self._log_file is not None:
            try:
                self._output = self._log_file.open("ab")
            except OSError as error:
                raise EmbeddedError(f"{self._log_file}: {reason(error)}") from error

    def _make_secrets(self) -> None:
        if not self.admin_token:
            self.admin_token = kept_secret(self.data.root / "admin-token")
        if not self.buyer_secret and not self.settings.buyer_jwks_url:
            self.buyer_secret = kept_secret(self.data.root / "buyer-secret")

    async def _start_servers(self) -> None:
        starts: list[Kept] = []
        if not self.database_url:
            self.postgres = EmbeddedPostgres(self.data.postgres, log=self.data.logs / "postgres.log")
            self.database_url = self.postgres.url
            starts.append(Kept("postgres", self.postgres.start, self.postgres.process.wait))
        if not self.valkey_url:
            self.valkey = EmbeddedValkey(self.data.valkey, log=self.data.logs / "valkey.log")
            self.valkey_url = self.valkey.url
            starts.append(Kept("valkey", self.valkey.start, self.valkey.process.wait))
        self._servers = starts
        results = await asyncio.gather(*(kept.start() for kept in starts), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _migrate(self) -> None:
        try:
            await apply(self.database_url)
        except StoreUnavailable as problem:
            raise EmbeddedError(f"PostgreSQL cannot be used: {problem}") from problem

    def _environment(self) -> dict[str, str]:
        told = {
            "DATABASE_URL": self.database_url,
            "VALKEY_URL": self.valkey_url,
            "GATEWAY_URL": self.gateway_url,
            "ADMIN_TOKEN": self.admin_token,
            "BUYER_SECRET": self.buyer_secret,
            "BUYER_JWKS_URL": self.settings.buyer_jwks_url,
            "BUYER_AUDIENCE": self.settings.buyer_audience,
            "DEV_IDENTITIES": str(self.settings.dev_identities).lower(),
            "PAYMENT_GATEWAY": self.settings.payment_gateway,
            "DATA_DIR": str(self.data.root),
            "HOST": self.settings.host,
            "PORT": str(self._port()),
            "LOG_FORMAT": self.settings.log_format,
            "LOG_LEVEL": self.settings.log_level,
        }
        return {
            **os.environ,
            **{f"DOORBUSTER_{name}": value for name, value in told.items()},
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir),
        }

    @property
    def _metrics_dir(self) -> Path:
        return self.data.root / "metrics"

    def _port(self) -> int:
        assert self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    async def _start_processes(self) -> None:
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        self._metrics_dir.mkdir()
        if self.settings.payment_gateway == "simulated" and not self.gateway_url:
            await self._start_gateway()
        gates = self.settings.gates or max(1, (os.cpu_count() or 1) // 2)
        for _ in range(gates):
            await self.add_gate()
        self.worker = Child(
            "worker", [sys.executable, "-m", "doorbuster", "worker"], self._environment(), output=self._output
        )
        await self.worker.kept.start()

    async def _start_gateway(self) -> None:
        """The simulated gateway picks a port the first time and keeps it for the life of this stack."""
        port_file = self.data.root / "gateway-port"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "doorbuster", "gateway", "--port-file", str(port_file)]
        book = ["--book", str(self.data.root / "gateway-book")]
        first = Child("gateway", [*command, *book, "--port", "0"], dict(os.environ), output=self._output)
        await first.spawn()
        end = asyncio.get_running_loop().time() + _GATEWAY_WITHIN_S
        while not port_file.exists():
            if first.pid is None or asyncio.get_running_loop().time() > end:
                await first.stop()
                raise EmbeddedError("the simulated payment gateway did not start; its output says why")
            await asyncio.sleep(0.01)
        port = int(port_file.read_text())
        self.gateway_url = f"http://127.0.0.1:{port}"
        first.command = [*command, *book, "--port", str(port)]
        first.kept.keep()
        self.gateway = first

    async def _ready(self) -> None:
        self.url = f"http://{_reachable(self.settings.host)}:{self._port()}"
        end = asyncio.get_running_loop().time() + _READY_WITHIN_S
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            break
                if asyncio.get_running_loop().time() > end:
                    raise EmbeddedError(f"the gate is not ready within {_READY_WITHIN_S:.0f} s; its log says why")
                await asyncio.sleep(0.03)
        (self.data.root / "address").write_text(self.url + "\n")


def _reachable(host: str) -> str:
    """A host name for a URL: listening everywhere is no address to call."""
    if host in {"", "0.0.0.0"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
