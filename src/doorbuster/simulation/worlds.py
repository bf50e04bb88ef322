"""One seed in, one finding out."""

from collections.abc import Callable

from doorbuster.reference.clock import SeededIds
from doorbuster.reference.shop import ReferenceShop
from doorbuster.simulation.clock import VirtualClock
from doorbuster.simulation.loop import run
from doorbuster.simulation.world import Finding, Plan, World, draw

Spoil = Callable[[ReferenceShop], None]


def simulate(seed: int, *, plan: Plan | None = None, spoil: Spoil | None = None) -> Finding:
    """Run the world of a seed. `plan` replaces what the seed would draw; `spoil` plants a bug in the stores first, to
    see that it is caught."""

    async def main() -> Finding:
        shop = ReferenceShop(VirtualClock(), SeededIds(seed))
        if spoil is not None:
            spoil(shop)
        return await World(plan or draw(seed), shop).run()

    return run(main())
