"""The data directory: one owner at a time, and one line for whoever comes second."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.paths import SOCKET_PATH_BYTES_MAX, DataDir, socket_folder

HOLD = """
import sys
from pathlib import Path
from doorbuster.adapters.embedded.paths import DataDir
data = DataDir(Path(sys.argv[1]))
data.claim()
print("claimed", flush=True)
sys.stdin.read()
"""


def test_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with holder(tmp_path / "data") as first, pytest.raises(EmbeddedError, match=f"process {first.pid}"):
        DataDir(tmp_path / "data").claim()


def test_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "data") as first:
        first.kill()
        first.wait()

    data = DataDir(tmp_path / "data")
    data.claim()

    assert data.claimed
    data.release()


def test_released_directory_can_be_claimed(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "data"), DataDir(tmp_path / "data")
    first.claim()

    first.release()
    second.claim()

    assert (tmp_path / "data" / "lock").read_text().strip() == str(os.getpid())
    second.release()


def test_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "data"), DataDir(tmp_path / "data")
    first.claim()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        first.release()

        second.claim()

        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()
    second.release()


def test_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="cannot be used: Not a directory"):
        DataDir(tmp_path / "file" / "data").claim()


def test_directory_is_closed_to_others(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")

    data.claim()

    assert stat.S_IMODE(data.root.stat().st_mode) & 0o077 in {0, 0o011}
    assert stat.S_IMODE(data.logs.stat().st_mode) == 0o700
    data.release()


def test_sockets_stay_with_the_data_while_they_fit(tmp_path: Path) -> None:
    fits = Path("/" + "d" * (SOCKET_PATH_BYTES_MAX - len("/") - len("/name")))

    assert socket_folder(fits, "name") == fits
    assert socket_folder(fits / "x", "name") != fits / "x"


def test_folder_for_sockets_depends_on_the_data_alone() -> None:
    deep = Path("/" + "d" * SOCKET_PATH_BYTES_MAX)

    assert socket_folder(deep, "name") == socket_folder(deep, "name")
    assert socket_folder(deep, "name") != socket_folder(deep / "other", "name")
    assert len(os.fsencode(socket_folder(deep, "name") / "name")) <= SOCKET_PATH_BYTES_MAX


def holder(root: Path) -> "subprocess.Popen[bytes]":
    """A process that has claimed this directory; ends when its input does."""
    command = [sys.executable, "-c", HOLD, str(root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"claimed\n"
    return process
