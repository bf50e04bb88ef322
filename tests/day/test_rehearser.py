"""The course of a rehearsal in virtual time: who may run it, what ends it, what is kept of it, what is left of it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from doorbuster.domain.rehearsal import Counted, Seen, Verdict, Wish
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.ports import Actor
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.rehearsal_ports import LEASE_MS, CrowdOrder, CrowdSeen, Rehearsal, RehearsalState
from doorbuster.engine.rehearsing import Rehearser
from doorbuster.engine.scaling import GateBeat
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.faults import Fault, Faults, faulty
from doorbuster.reference.rehearsals import ReferenceRehearsals
from doorbuster.reference.shop import ReferenceShop
from doorbuster.reference.stock import ReferenceStockStore
from doorbuster.simulation.clock import VirtualClock
from doorbuster.simulation.loop import run
from helpers.waiting import until

ACTOR = Actor(name="tester", reason="a test")
HOUR = 3_600_000
SEEN = Seen(
    requests=100, arrived=300, tired=0, lost=0, answers={}, p50_ms=1.0, p99_ms=2.0, max_ms=3.0, peak_per_s=4.0,
    orders=0, paid=0, bots_paid=0, cpu_share=0.1,
)  # fmt: skip


class Gathering:
    """A crowd that goes home when the test says so."""

    def __init__(self) -> None:
        self.home = asyncio.Event()
        self.came = 0
        self.chased = False

    async def run(self, order: CrowdOrder, told: Callable[[Mapping[str, Any]], None]) -> CrowdSeen:
        self.came += 1
        told({"arrived": order.who.buyers})
        try:
            await self.home.wait()
        except asyncio.CancelledError:
            self.chased = True
            raise
        return CrowdSeen(seen=msgspec.structs.replace(SEEN, arrived=order.who.buyers), acknowledged={})


class Gate:
    """Closed, whoever comes waits."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def passed(self) -> None:
        self.waiting += 1
        await self.open.wait()


class SlowRehearsals(ReferenceRehearsals):
    """Behind a gate, a big shadow sale takes its time to be made, to be counted, and to be removed."""

    making: Gate | None = None
    counting: Gate | None = None
    removing: Gate | None = None

    async def create_shadow(self, rehearsal: Rehearsal, lease: str, shadow_id: str, terms: SaleTerms) -> Sale | None:
        if self.making is not None:
            await self.making.passed()
        return await super().create_shadow(rehearsal, lease, shadow_id, terms)

    async def count(self, shadow_id: str, acknowledged: Mapping[str, str]) -> Counted:
        if self.counting is not None:
            await self.counting.passed()
        return await super().count(shadow_id, acknowledged)

    async def remove_shadow(self, shadow_id: str) -> None:
        if self.removing is not None:
            await self.removing.passed()
        await super().remove_shadow(shadow_id)


class World:
    """A shop, a sale in two hours, and workers that are asked once a second what there is to do."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.shop = ReferenceShop(self.clock, SeededIds(1))
        self.store = SlowRehearsals(self.shop.ledger)
        self.faults = Faults()
        self.crowd = Gathering()
        self.workers = [self._worker(seed) for seed in (2, 3)]
        self._agents: list[asyncio.Task[None]] = []

    def _worker(self, seed: int) -> Rehearser:
        shop = self.shop
        stock: ReferenceStockStore = faulty(shop.stock, self.faults)
        auditing = Auditing(sales=shop.sales, orders=shop.orders, audits=shop.audits, stock=stock, clock=self.clock)
        return Rehearser(
            store=self.store,
            sales=shop.sales,
            stock=stock,
            rebuilder=Rebuilder(shop.sales, stock),
            auditing=auditing,
            fleet=shop.fleet,
            timeline=shop.timeline,
            crowd=self.crowd,
            clock=self.clock,
            ids=SeededIds(seed, first_ms=seed * 1_000_000_000_000),
            url="http://127.0.0.1:1",
        )

    async def sale(self, *, starts_in_ms: int = 2 * HOUR) -> Sale:
        start = self.clock.now_ms() + starts_in_ms
        terms = SaleTerms(
            product_id="p", title="Lamp", quantity_available=10, price_cents=100, currency="USD", start_ms=start,
            end_ms=start + HOUR,
        )  # fmt: skip
        return await self.shop.sales.create(self.shop.ids.new_id(), terms, ACTOR)

    async def asked(self) -> Sale:
        """And both workers at work."""
        sale = await self.sale()
        await self.store.ask(self.shop.ids.new_id(), sale.sale_id, Wish(), ACTOR)
        loop = asyncio.get_running_loop()
        self._agents = [loop.create_task(self._work(worker)) for worker in self.workers]
        return sale

    async def _work(self, worker: Rehearser) -> None:
        while True:
            await worker.run_once()
            await self.later(1.0)

    async def later(self, seconds: float) -> None:
        at = self.clock.monotonic() + seconds
        await until(lambda: self.clock.monotonic() >= at)

    async def found(self, sale: Sale) -> Rehearsal:
        found = await self.store.latest(sale.sale_id)
        assert found is not None
        return found

    async def at_work(self, sale: Sale) -> str:
        """The shadow sale, when the crowd is there."""
        await until(lambda: self.crowd.came)
        return (await self.found(sale)).shadow_sale_id

    async def over(self, sale: Sale) -> Rehearsal:
        async def ended() -> bool:
            return (await self.found(sale)).over

        await until(ended)
        return await self.found(sale)

    async def is_gone(self, shadow: str) -> bool:
        return await self.shop.sales.get(shadow) is None and await self.shop.stock.summary(shadow) is None

    async def close(self) -> None:
        for task in self._agents:
            task.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)
        for worker in self.workers:
            await worker.stop()


def in_world(course: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        world = World()
        try:
            await course(world)
        finally:
            await world.close()

    run(main())


def test_a_verdict_and_nothing_is_left() -> None:
    async def course(world: World) -> None:
        sale = await world.asked()
        shadow = await world.at_work(sale)
        assert not await world.is_gone(shadow)
        world.crowd.home.set()
        found = await world.over(sale)
        assert found.sheet is not None
        assert (found.sheet.verdict, found.sheet.reasons[0]) == (Verdict.NO_GO, "nothing was sold")
        assert await world.is_gone(shadow)

    in_world(course)


def test_keys_that_cannot_be_dropped_are_dropped_later_and_the_verdict_is_kept() -> None:
    """The stock counter is away in the moment of cleaning up."""

    async def course(world: World) -> None:
        world.faults.script("drop_image", Fault.NOT_EXECUTED, Fault.NOT_EXECUTED)
        sale = await world.asked()
        shadow = await world.at_work(sale)
        world.crowd.home.set()
        await until(lambda: world.faults.happened["drop_image", Fault.NOT_EXECUTED])
        await world.later(1.0)
        assert not (await world.found(sale)).over
        assert await world.shop.stock.summary(shadow) is not None
        found = await world.over(sale)
        assert world.faults.happened["drop_image", Fault.NOT_EXECUTED] == 2
        assert (found.state, found.words) == (RehearsalState.DONE, "")
        assert found.sheet is not None
        assert await world.is_gone(shadow)
        assert world.crowd.came == 1

    in_world(course)


def test_long_preparation_and_long_cleaning_up_are_not_taken_for_death() -> None:
    """Three leases long each, with another worker that waits for its turn."""

    async def course(world: World) -> None:
        world.store.making, world.store.removing = Gate(), Gate()
        sale = await world.asked()
        await until(lambda: world.store.making is not None and world.store.making.waiting)
        await world.later(3 * LEASE_MS / 1000)
        world.store.making.open.set()
        shadow = await world.at_work(sale)
        world.crowd.home.set()
        await until(lambda: world.store.removing is not None and world.store.removing.waiting)
        await world.later(3 * LEASE_MS / 1000)
        world.store.removing.open.set()
        found = await world.over(sale)
        assert (found.state, found.words) == (RehearsalState.DONE, "")
        assert (world.crowd.came, world.store.making.waiting, world.store.removing.waiting) == (1, 1, 1)
        assert await world.is_gone(shadow)

    in_world(course)


def test_worker_that_is_stopped_while_it_cleans_up_ends_that_first() -> None:
    async def course(world: World) -> None:
        world.store.removing = Gate()
        sale = await world.asked()
        shadow = await world.at_work(sale)
        world.crowd.home.set()
        await until(lambda: world.store.removing is not None and world.store.removing.waiting)
        stopping = asyncio.gather(*(worker.stop() for worker in world.workers))
        await world.later(1.0)
        assert not stopping.done()
        world.store.removing.open.set()
        await stopping
        found = await world.found(sale)
        assert (found.state, found.words) == (RehearsalState.DONE, "")
        assert await world.is_gone(shadow)

    in_world(course)


def test_worker_that_is_stopped_in_the_middle_leaves_nothing() -> None:
    async def course(world: World) -> None:
        sale = await world.asked()
        shadow = await world.at_work(sale)
        for worker in world.workers:
            await worker.stop()
        found = await world.found(sale)
        assert (found.state, found.words) == (
            RehearsalState.STOPPED, "a worker was stopped in the middle; rehearse again"
        )  # fmt: skip
        assert world.crowd.chased
        assert await world.is_gone(shadow)

    in_world(course)


def test_real_sale_that_comes_meanwhile_ends_it() -> None:
    async def course(world: World) -> None:
        sale = await world.asked()
        shadow = await world.at_work(sale)
        real = await world.sale(starts_in_ms=1)
        found = await world.over(sale)
        assert (found.state, real.sale_id in found.words) == (RehearsalState.STOPPED, True)
        assert world.crowd.chased
        assert await world.is_gone(shadow)

    in_world(course)


def test_operator_ends_it() -> None:
    """Also where it takes long to clear away."""

    async def course(world: World) -> None:
        world.store.removing = Gate()
        sale = await world.asked()
        shadow = await world.at_work(sale)
        await world.store.stop(sale.sale_id, ACTOR)
        await world.later(2 * LEASE_MS / 1000)
        world.store.removing.open.set()
        found = await world.over(sale)
        assert world.store.removing.waiting == 1
        assert (found.state, found.words) == (RehearsalState.STOPPED, "an operator stopped it")
        assert world.crowd.chased
        assert await world.is_gone(shadow)

    in_world(course)


def test_what_was_measured_is_not_given_up_for_a_sale_that_comes_when_the_crowd_has_gone_home() -> None:
    async def course(world: World) -> None:
        world.store.counting = Gate()
        sale = await world.asked()
        shadow = await world.at_work(sale)
        world.crowd.home.set()
        await until(lambda: world.store.counting is not None and world.store.counting.waiting)
        await world.sale(starts_in_ms=1)
        await world.later(2 * LEASE_MS / 1000)
        world.store.counting.open.set()
        found = await world.over(sale)
        assert (found.state, found.words, world.store.counting.waiting) == (RehearsalState.DONE, "", 1)
        assert await world.is_gone(shadow)

    in_world(course)


def test_one_that_was_taken_from_a_worker_is_left_alone_by_it() -> None:
    async def course(world: World) -> None:
        sale = await world.asked()
        await world.at_work(sale)
        found = await world.found(sale)
        world.store.end(None, "somebody else ended it")
        await until(lambda: world.crowd.chased)
        await world.later(2.0)
        assert (await world.found(sale)).words == "somebody else ended it"
        assert await world.shop.sales.get(found.shadow_sale_id) is not None, "whoever took it clears it away"

    in_world(course)


def test_busiest_gate_counts_also_when_it_is_not_ready_for_it() -> None:
    async def course(world: World) -> None:
        async def beat(name: str, *, busy: float, ready: bool = True) -> None:
            await world.shop.fleet.beat(
                GateBeat(gate_id=name, host="h", pid=1, ready=ready, clock_offset_ms=0, busy=busy)
            )

        for name in ("a", "b"):
            await beat(name, busy=0.1)
        await beat("never ready", busy=1.0, ready=False)
        sale = await world.asked()
        await world.at_work(sale)
        await world.later(1.5)
        await beat("b", busy=0.9, ready=False)
        await world.later(1.5)
        world.crowd.home.set()
        found = await world.over(sale)
        assert found.sheet is not None
        assert (found.sheet.figures["gates_busy"], found.sheet.figures["gates"]) == (0.9, 2)

    in_world(course)


def test_sale_that_ended_is_not_rehearsed_any_more() -> None:
    async def course(world: World) -> None:
        sale = await world.sale()
        await world.store.ask(world.shop.ids.new_id(), sale.sale_id, Wish(forced=True), ACTOR)
        await world.shop.sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)
        assert await world.workers[0].run_once() == {"begun": 0}
        assert "the sale is over" in (await world.found(sale)).words

    in_world(course)
