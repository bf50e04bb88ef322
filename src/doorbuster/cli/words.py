"""Figures as people read them: durations, money, and what a step found.

Owns: the look of a figure, and of one that is not there.
"""

from typing import Any, Final

from doorbuster.domain.money import amount

NONE: Final = "—"
_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000


def duration(ms: float | None) -> str:
    """340 ms, 7.2 s, 3 min 03 s, 25 h 01 min."""
    if ms is None:
        return NONE
    if ms < _SECOND:
        return f"{ms:.3g} ms"
    if round(ms, -2) < _MINUTE:
        return f"{ms / _SECOND:.1f} s"
    if round(ms, -3) < _HOUR:
        minutes, seconds = divmod(round(ms / _SECOND), 60)
        return f"{minutes} min {seconds:02} s"
    hours, minutes = divmod(round(ms / _MINUTE), 60)
    return f"{hours} h {minutes:02} min"


def text(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def detail_of(step: dict[str, Any]) -> str:
    """What a step of the timeline says of itself, on one line."""
    detail = step["detail"]
    currency = detail.get("currency")
    said = [step["reason"]] if step["reason"] else []
    found: list[str] = []
    for name, value in detail.items():
        if not isinstance(value, (str, int, float, bool)) or value == "" or name == "currency":
            continue
        if name.endswith("_ms"):
            found.append(f"{_spaced(name[:-3])} {duration(float(value))}")
        elif name.endswith("_cents") and currency is not None:
            found.append(f"{_spaced(name[:-6])} {amount(int(value), currency)}")
        else:
            found.append(f"{_spaced(name)} {text(value)}")
    return "; ".join([*said, *([", ".join(found)] if found else [])])


def _spaced(name: str) -> str:
    return name.replace("_", " ")
