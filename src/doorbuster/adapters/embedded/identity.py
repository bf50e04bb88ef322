"""As whom a server runs. PostgreSQL refuses to run as root, and nothing else should either.

Owns: the choice between the ways, and the ownership of the servers' directories. No account is added and no right is
changed outside the data directory:
    an ordinary user runs them as himself
    root runs them as `nobody`, if `nobody` can reach the programs and the data
    else root runs them in a user namespace where root's own id is shown as `nobody`'s: nothing changes hands
    else, if only the programs are out of reach, root runs a copy of them as `nobody`
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from doorbuster.adapters.embedded.errors import EmbeddedError

_UNSHARE: Final = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
_PROBE_PATIENCE_S: Final = 10.0


class Identity(msgspec.Struct, frozen=True):
    """How to start a process that is not root: as `uid` (None: as we are), with `prefix` before its command."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    def own(self, directory: Path) -> None:
        """Make a directory that this identity may write and others may not see, or take it over."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        uid = os.geteuid() if self.uid is None else self.uid
        gid = os.getegid() if self.gid is None else self.gid
        if directory.stat().st_uid == uid:
            return
        for parent, _, files in os.walk(directory, topdown=False):
            for name in files:
                os.chown(Path(parent) / name, uid, gid, follow_symlinks=False)
            os.chown(parent, uid, gid)  # the top comes last: a walk that is cut short is done again


class Program(msgspec.Struct, frozen=True):
    """A program of an installed package, and everything it needs in the package: `folders`, side by side."""

    path: Path
    folders: tuple[Path, ...]

    def beside(self, name: str) -> str:
        """Another program of the package."""
        return str(self.path.with_name(name))


def choose(program: Program, data: Path) -> tuple[Identity, Program]:
    """The identity that can run this program on this data, and the program to run. EmbeddedError if there is none."""
    if os.geteuid() != 0:
        return Identity(), program
    nobody = _nobody()
    reachable = _others_may_pass(data.parent)
    if nobody is not None:
        if reachable and _others_may_run(program):
            return nobody, program
        if _works([*_UNSHARE, str(program.path), "--version"]):
            return Identity(prefix=_UNSHARE), program
        if reachable:
            return nobody, _copied(program, data.with_name(f"{data.name}-programs"))
    raise EmbeddedError(
        f"{program.path.name} does not run as root, user nobody cannot enter {data.parent}, and user namespaces are "
        "not allowed here; run as an ordinary user, or choose a --data-dir that others may pass through"
    )


def _nobody() -> Identity | None:
    """PostgreSQL looks itself up by its number, so it has to have a name."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return Identity(entry.pw_uid, entry.pw_gid)


def _others_may_pass(folder: Path) -> bool:
    """Whether anybody can walk to this folder. What is not there yet will be made so."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents) if place.exists())


def _others_may_run(program: Program) -> bool:
    """One file stands for all: a package is installed under one umask."""
    return _others_may_pass(program.path.parent) and program.path.stat().st_mode & 0o005 == 0o005


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_PATIENCE_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _copied(program: Program, folder: Path) -> Program:
    """The program and what it needs, copied to where others may use it. An unfinished copy has another name."""
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(draft, ignore_errors=True)
        for source in program.folders:
            shutil.copytree(source, draft / source.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        for place in (draft, *draft.rglob("*")):
            if not place.is_symlink():
                place.chmod(0o755)
        draft.replace(folder)
    root = program.folders[0]
    return Program(folder / root.name / program.path.relative_to(root), tuple(folder / f.name for f in program.folders))
