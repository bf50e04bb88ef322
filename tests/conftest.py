"""Real servers for every test that wants one: nothing is mocked.

`database_url` and `valkey_url` are shared and fresh for each test; `own_servers` makes servers that a test may kill,
pause and damage. Every pytest process (each of -n) has its own; all of them end with it, whatever ends it.
"""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from helpers.order import long_ones_first
from helpers.places import guarded_folder
from helpers.servers import OwnPostgres, OwnValkey, Servers, call, leaked_keys, load_library, make_pristine

_names: Final = itertools.count(1)


def pytest_configure() -> None:
    """A suite begun under `nohup`, or behind an `&`, ignores signals, and so would every process that it starts and
    stops by them."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    processes: int = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = long_ones_first(items, processes)


@pytest.fixture(scope="session")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for what outlives a test; it only runs while no test's loop does."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture(scope="session")
def _folder() -> Iterator[Path]:
    with guarded_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def _pristine(_loop: asyncio.AbstractEventLoop, _folder: Path) -> Path:
    folder = _folder / "pristine"
    folder.mkdir(mode=0o711)
    return _loop.run_until_complete(make_pristine(folder))


@pytest.fixture(scope="session")
def _session_servers(_loop: asyncio.AbstractEventLoop, _folder: Path, _pristine: Path) -> Iterator[Servers]:
    servers = Servers(_folder, _pristine)
    yield servers
    _loop.run_until_complete(servers.end())


@pytest.fixture(scope="session")
def _postgres(_loop: asyncio.AbstractEventLoop, _session_servers: Servers) -> OwnPostgres:
    return _loop.run_until_complete(_session_servers.postgres(max_wal_size="128MB"))


@pytest.fixture(scope="session")
def _admin(_loop: asyncio.AbstractEventLoop, _postgres: OwnPostgres) -> "Iterator[asyncpg.Connection[asyncpg.Record]]":
    connection = _loop.run_until_complete(asyncpg.connect(_postgres.url_of("postgres")))
    yield connection
    _loop.run_until_complete(connection.close())


@pytest.fixture(scope="session")
def _valkey(_loop: asyncio.AbstractEventLoop, _folder: Path) -> Iterator[OwnValkey]:
    servers = Servers(_folder / "shared", _folder)  # no PostgreSQL is made of this one
    (_folder / "shared").mkdir(mode=0o711)
    yield _loop.run_until_complete(servers.valkey())
    _loop.run_until_complete(servers.end())


@pytest.fixture
def database_url(
    _loop: asyncio.AbstractEventLoop, _postgres: OwnPostgres, _admin: "asyncpg.Connection[asyncpg.Record]"
) -> Iterator[str]:
    """A database of this test's own with the newest schema and nothing in it."""
    name = f"test_{next(_names)}"
    _loop.run_until_complete(_admin.execute(f"create database {name} template doorbuster"))
    yield _postgres.url_of(name)
    _loop.run_until_complete(_admin.execute(f"drop database {name} with (force)"))


@pytest.fixture
def valkey_url(_valkey: OwnValkey) -> Iterator[str]:
    """An empty Valkey with the function library. Afterwards nothing but keys of sales may be in it."""
    load_library(_valkey.socket)
    yield _valkey.url
    leaked = leaked_keys(_valkey.socket)
    call(_valkey.socket, "FLUSHALL")
    assert not leaked, f"keys that belong to no sale: {leaked[:10]}"


@pytest.fixture
async def own_servers(_folder: Path, _pristine: Path) -> AsyncIterator[Servers]:
    """`await own_servers.postgres()` and `await own_servers.valkey()` are running servers that only this test has."""
    folder = _folder / f"own{next(_names)}"
    folder.mkdir(mode=0o711)
    servers = Servers(folder, _pristine)
    yield servers
    await servers.end()
