"""Everything of one machine: servers, gates, worker and gateway, started in order and kept alive.

Owns: the order of start and stop, and what each process is told. `up`, `demo` and the tests run the same stack.
Keeps: I16 together with `child.py`. What needs a second to load is started first and waits for its settings, so the
cores load code while the servers make their data.
"""

import asyncio
import importlib
import os
import shutil
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import IO, Final

import structlog

from doorbuster.adapters.embedded.errors import EmbeddedError, reason
from doorbuster.adapters.embedded.paths import DataDir
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.adapters.postgres.migrate import apply
from doorbuster.cli.child import Child, Kept
from doorbuster.cli.secrets import BUYER_SECRET_BYTES_MIN, kept_secret
from doorbuster.config import Settings
from doorbuster.engine.ports import StoreUnavailable

log = structlog.get_logger(__name__)

_READY_WITHIN_S: Final = 60.0
_GATEWAY_WITHIN_S: Final = 20.0
_DEATHS_MAX: Final = 3
"""A gate that dies this often before the first answer will not give one."""
_PROBE_S: Final = 0.02
_WISH_S: Final = 0.5
_BACKLOG: Final = 4096
"""Buyers of one second who wait to be accepted; the kernel may cut it to net.core.somaxconn."""


def bind(host: str, port: int, setting: str = "--port") -> socket.socket:
    """The listening socket all gates share: it outlives each of them, so no connection is refused while one restarts.
    EmbeddedError if the address cannot be had."""
    listener: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise EmbeddedError(
            f"port {port} on {host} cannot be used ({error.strerror}); stop what uses it, or choose another {setting}"
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
        self.gateway_webhook_secrets = settings.gateway_webhook_secrets.get_secret_value()
        self.push_private_key = settings.push_private_key.get_secret_value()
        self.url = ""
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self.gates: list[Child] = []
        self.worker: Child | None = None
        self.gateway: Child | None = None
        self._log_file = log_file
        self._output: IO[bytes] | None = None
        self._listener: socket.socket | None = None
        self._metrics: socket.socket | None = None
        self._servers: list[Kept] = []
        self._wishes: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Everything up and ready to answer."""
        if 0 < len(self.buyer_secret.encode()) < BUYER_SECRET_BYTES_MIN:
            raise EmbeddedError(
                f"DOORBUSTER_BUYER_SECRET has fewer than {BUYER_SECRET_BYTES_MIN} bytes; set a longer one"
            )
        try:
            self._listener = bind(self.settings.host, self.settings.port)
            if self.settings.metrics_port:
                self._metrics = bind(self.settings.host, self.settings.metrics_port, "DOORBUSTER_METRICS_PORT")
            self.data.claim()
            self._prepare()
            first = self._new_gate()
            first.spawn_untold()
            await _all(self._start_servers(), self._start_gateway(), self._load_migrations())
            await self._migrate()
            first.tell(self._told())
            first.kept.keep()
            for _ in range(1, self.gates_least):
                await self.add_gate()
            self.worker = self._child("worker", ["worker"])
            await self.worker.kept.start()
            await self._ready()
            if self._scales:
                self._wishes = asyncio.get_running_loop().create_task(self._follow_wishes())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Gates first, so that what they hold in their hands is finished while the stores are there."""
        if self._wishes is not None:
            self._wishes.cancel()
            await asyncio.gather(self._wishes, return_exceptions=True)
        await asyncio.gather(*(gate.stop() for gate in self.gates))
        for child in (self.worker, self.gateway):
            if child is not None:
                await child.stop()
        for kept in self._servers:
            await kept.release()
        servers = [server for server in (self.valkey, self.postgres) if server is not None]
        await asyncio.gather(*(server.stop() for server in servers))
        for listener in (self._listener, self._metrics):
            if listener is not None:
                listener.close()
        if self._output is not None:
            self._output.close()
        if self.data.claimed:
            (self.data.root / "address").unlink(missing_ok=True)
        self.data.release()

    async def add_gate(self) -> None:
        """One more gate process on the same address."""
        await self._new_gate().kept.start()

    def _new_gate(self) -> Child:
        assert self._listener is not None
        fds = {"--fd": self._listener.fileno()}
        if self._metrics is not None:
            fds["--metrics-fd"] = self._metrics.fileno()
        arguments = [word for option, fd in fds.items() for word in (option, str(fd))]
        gate = self._child(f"gate {len(self.gates) + 1}", ["gate", *arguments], pass_fds=list(fds.values()))
        self.gates.append(gate)
        return gate

    def _child(self, name: str, arguments: list[str], *, pass_fds: list[int] | None = None) -> Child:
        command = [sys.executable, "-m", "doorbuster", *arguments]
        return Child(name, command, self._environment(), output=self._output, pass_fds=pass_fds or [])

    def _prepare(self) -> None:
        try:
            if self._log_file is not None:
                self._output = self._log_file.open("ab")
            shutil.rmtree(self._metrics_dir, ignore_errors=True)
            self._metrics_dir.mkdir(mode=0o700)
        except OSError as error:
            raise EmbeddedError(f"the data directory {self.data.root} cannot be used: {reason(error)}") from error
        if not self.admin_token:
            self.admin_token = kept_secret(self.data.root / "admin-token")
        if not self.buyer_secret and not self.settings.buyer_jwks_url:
            self.buyer_secret = kept_secret(self.data.root / "buyer-secret")
        if not self.gateway_webhook_secrets:
            self.gateway_webhook_secrets = kept_secret(self.data.root / "gateway-webhook-secret")
        if not self.push_private_key:
            self.push_private_key = kept_secret(self.data.root / "push-key")

    async def _start_servers(self) -> None:
        if not self.database_url:
            self.postgres = EmbeddedPostgres(self.data.postgres, log=self.data.logs / "postgres.log")
            self.database_url = self.postgres.url
            self._servers.append(Kept("postgres", self.postgres.start, self.postgres.process.wait))
        if not self.valkey_url:
            self.valkey = EmbeddedValkey(self.data.valkey, log=self.data.logs / "valkey.log")
            self.valkey_url = self.valkey.url
            self._servers.append(Kept("valkey", self.valkey.start, self.valkey.process.wait))
        await _all(*(kept.start() for kept in self._servers))

    async def _load_migrations(self) -> None:
        """Load what only a new database needs while another core makes its data."""
        if not self.settings.database_url and not self.data.postgres.exists():
            await asyncio.to_thread(importlib.import_module, "alembic.command")

    async def _migrate(self) -> None:
        try:
            await apply(self.database_url)
        except StoreUnavailable as problem:
            raise EmbeddedError(f"PostgreSQL cannot be used: {problem}") from problem

    def _told(self) -> dict[str, str]:
        """What our processes are told, as environment variables."""
        told = {
            "DATABASE_URL": self.database_url,
            "VALKEY_URL": self.valkey_url,
            "GATEWAY_URL": self.gateway_url,
            "GATEWAY_WEBHOOK_SECRETS": self.gateway_webhook_secrets,
            "PUSH_PRIVATE_KEY": self.push_private_key,
            "ADMIN_TOKEN": self.admin_token,
            "BUYER_SECRET": self.buyer_secret,
            "BUYER_JWKS_URL": self.settings.buyer_jwks_url,
            "BUYER_AUDIENCE": self.settings.buyer_audience,
            "DEV_IDENTITIES": str(self.settings.dev_identities).lower(),
            "PAYMENT_GATEWAY": self.settings.payment_gateway,
            "STRIPE_SECRET_KEY": self.settings.stripe_secret_key.get_secret_value(),
            "STRIPE_WEBHOOK_SECRETS": self.settings.stripe_webhook_secrets.get_secret_value(),
            "STRIPE_API_BASE": self.settings.stripe_api_base,
            "DATA_DIR": str(self.data.root),
            "HOST": self.settings.host,
            "PORT": str(self.port),
            "METRICS_PORT": "0",  # gates inherit it
            "PUBLIC_URL": self.settings.public_url or f"http://{_reachable(self.settings.host)}:{self.port}",
            "LOG_FORMAT": self.settings.log_format,
            "LOG_LEVEL": self.settings.log_level,
            **self._scaling,
        }
        return {f"DOORBUSTER_{name}": value for name, value in told.items()}

    @property
    def _scaling(self) -> dict[str, str]:
        """`up` starts its own gates unless somebody else is named; never more than the machine has cores."""
        if self._scales:
            least = max(self.gates_least, self.settings.scale_gates_min)
            return {"SCALE": "up", "SCALE_GATES_MIN": str(least), "SCALE_GATES_MAX": str(self.gates_most)}
        return {"SCALE": self.settings.scale}

    @property
    def _scales(self) -> bool:
        return self.settings.scale == "up" or "scale" not in self.settings.model_fields_set

    @property
    def gates_least(self) -> int:
        """Gates there always are."""
        return self.settings.gates or max(1, (os.cpu_count() or 1) // 2)

    @property
    def gates_most(self) -> int:
        """Gates that the worker may want."""
        return max(self.gates_least, min(self.settings.scale_gates_max, os.cpu_count() or 1))

    async def _follow_wishes(self) -> None:
        """Have as many gates as the worker wants, and never fewer than there always are. What it wanted last counts
        until it wants something else, also when everything is started anew in the middle of a sale."""
        wanted_file, told = self.data.root / "gates-wanted", ""
        while True:
            await asyncio.sleep(_WISH_S)
            try:
                wanted = max(self.gates_least, min(self.gates_most, int(wanted_file.read_text())))
            except (OSError, ValueError):
                continue  # nobody has wanted anything
            while len(self.gates) < wanted:
                try:
                    await self.add_gate()
                except EmbeddedError as problem:  # no room on this machine, now
                    if told != str(problem):
                        log.warning("a gate more is wanted and does not start", wanted=wanted, problem=str(problem))
                    told = str(problem)
                    await self.gates.pop().stop()
                    break
                log.info("one more gate", gates=len(self.gates), wanted=wanted)
                told = ""
            while len(self.gates) > wanted:
                log.info("one gate less", gates=len(self.gates) - 1, wanted=wanted)
                await self.gates.pop().stop()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._told(), "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir)}

    @property
    def _metrics_dir(self) -> Path:
        return self.data.root / "metrics"

    @property
    def port(self) -> int:
        """The one we listen on, also when the system was asked to pick it."""
        assert self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    async def _start_gateway(self) -> None:
        """The simulated gateway picks a port the first time and keeps it for the life of this stack."""
        if self.settings.payment_gateway != "simulated" or self.gateway_url:
            return
        port_file = self.data.root / "gateway-port"
        port_file.unlink(missing_ok=True)
        book = str(self.data.root / "gateway-book")
        arguments = ["gateway", "--port-file", str(port_file), "--book", book]
        arguments += ["--seed", str(self.settings.gateway_seed)]
        hears = f"http://{_reachable(self.settings.host)}:{self.port}/v1/webhooks/payments/simulated"
        arguments += ["--webhook-url", hears]
        if self.settings.gateway_chaos != "none":
            arguments += ["--chaos", self.settings.gateway_chaos]
        arguments.append("--port")
        self.gateway = self._child("gateway", [*arguments, "0"])
        await self.gateway.spawn()
        end = asyncio.get_running_loop().time() + _GATEWAY_WITHIN_S
        while not port_file.exists():
            if self.gateway.pid is None or asyncio.get_running_loop().time() > end:
                raise EmbeddedError("the simulated payment gateway did not start; its output says why")
            await asyncio.sleep(_PROBE_S)
        port = port_file.read_text().strip()
        self.gateway_url = f"http://127.0.0.1:{port}"
        self.gateway.command[-1] = port
        self.gateway.kept.keep()

    async def _ready(self) -> None:
        self.url = f"http://{_reachable(self.settings.host)}:{self.port}"
        end = asyncio.get_running_loop().time() + _READY_WITHIN_S
        while not await _says_ready(_reachable(self.settings.host).strip("[]"), self.port):
            if any(gate.kept.restarts >= _DEATHS_MAX for gate in self.gates):
                raise EmbeddedError("the gate ends as soon as it starts; its log says why")
            if asyncio.get_running_loop().time() > end:
                raise EmbeddedError(f"the gate is not ready within {_READY_WITHIN_S:.0f} s; its log says why")
            await asyncio.sleep(_PROBE_S)
        try:
            draft = self.data.root / "address.new"
            draft.write_text(self.url + "\n")
            draft.replace(self.data.root / "address")  # whoever reads it reads all of it
        except OSError as error:
            raise EmbeddedError(f"the address cannot be written: {reason(error)}") from error


async def _says_ready(host: str, port: int) -> bool:
    """One question without a client library, which would cost a start a tenth of its time."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _all(*work: Coroutine[None, None, None]) -> None:
    """Do all of it at once; if something fails, the rest is given up and the failure is raised when it has ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _reachable(host: str) -> str:
    """A host name for a URL: listening everywhere is no address to call."""
    if host in {"", "0.0.0.0"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
