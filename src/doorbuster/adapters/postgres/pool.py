"""The connections of one process, and what a lost one means.

Owns: a pool for reading; a few connections of its own for writing. Keeps: I4. A write is one statement in autocommit,
in a task of its own: no time-out and no cancellation reaches it, because a cancelled COMMIT may still have happened.
So no transaction ever waits for this process while it holds the lock of a sale: a process that is stopped stops nobody.
Read next: `failures.py`.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from doorbuster import tracing
from doorbuster.adapters.postgres import failures
from doorbuster.engine.ports import OutcomeUnknown

if TYPE_CHECKING:  # asyncpg's classes take no parameters at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Reader: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Reader = asyncpg.pool.PoolConnectionProxy
    Pool = asyncpg.Pool

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 10.0
READERS_MAX: Final = 8
WRITERS_MAX: Final = 8
"""Writers of one sale wait for each other in PostgreSQL: more connections would only wait there instead of here."""
_STATEMENTS_CACHED: Final = 256
_SHARES_KEPT: Final = 15
_CLOSE_GRACE_S: Final = 5.0
_SYNC_WAIT_ENDED: Final = frozenset({"01000", "57P01"})
"""Warnings of a commit that is durable here and not, or not surely, on the standby that should have it too."""
_READ_ONLY: Final = "25006"
"""The server is no primary any more: the next connection may find the one that is."""


def _traced(verb: str, query: str) -> AbstractContextManager[object]:
    """Says which statement, with its placeholders."""
    return tracing.part(f"postgresql {verb}", {"db.system.name": "postgresql", "db.query.text": query})


class _Writer:
    """A connection that remembers whether the server warned about the write under way."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.warning = ""
        connection.add_log_listener(self._note)

    def _note(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING" and message.sqlstate in _SYNC_WAIT_ENDED:
            self.warning = str(message.message)


class Database:
    """Reads and writes of one process. Connects when it is first used and again whenever a connection is lost."""

    def __init__(self, url: str, pool: Pool, writers_max: int) -> None:
        self._url = url
        self._pool = pool
        self._idle: list[_Writer] = []
        self._slots = asyncio.Semaphore(writers_max)
        self._writes: set[asyncio.Task[list[asyncpg.Record]]] = set()
        self._connections_max = pool.get_max_size() + writers_max
        self._calls = 0
        self._calls_peak = 0
        self._shares: deque[float] = deque(maxlen=_SHARES_KEPT)

    @property
    def calls(self) -> int:
        """Under way now, those that wait for a connection with them."""
        return self._calls

    def take_share(self) -> float:
        """Calls under way at one time, at the worst since this was last asked, by the connections there may be. Above 1
        some waited."""
        peak, self._calls_peak = self._calls_peak, self._calls
        return peak / self._connections_max

    def worst_share(self) -> float:
        """The worst of the last fifteen times that this was asked: of half a minute, if it is asked every two seconds,
        so that whoever looks twice a minute misses nothing."""
        self._shares.append(self.take_share())
        return max(self._shares)

    @contextmanager
    def _counted(self) -> Generator[None]:
        self._calls += 1
        self._calls_peak = max(self._calls_peak, self._calls)
        try:
            yield
        finally:
            self._calls -= 1

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Rows of a query that changes nothing. StoreUnavailable on any trouble."""
        try:
            with self._counted(), _traced("read", query):
                async with self._pool.acquire(timeout=READ_TIMEOUT_S) as connection:
                    return await connection.fetch(query, *args, timeout=READ_TIMEOUT_S)
        except failures.FAILED as error:
            raise failures.of_reading(error) from error

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Reader, None]:
        """A connection that sees the database as it was at one instant and can change nothing."""
        try:
            async with (
                self._pool.acquire(timeout=READ_TIMEOUT_S) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                # A process that is stopped must not hold back vacuum for ever.
                await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
                yield connection
        except failures.FAILED as error:
            raise failures.of_reading(error) from error

    async def write(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """One statement, one transaction, one round trip. Whoever cancels this stops waiting, not the write.

        StoreUnavailable: it did not happen. OutcomeUnknown: it may have; repeat it, it is written to be repeated.
        """
        with _traced("write", query):
            task = asyncio.get_running_loop().create_task(self._write(query, args))
            self._writes.add(task)
            task.add_done_callback(self._written)
            return await asyncio.shield(task)

    def _written(self, task: asyncio.Task[list[asyncpg.Record]]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, it is of no use to anyone

    async def _write(self, query: str, args: tuple[Any, ...]) -> list[asyncpg.Record]:
        with self._counted():
            async with self._slots:
                return await self._write_now(query, args)

    async def _write_now(self, query: str, args: tuple[Any, ...]) -> list[asyncpg.Record]:
        writer = await self._writer()
        try:
            rows = await writer.connection.fetch(query, *args)
        except failures.FAILED as error:
            if getattr(error, "sqlstate", "") == _READ_ONLY:
                writer.connection.terminate()
            raise failures.of_writing(error) from error
        finally:
            warning, writer.warning = writer.warning, ""
            if not writer.connection.is_closed():
                self._idle.append(writer)
        if warning:
            raise OutcomeUnknown(f"the commit is on no standby yet: {warning}")  # I4
        return rows

    async def _writer(self) -> _Writer:
        while self._idle:
            writer = self._idle.pop()
            if not writer.connection.is_closed():
                return writer
        try:
            return _Writer(await _connect(self._url))
        except failures.FAILED as error:
            raise failures.of_connecting(error) from error

    async def close(self) -> None:
        """Let the writes under way finish, for a moment, and close every connection."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=_CLOSE_GRACE_S)
        for writer in self._idle:
            writer.connection.terminate()
        self._idle.clear()
        try:
            await asyncio.wait_for(self._pool.close(), _CLOSE_GRACE_S)
        except failures.FAILED:
            self._pool.terminate()


async def connect(url: str, *, readers_max: int = READERS_MAX, writers_max: int = WRITERS_MAX) -> Database:
    """The database at `url` (postgresql://user@host/name, or with ?host=/dir for a unix socket). It need not answer
    yet: the first call that needs it connects."""
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=readers_max,
        connect=_connect,
        # Nothing here leaves state on a connection: no locks, no listeners, no settings but `set local`.
        reset=_nothing,
    )
    return Database(url, await pool, writers_max)


async def _nothing(_: object) -> None:
    """Resets nothing: saves a round trip per read."""


async def _connect(dsn: str | None = None, **_pool_options: Any) -> Connection:
    connection: Connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_S,
        statement_cache_size=_STATEMENTS_CACHED,
        server_settings={"application_name": "doorbuster"},
    )
    _notice_a_dead_server(connection)
    return connection


def _notice_a_dead_server(connection: Connection) -> None:
    """Let the kernel end a connection whose other side has vanished: in seconds, not in the default quarter hour.

    A write has no time-out of its own, so this is what turns a black hole into OutcomeUnknown.
    """
    transport: asyncio.Transport = connection._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportAttributeAccessIssue]
    endpoint: socket.socket | None = transport.get_extra_info("socket")
    if endpoint is None or endpoint.family not in (socket.AF_INET, socket.AF_INET6):
        return
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 3),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 5_000),
    ):
        if hasattr(socket, name):  # some of them are Linux only
            endpoint.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
