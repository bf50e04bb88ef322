"""What buyers do in a line, beside what they do with a unit: drawn from the same seed as the crowd.

Owns: when they come to a queue or a draw, in how many tabs, who listens instead of asking, who gives up.
"""

import random
from collections.abc import Iterator

import msgspec

from doorbuster.rehearsal.plan import Buyer, CrowdPlan, draw_crowd

_EARLIEST_S = 0.3
"""The last entries of a draw come this long before the start."""


class LineBuyer(msgspec.Struct, frozen=True, kw_only=True):
    """`arrives_s` counts from the start of the sale, as the buyer's own does, and takes its place."""

    buyer: Buyer
    arrives_s: float
    tabs: int
    """Tabs that join at the same moment: one entry all the same."""
    listens: bool
    gives_up_s: float | None
    """Leaves the line after so long without a unit; None: stays to the end."""


def draw_line_crowd(plan: CrowdPlan, *, entries_s: float) -> Iterator[LineBuyer]:
    """All buyers of the plan. With `entries_s` most of them come within so long before the start, to a draw; with 0.0
    they come to a queue as they would to a race."""
    rng = random.Random(f"line {plan.seed}")
    for buyer in draw_crowd(plan):
        arrives = buyer.arrives_s
        early = rng.random()
        if entries_s > 0 and rng.random() < plan.entrants:
            arrives = -_EARLIEST_S - early * max(0.0, entries_s - _EARLIEST_S)
        gives_up_s = rng.uniform(1.0, 20.0) if rng.random() < plan.give_up else None
        person = LineBuyer(
            buyer=buyer,
            arrives_s=arrives,
            tabs=rng.randrange(2, 4) if rng.random() < plan.tabs else 1,
            listens=rng.random() < plan.listen and gives_up_s is None,
            gives_up_s=gives_up_s,
        )
        yield msgspec.structs.replace(person, tabs=3, listens=False, gives_up_s=None) if buyer.bot else person
