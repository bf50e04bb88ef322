"""Assembles the `.lua` files into one function library that carries its version in every name.

Owns: the version. A release that changes a function's behavior or arguments raises LIBRARY_VERSION: its gates load
their library beside the old one, and gates of both releases decide about the same keys until the old are gone.
Read next: `functions/prelude.lua`; why functions at all: docs/decisions/0003-valkey-functions.md.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Final

LIBRARY_VERSION: Final = 2
LIBRARY_NAME: Final = f"doorbuster_v{LIBRARY_VERSION}"

_PRELUDE: Final = "prelude.lua"


def function_name(name: str) -> str:
    """The name under which the server knows a function of this library."""
    return f"{LIBRARY_NAME}_{name}"


def function_files() -> dict[str, str]:
    """Name and text of every function, without the prelude."""
    folder = files("doorbuster.adapters.valkey").joinpath("functions")
    texts = {
        entry.name.removesuffix(".lua"): entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua") and entry.name != _PRELUDE
    }
    return dict(sorted(texts.items()))


@lru_cache(maxsize=1)
def library_text() -> str:
    """The library as FUNCTION LOAD takes it. Each function has a scope of its own; they share the prelude."""
    prelude = files("doorbuster.adapters.valkey").joinpath("functions", _PRELUDE).read_text("utf-8")
    parts = [f"#!lua name={LIBRARY_NAME}", f"local VERSION = {LIBRARY_VERSION}", prelude]
    parts += [f"do\n{text}end" for text in function_files().values()]
    return "\n".join(parts)
