"""Tokens and secrets that `up` makes for itself and keeps in the data directory, readable by their owner alone."""

import os
import secrets
from pathlib import Path
from typing import Final

from doorbuster.adapters.embedded.errors import EmbeddedError, reason

BUYER_SECRET_BYTES_MIN: Final = 32
"""HS256 needs as many bytes as its hash has; a gate refuses to start with fewer."""


def new_secret() -> str:
    """32 bytes in base64url: a token, a secret of HS256, or a private key of P-256 (which all but one in 2³² are)."""
    return secrets.token_urlsafe(32)


def kept_secret(file: Path) -> str:
    """What the file says; made, mode 0600, if there is none yet."""
    try:
        if not file.exists():
            draft = file.with_name(file.name + ".new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(new_secret() + "\n")
            draft.rename(file)
        return file.read_text().strip()
    except OSError as error:
        raise EmbeddedError(f"{file} cannot be kept: {reason(error)}") from error
