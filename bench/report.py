"""What a benchmark hands back, and how it is shown: the figures, then each target as met or missed."""

from collections.abc import Sequence
from typing import Literal

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the contract with its figure. `measured` None: there is none, and `note` says why."""

    id: str
    text: str
    measured: float | None
    bound: float
    sense: Literal["at most", "at least"]
    unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "n/a"
        met = self.measured <= self.bound if self.sense == "at most" else self.measured >= self.bound
        return "met" if met else "MISSED"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of figures, for reading, and the targets they belong to."""

    title: str
    lines: Sequence[str]
    targets: Sequence[Target] = ()


def table(targets: Sequence[Target]) -> list[str]:
    """Targets in columns."""
    rows = [
        (
            target.id,
            "-" if target.measured is None else f"{target.measured:,.2f}".rstrip("0").rstrip(".") + target.unit,
            f"{target.sense} {target.bound:,g}{target.unit}",
            target.verdict,
            target.text + (f" ({target.note})" if target.note else ""),
        )
        for target in targets
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows]


def spread(values: Sequence[float]) -> str:
    """`low to high`."""
    return f"{min(values):,.2f} to {max(values):,.2f}"
