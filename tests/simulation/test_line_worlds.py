"""Seeded worlds with a line: everybody keeps the place they were told, and units go out in order, whatever breaks."""

import pytest

from doorbuster.domain.sale import SaleMode
from doorbuster.simulation.worlds import simulate


@pytest.mark.parametrize("mode", [SaleMode.QUEUE, SaleMode.DRAW])
@pytest.mark.parametrize("seed", range(10))
def test_line_keeps_every_promise(seed: int, mode: SaleMode) -> None:
    """A failure is replayed by mode and seed alone: `python -m doorbuster.simulation queue SEED`."""
    finding = simulate(seed, mode=mode)

    assert finding.broken == (), finding.plan


def test_same_seed_gives_the_same_line() -> None:
    assert simulate(4, mode=SaleMode.DRAW) == simulate(4, mode=SaleMode.DRAW)
