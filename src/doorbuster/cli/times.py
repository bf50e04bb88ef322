"""Instants as an operator writes them: `now`, `+90s`, `+10m`, `+2h`, or RFC 3339 with an offset."""

import re
from datetime import UTC, datetime
from typing import Final

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RELATIVE: Final = re.compile(r"\+(\d{1,6})([smhd])")


def instant_ms(text: str, *, base_ms: int) -> int:
    """Milliseconds; relative instants count from `base_ms`. ValueError says what can be written."""
    if text == "now":
        return base_ms
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return base_ms + int(relative[1]) * _UNITS_MS[relative[2]]
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise ValueError(f"{text!r} is no instant; write now, +10m, +2h or 2026-11-27T09:00:00Z")
    return round(parsed.timestamp() * 1000)


def rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
