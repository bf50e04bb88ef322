"""As whom a server runs. PostgreSQL refuses to run as root, and nothing else should either.

Owns: the choice between three ways, and the ownership of the servers' directories.
    an ordinary user runs them as himself
    root runs them as `nobody`, if `nobody` can reach the binaries and the data
    else root runs them in a user namespace where root's own id is shown as `nobody`'s: nothing changes hands
"""

import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from doorbuster.adapters.embedded.errors import EmbeddedError

_UNSHARE: Final = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


class Identity(msgspec.Struct, frozen=True):
    """How to start a process that is not root. `uid` None: as the caller."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Keyword arguments for starting a process."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, directory: Path) -> None:
        """Make a directory that this identity may write and others may not see."""
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        if self.uid is not None and directory.stat().st_uid != self.uid:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, self.uid, self.gid if self.gid is not None else -1, follow_symlinks=False)


def choose(paths: Sequence[Path], *, is_root: Callable[[], bool] = lambda: os.geteuid() == 0) -> Identity:
    """The identity that can use all of these paths. EmbeddedError if root has no way."""
    if not is_root():
        return Identity()
    blocked = next((path for path in paths if not _open_to_others(path)), None)
    if blocked is None:
        nobody = pwd.getpwnam("nobody")
        return Identity(nobody.pw_uid, nobody.pw_gid)
    if _works([*_UNSHARE, "true"]):
        return Identity(prefix=_UNSHARE)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, user nobody cannot enter {blocked}, and user namespaces are not allowed "
        "here; run as an ordinary user, or choose a place others may enter (--data-dir)"
    )


def _open_to_others(path: Path) -> bool:
    """Whether any user can walk to this path."""
    return all(_mode(parent) & stat.S_IXOTH for parent in path.absolute().parents)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return stat.S_IXOTH  # not there yet: whoever makes it decides, and the servers' own directory is made for them


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
