"""Where the embedded servers keep what they keep.

Owns: the layout of the data directory and the lock on it. Unix sockets may have 107 bytes; where the data directory's
own path is too long for that, a short private directory is used for them.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Final

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.embedded.process import reason

_SOCKET_PATH_MAX: Final = 107
_LONGEST_NAME: Final = "/.s.PGSQL.5432.lock"


class DataDir:
    """A data directory that is ours until `release`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.postgres = self.root / "postgres"
        self.valkey = self.root / "valkey"
        self.logs = self.root / "logs"
        self._lock: IO[bytes] | None = None
        self._short: Path | None = None

    def claim(self) -> None:
        """Make the directory and take the lock, or EmbeddedError in one line."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            self._lock = (self.root / "lock").open("ab")
        except OSError as error:
            raise EmbeddedError(f"data directory {self.root}: {reason(error)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            self._lock = None
            raise EmbeddedError(
                f"another doorbuster runs on {self.root}; stop it first, or choose another --data-dir"
            ) from error

    @property
    def sockets(self) -> Path:
        """A directory for sockets, short enough for the kernel."""
        own = self.root / "run"
        if len(os.fsencode(own)) + len(_LONGEST_NAME) <= _SOCKET_PATH_MAX:
            return own
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        self._short = Path(tempfile.gettempdir()) / f"doorbuster-{os.getuid()}-{digest}"
        return self._short

    def release(self) -> None:
        """Give the lock back and remove what is only for running."""
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
