"""Who comes, when, and what each will do: drawn from one seed before anybody comes.

Owns: the shape of a crowd. The same seed gives the same crowd, whatever the servers do.
"""

import random
from collections.abc import Iterator
from enum import StrEnum

import msgspec


class Fate(StrEnum):
    """What a buyer does with a unit."""

    PAYS = "pays"
    ABANDONS = "abandons"  # never comes back; the unit returns when the hold ends
    CANCELS = "cancels"  # gives it back at once
    DECLINED_THEN_PAYS = "declined_then_pays"
    DECLINED_AND_LEAVES = "declined_and_leaves"


class CrowdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The crowd as an operator describes it. Shares are of all buyers, from 0 to 1; times are seconds."""

    seed: int
    buyers: int
    abandon: float = 0.2
    decline: float = 0.05
    cancel: float = 0.02
    double_click: float = 0.05
    early: float = 0.02
    patient: float = 0.6
    """Share who come again while units may come back; the others take the first no for an answer."""
    burst_s: float = 5.0
    """Most of the crowd arrives within this time, the front of it in the first second."""
    tail_s: float = 15.0
    entrants: float = 0.9
    """Share who enter a draw before the start; the others join behind them. This and the next only in a line."""
    tabs: float = 0.05
    """Share who join from several tabs at once."""
    listen: float = 0.2
    """Share who listen on a socket instead of asking again."""
    give_up: float = 0.03
    """Share who leave the line before their turn."""
    bots: float = 0.0
    """Share who are programs: there at the start to the millisecond, in several tabs, and never waiting as told."""
    prefix: str = "buyer-"
    """Before the seed and the number in a buyer's account."""


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """One buyer. `arrives_s` counts from the start of the sale; negative is too early."""

    user_id: str
    arrives_s: float
    fate: Fate
    patient: bool
    double_click: bool
    pace: float
    """0 to 1: spreads this buyer's waits."""
    bot: bool = False


def draw_crowd(plan: CrowdPlan) -> Iterator[Buyer]:
    """All buyers of the plan, in the order of their names."""
    rng = random.Random(plan.seed)
    programs = random.Random(f"bots {plan.seed}")
    for number in range(plan.buyers):
        arrives = rng.random() ** 2 * plan.burst_s if rng.random() < 0.8 else rng.random() * plan.tail_s
        if rng.random() < plan.early:
            arrives = -rng.random() * 2
        buyer = Buyer(
            user_id=f"{plan.prefix}{plan.seed}-{number}",
            arrives_s=arrives,
            fate=_fate(plan, rng),
            patient=rng.random() < plan.patient,
            double_click=rng.random() < plan.double_click,
            pace=rng.random(),
        )
        yield _program(buyer, programs) if programs.random() < plan.bots else buyer


def _program(buyer: Buyer, rng: random.Random) -> Buyer:
    """The same account in the hands of a program."""
    return msgspec.structs.replace(
        buyer, bot=True, arrives_s=rng.uniform(-0.2, 0.3), fate=Fate.PAYS, patient=True, double_click=True
    )


def _fate(plan: CrowdPlan, rng: random.Random) -> Fate:
    drawn = rng.random()
    for share, fate in (
        (plan.abandon, Fate.ABANDONS),
        (plan.cancel, Fate.CANCELS),
        (plan.decline / 2, Fate.DECLINED_THEN_PAYS),
        (plan.decline / 2, Fate.DECLINED_AND_LEAVES),
    ):
        if drawn < share:
            return fate
        drawn -= share
    return Fate.PAYS
