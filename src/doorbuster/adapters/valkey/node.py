"""One Valkey server: keeps one connection to it, for ever.

Owns: connecting, entering (AUTH, SELECT), and trying again with growing pauses. Learns the run id of the process that
answers, so that a restart is seen (divergence). Keeps: I16. Read next: `routes.py`, which chooses among nodes.
"""

import asyncio
import random

from hiredis import ReplyError

from doorbuster.adapters.valkey.address import Address
from doorbuster.adapters.valkey.library import library_text
from doorbuster.adapters.valkey.mux import Limits, Mux
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable


class Node:
    """Call `start` once; from then on `mux` is the present connection, or raises StoreUnavailable at once."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.address = address
        self.run_id = ""
        self.clustered: bool | None = None
        """Whether the server is part of a cluster; None until it was reached for the first time."""
        self.connects = 0
        self.library_loads = 0
        self._limits = limits
        self._mux: Mux | None = None
        self._problem = "not tried yet"
        self._keeper: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._retiring = False
        self._chance = random.Random()  # noqa: S311 - spreads reconnects, guards nothing
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"valkey {self.address}")

    async def tried(self) -> None:
        """Waits until the first attempt to connect is over, however it ended."""
        await self._tried.wait()

    async def close(self) -> None:
        """Ends the connection; calls under way fail with OutcomeUnknown."""
        mux = self._mux
        for task in (self._keeper, self._loading):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if mux is not None:
            await mux.lost.wait()

    async def retire(self) -> None:
        """Ends the connection once the calls under way are over; for a node that left the cluster."""
        self._retiring = True
        if self._mux is not None:
            self._mux.finish()
            await self._mux.lost.wait()
        await self.close()

    @property
    def connected(self) -> bool:
        return self._mux is not None

    @property
    def waiting(self) -> int:
        return self._mux.waiting if self._mux else 0

    @property
    def mux(self) -> Mux:
        if self._mux is None:
            raise StoreUnavailable(f"valkey at {self.address} is not connected: {self._problem}")
        return self._mux

    # ------------------------------------------------------------------------------------------------ library

    async def load_library(self) -> None:
        """Load the function library; callers at the same time share one load."""
        if self._loading is None or self._loading.done():
            self._loading = asyncio.get_running_loop().create_task(self._load_library())
        await asyncio.shield(self._loading)

    async def _load_library(self) -> None:
        try:
            await self.mux.call(("FUNCTION", "LOAD", "REPLACE", library_text()))
        except ReplyError as problem:
            raise StoreUnavailable(f"valkey at {self.address} did not take the function library: {problem}") from None
        self.library_loads += 1

    # ------------------------------------------------------------------------------------------------ connection

    async def _keep(self) -> None:
        pause = self._limits.backoff_first_s
        while not self._retiring:
            mux: Mux | None = None
            try:
                async with asyncio.timeout(self._limits.connect_timeout_s):
                    mux = await self._connect()
                    await self._enter(mux)
                pause = self._limits.backoff_first_s
                self._mux = mux
                self.connects += 1
                self._tried.set()
                await mux.lost.wait()
                self._problem = "the connection was lost"
            except (OSError, TimeoutError, StoreUnavailable, OutcomeUnknown) as problem:
                self._problem = str(problem) or type(problem).__name__
            finally:
                self._mux = None
                self._tried.set()
                if mux is not None:
                    mux.abort()
            # Jitter keeps a crowd of gates from coming back in step.
            await asyncio.sleep(pause * (0.5 + self._chance.random()))
            pause = min(pause * 2, self._limits.backoff_max_s)

    async def _connect(self) -> Mux:
        loop, address = asyncio.get_running_loop(), self.address
        if address.path:
            _, mux = await loop.create_unix_connection(lambda: Mux(self._limits), address.path)
        else:
            context = address.tls_context()
            _, mux = await loop.create_connection(lambda: Mux(self._limits), address.host, address.port, ssl=context)
        return mux

    async def _enter(self, mux: Mux) -> None:
        address = self.address
        calls: list[asyncio.Future[object]] = []
        if address.password or address.username:
            names = (address.username,) if address.username else ()
            calls.append(mux.call(("AUTH", *names, address.password)))
        if address.database:
            calls.append(mux.call(("SELECT", address.database)))
        calls.append(mux.call(("CLIENT", "SETNAME", "doorbuster")))
        calls.append(mux.call(("INFO", "server")))
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise StoreUnavailable(f"valkey at {address} lets nobody in: {reply}")
            if isinstance(reply, BaseException):
                raise reply
        info = read_info(replies[-1])
        self.run_id = info.get("run_id", "")
        mode = info.get("server_mode") or info.get("redis_mode")
        self.clustered = mode == "cluster"


def read_info(reply: object) -> dict[str, str]:
    """The `name:value` lines of an INFO reply."""
    assert isinstance(reply, bytes)
    pairs = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}
