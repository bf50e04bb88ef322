"""What a check found."""

from enum import StrEnum

import msgspec


class Mark(StrEnum):
    """`broken`: a promise does not hold. `note`: worth knowing, nothing is broken."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


class Finding(msgspec.Struct, frozen=True):
    """`about` is what was looked at; `detail` says what it is like and, unless all is well, what to do."""

    about: str
    mark: Mark
    detail: str
