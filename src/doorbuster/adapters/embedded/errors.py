"""Why an embedded server cannot be had, in one line."""

import contextlib
import errno
import shutil
from pathlib import Path
from typing import Final

_FULL_BELOW_BYTES: Final = 32_000_000
"""Two segments of PostgreSQL's log: with less it stops at the next one."""


class EmbeddedError(Exception):
    """An embedded server cannot be had. The message is one line that says what happened and what to do."""


def reason(error: OSError) -> str:
    """What an operator can do about it."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full{place}; make room and start again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{error.strerror}{place}; choose another --data-dir or mend its permissions"
    return f"{error.strerror or error}{place}"


def full_disk(folder: Path) -> str:
    """A few words if the disk is full, which servers then often cannot say themselves; else nothing."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < _FULL_BELOW_BYTES:
            return f"the disk of {folder} is full ({free // 1_000_000} MB free), make room and start again"
    return ""
