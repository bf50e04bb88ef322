"""A folder for servers of tests that is removed whatever happens to the tests."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

_GUARD = 'read -r _; tries=0; until rm -rf "$1" || [ $tries -gt 300 ]; do tries=$((tries + 1)); sleep 0.1; done'
"""Reads a pipe that only we hold: it ends when we do, also by SIGKILL. Servers may still write while they shut down."""


_MEMORY = Path("/dev/shm")
_MEMORY_FREE_MIN = 4 * 2**30


@contextlib.contextmanager
def guarded_folder() -> Generator[Path]:
    """A short path that other accounts may pass through, as servers started by root run as somebody else. In memory
    where there is enough of it: a database is five hundred files, and making them costs a disk a quarter of a second
    for each of two thousand tests. What kill -9 leaves is the same there."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_FREE_MIN
    folder = Path(tempfile.mkdtemp(prefix="doorbuster-test-", dir=_MEMORY if in_memory else None))
    folder.chmod(0o711)
    command = ["sh", "-c", _GUARD, "guard", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as guard:
        yield folder
        assert guard.stdin is not None
        guard.stdin.close()
