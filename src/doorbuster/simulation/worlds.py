"""One seed in, one finding out."""

from collections.abc import Callable

from doorbuster.domain.sale import SaleMode
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.shop import ReferenceShop
from doorbuster.simulation.clock import VirtualClock
from doorbuster.simulation.line_world import LineWorld
from doorbuster.simulation.loop import run
from doorbuster.simulation.world import Finding, Plan, World, draw

Spoil = Callable[[ReferenceShop], None]


def simulate(
    seed: int, *, plan: Plan | None = None, spoil: Spoil | None = None, mode: SaleMode = SaleMode.RACE
) -> Finding:
    """Run the world of a seed. `plan` replaces what the seed would draw; `spoil` plants a bug in the stores first, to
    see that it is caught."""

    async def main() -> Finding:
        shop = ReferenceShop(VirtualClock(), SeededIds(seed))
        if spoil is not None:
            spoil(shop)
        if mode is SaleMode.RACE:
            return await World(plan or draw(seed), shop).run()
        return await LineWorld(plan or draw(seed), shop, mode).run()

    return run(main())
