"""The step of the timeline: when a sale is rehearsed, when not, and who hears of a no-go."""

import asyncio

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from conformance.ledgers import MemoryLedger
from day.test_scaling import Bell
from doorbuster.domain.plan import Plan
from doorbuster.domain.rehearsal import Sheet, Verdict, Wish
from doorbuster.domain.sale import Sale
from doorbuster.engine.day_ports import Asked, Detail, NotYet, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.rehearsal_step import RehearsalStep
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.fleet import ReferencePages
from helpers.waiting import until

URL = "http://127.0.0.1:1"


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        ledger = MemoryLedger(self.clock)
        self.bench = LedgerBench(ledger)
        self.desk = ledger.rehearsals
        self.bell = Bell()
        on_call = OnCall(ReferencePages(self.clock), self.bell)
        self.step = RehearsalStep(self.desk, self.bench.ids, on_call, URL, look_s=0.0)
        self.unplaced = RehearsalStep(self.desk, self.bench.ids, on_call, "", look_s=0.0)

    async def sale(self, starts_in_ms: int = HOUR) -> Sale:
        now = self.clock.now_ms()
        return await self.bench.sale(start_ms=now + starts_in_ms, end_ms=now + starts_in_ms + HOUR)

    def asked(self, sale: Sale, *, forced: bool = False, plan: Plan | None = None) -> Asked:
        return Asked(sale=sale, plan=plan or Plan(), now_ms=self.clock.now_ms(), attempt=1, forced=forced)

    async def rehearsed(self, asked: Asked, sheet: Sheet | None, words: str = "") -> Detail:
        """The step, where the rehearsal that it asks for ends so."""
        task = asyncio.get_running_loop().create_task(self.step.step(asked))
        await until(lambda: self.desk.latest(asked.sale.sale_id))
        self.desk.end(sheet, words)
        return await task


def sheet(verdict: Verdict, *reasons: str) -> Sheet:
    return Sheet(verdict=verdict, reasons=list(reasons), checks=[], differs=[], figures={"p99_ms": 9.0})


@pytest.fixture
async def world() -> World:
    return World()


async def test_go_is_what_the_step_finds(world: World) -> None:
    sale = await world.sale()
    detail = await world.rehearsed(world.asked(sale, plan=Plan(rehearsal_multiple=3.0)), sheet(Verdict.GO))
    assert (detail["verdict"], detail["p99_ms"]) == ("go", 9.0)
    found = await world.desk.latest(sale.sale_id)
    assert found is not None
    assert (found.asked_by, found.wish.multiple) == ("timeline", 3.0)
    assert world.bell.rung == []


async def test_no_go_calls_the_person_on_duty_and_a_later_go_ends_it(world: World) -> None:
    sale = await world.sale()
    with pytest.raises(StepFailed, match="no-go: p99 was 9,000 ms"):
        await world.rehearsed(world.asked(sale), sheet(Verdict.NO_GO, "p99 was 9,000 ms"))
    assert [call.title for call in world.bell.rung] == ["The rehearsal says no-go"]
    task = asyncio.get_running_loop().create_task(world.step.step(world.asked(sale)))

    async def begun() -> bool:
        found = await world.desk.latest(sale.sale_id)
        return found is not None and not found.over

    await until(begun)
    world.desk.end(sheet(Verdict.GO))
    await task
    assert [call.resolved for call in world.bell.rung] == [False, True]


async def test_one_that_was_stopped_is_a_step_that_failed(world: World) -> None:
    with pytest.raises(StepFailed, match="an operator stopped it"):
        await world.rehearsed(world.asked(await world.sale()), None, "an operator stopped it")


async def test_one_that_an_operator_began_is_waited_for(world: World) -> None:
    """Two would measure each other."""
    sale = await world.sale()
    await world.desk.ask(world.bench.ids.new_id(), sale.sale_id, Wish(), ACTOR)
    task = asyncio.get_running_loop().create_task(world.step.step(world.asked(sale)))
    await asyncio.sleep(0)
    world.desk.end(sheet(Verdict.GO))
    assert (await task)["verdict"] == "go"


async def test_rehearsal_of_another_sale_is_waited_for(world: World) -> None:
    other, sale = await world.sale(), await world.sale()
    await world.desk.ask(world.bench.ids.new_id(), other.sale_id, Wish(), ACTOR)
    with pytest.raises(NotYet, match="under way"):
        await world.step.step(world.asked(sale))


async def test_real_sale_that_is_on_leaves_it_out(world: World) -> None:
    await world.sale(starts_in_ms=MINUTE)
    with pytest.raises(StepSkipped, match="is on or begins"):
        await world.step.step(world.asked(await world.sale()))


@pytest.mark.parametrize("starts_in_ms", [-MINUTE, 0, 5 * MINUTE - 1])
async def test_shortly_before_the_start_there_is_none(world: World, starts_in_ms: int) -> None:
    sale = await world.sale(starts_in_ms=starts_in_ms)
    with pytest.raises(StepSkipped, match="within five minutes"):
        await world.step.step(world.asked(sale, forced=True))
    assert await world.desk.latest(sale.sale_id) is None


async def test_plan_may_leave_it_out_and_an_operator_may_still_ask(world: World) -> None:
    sale = await world.sale()
    with pytest.raises(StepSkipped, match="the plan says"):
        await world.step.step(world.asked(sale, plan=Plan(rehearse=False)))
    with pytest.raises(StepSkipped, match="DOORBUSTER_PUBLIC_URL"):
        await world.unplaced.step(world.asked(sale))
    assert await world.desk.latest(sale.sale_id) is None
    detail = await world.rehearsed(world.asked(sale, plan=Plan(rehearse=False), forced=True), sheet(Verdict.GO))
    assert detail["verdict"] == "go"
