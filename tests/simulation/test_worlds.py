"""Seeded worlds: every promise holds through the faults, and everything comes right after them."""

import pytest

from doorbuster.simulation.world import FAULTS, draw
from doorbuster.simulation.worlds import simulate

SEEDS = range(16)


@pytest.mark.parametrize("seed", SEEDS)
def test_world_keeps_every_promise(seed: int) -> None:
    """A failure is replayed by its seed alone: `python -m doorbuster.simulation SEED`."""
    finding = simulate(seed)

    assert finding.broken == (), finding.plan


def test_same_seed_gives_the_same_world() -> None:
    """Nothing in a world depends on the machine, the moment or what ran before."""
    first, second = simulate(3), simulate(3)

    assert first == second


def test_worlds_draw_every_kind_of_fault() -> None:
    """A fault that no seed of the suite draws is not tested by it."""
    drawn = {kind for seed in SEEDS for kind in draw(seed).faults}

    assert drawn == set(FAULTS)
