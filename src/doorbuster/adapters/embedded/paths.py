"""Where the embedded servers keep what they keep.

Owns: the layout of the data directory and the lock on it, and folders for sockets. Keeps: two `up` never work on the
same data.
"""

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from doorbuster.adapters.embedded.errors import EmbeddedError, reason
from doorbuster.adapters.embedded.identity import Identity

SOCKET_PATH_BYTES_MAX: Final = 103
"""Linux takes 107 bytes, macOS 103."""


class DataDir:
    """A data directory that is ours from `claim` to `release`, or until this process ends."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.postgres = self.root / "postgres"
        self.valkey = self.root / "valkey"
        self.logs = self.root / "logs"
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the directory and take the lock, or EmbeddedError in one line."""
        try:
            # Root's servers run as somebody else, who has to pass through. What is secret in it has rights of its own.
            self.root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise EmbeddedError(f"the data directory {self.root} cannot be used: {reason(problem)}") from problem
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(lock, 20).decode(errors="replace").strip() or "?"
            os.close(lock)
            raise EmbeddedError(
                f"another doorbuster (process {owner}) runs on {self.root}; stop it, or choose another --data-dir"
            ) from None
        self._lock = lock
        with contextlib.suppress(OSError):  # who finds no room for a number will be told by whom it stops
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    @property
    def claimed(self) -> bool:
        return self._lock is not None

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def socket_folder(data: Path, socket_name: str) -> Path:
    """Where a server puts its socket: with its data, or where that path is too long for a socket, in a short folder
    whose name depends on the data's path alone. Not made here."""
    if len(os.fsencode(data / socket_name)) <= SOCKET_PATH_BYTES_MAX:
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > SOCKET_PATH_BYTES_MAX // 2:
        base = Path("/tmp")  # noqa: S108 - the folder in it is for us alone, and checked
    return base / f"doorbuster-{os.geteuid()}-{digest}"


def own_socket_folder(folder: Path, identity: Identity) -> None:
    """Make the short folder for this identity. EmbeddedError if somebody else was first: its name is no secret."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), identity.uid} or found.st_mode & 0o077:
        raise EmbeddedError(f"{folder} is not ours; remove it, or choose a --data-dir with a shorter path")
    identity.own(folder)
