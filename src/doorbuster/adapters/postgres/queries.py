"""Named SQL from files: every statement of this package is in `sql/`, where it is read, linted and explained as SQL.

Owns: the file format. `-- name: live_sales` starts a statement; it ends at the next name or the end of the file.
"""

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(file: str) -> dict[str, str]:
    """The statements of `sql/<file>` by name."""
    text = (resources.files("doorbuster.adapters.postgres") / "sql" / file).read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), f"two statements of {file} have one name"
    return {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
