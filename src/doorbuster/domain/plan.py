"""What the day of a sale needs to know beside the terms of the sale: how many come, what their browsers load, what is
too much.

Owns: the plan, its bounds and its check. A plan changes nothing about who gets a unit.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from doorbuster.domain import rehearsal

CROWD_MAX: Final = 100_000_000
PATHS_MAX: Final = 200
"""Addresses fetched before a sale: a page and what it loads, not a site."""
PATH_LENGTH_MAX: Final = 2_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`thresholds`: rule of `domain/alerts.py` to the value from which it alarms, in place of the rule's own."""

    expected_crowd: int = 0
    """People expected in the first minute; 0: nobody said."""
    pages: tuple[str, ...] = ()
    """Paths (`/sale/sneaker`) or whole addresses of the sale's page and assets, fetched before the sale."""
    thresholds: Mapping[str, float] = {}
    rehearse: bool = True
    """Half an hour before the start."""
    rehearsal_multiple: float = rehearsal.MULTIPLE_DEFAULT
    """The crowd of the rehearsal, as a multiple of `expected_crowd`."""


def address_of(base: str, page: str) -> str:
    """Where a page of a plan is, its path below that of `base`; empty: it is a path, and nobody said below what."""
    if not page.startswith("/"):
        return page
    return f"{base.rstrip('/')}/{page.lstrip('/')}" if base else ""


def plan_problems(plan: Plan, rules: frozenset[str]) -> list[str]:
    """What is wrong with it; `rules` are the names of alert rules there are."""
    problems: list[str] = []
    if not 0 <= plan.expected_crowd <= CROWD_MAX:
        problems.append(f"expected_crowd must be 0 to {CROWD_MAX}")
    if len(plan.pages) > PATHS_MAX:
        problems.append(f"pages has more than {PATHS_MAX} entries")
    problems += [f"pages[{number}]: {why}" for number, page in enumerate(plan.pages) if (why := _page_problem(page))]
    if not rehearsal.MULTIPLE_MIN <= plan.rehearsal_multiple <= rehearsal.MULTIPLE_MAX:
        problems.append(f"rehearsal_multiple must be {rehearsal.MULTIPLE_MIN:g} to {rehearsal.MULTIPLE_MAX:g}")
    for name, value in plan.thresholds.items():
        if name not in rules:
            problems.append(f"thresholds: there is no rule {name[:50]!r}; there are {', '.join(sorted(rules))}")
        elif not 0 <= value < float("inf"):
            problems.append(f"thresholds: {name} must be a number from 0")
    return problems


def _page_problem(page: str) -> str:
    if not 0 < len(page) <= PATH_LENGTH_MAX or not page.isprintable() or " " in page:
        return f"must be 1 to {PATH_LENGTH_MAX} printable characters without spaces"
    if not page.startswith(("/", "http://", "https://")):
        return "must begin with /, http:// or https://"
    return ""
