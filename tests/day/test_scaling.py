"""Enough gates, or somebody is called."""

import asyncio
from collections.abc import Sequence

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.scaling import gates_needed, gates_wanted
from doorbuster.domain.timeline import STEPS, StepName, pause_before
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotSent, PageCall, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.scaling import ASK_S, STALE_MS, GateBeat, Scaling
from doorbuster.reference.fleet import ReferenceFleet, ReferencePages

# ---------------------------------------------------------------------------------------- the number


@pytest.mark.parametrize(
    ("crowds", "wanted"),
    [([], 1), ([0], 1), ([100], 1), ([666], 1), ([667], 2), ([20_000], 30), ([400, 400], 2), ([10**8], 50)],
)
def test_gates_for_a_crowd(crowds: Sequence[int], wanted: int) -> None:
    """At 1,000 requests a second each, half as much again as the crowd asks for."""
    assert gates_wanted(crowds, capacity=1_000.0, most=50) == wanted


def test_no_fewer_than_there_should_always_be() -> None:
    assert gates_wanted([100], capacity=1_000.0, least=4, most=50) == 4
    assert gates_needed([100], capacity=1_000.0) == 1
    assert gates_needed([10**8], capacity=1_000.0) == 150_000  # whatever may be asked for


# ---------------------------------------------------------------------------------------- the steps


class Recorded:
    """A scaler that does what it is told to: nothing, or refuse."""

    how = "recorded"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.refuses = False
        self.hangs = False

    async def scale(self, gates: int, sale_id: str) -> Detail:
        assert sale_id
        self.asked.append(gates)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses:
            raise StepFailed("no machine is free")
        return {"told": True}


class Bell:
    """A pager that rings, or not."""

    configured = True

    def __init__(self) -> None:
        self.rung: list[PageCall] = []
        self.silent = False

    async def page(self, call: PageCall) -> Sequence[str]:
        if self.silent:
            raise NotSent("nobody there")
        self.rung.append(call)
        return ["bell"]


class Desk:
    """A ledger, gates that can be set, and somebody who is called."""

    def __init__(self, bench: LedgerBench, scaler: Recorded | None) -> None:
        self.bench = bench
        self.fleet = ReferenceFleet(bench.ledger.clock)
        self.bell = Bell()
        self.on_call = OnCall(ReferencePages(bench.ledger.clock), self.bell)
        self.scaling = Scaling(
            fleet=self.fleet,
            scaler=scaler,
            sales=bench.sales,
            timeline=bench.timeline,
            on_call=self.on_call,
            capacity=1_000.0,
            most=50,
            ask_s=0.1,
        )

    async def sale(self, crowd: int, *, starts_in: int = HOUR) -> Sale:
        start = self.bench.now_ms() + starts_in
        sale = await self.bench.sale(start_ms=start, end_ms=start + HOUR)
        await self.bench.timeline.set_plan(sale.sale_id, Plan(expected_crowd=crowd), ACTOR)
        return sale

    async def asked(self, sale: Sale, attempt: int = 1) -> Asked:
        plan = await self.bench.timeline.plan(sale.sale_id)
        return Asked(sale=sale, plan=plan, now_ms=self.bench.now_ms(), attempt=attempt)

    async def gates(self, count: int, *, ready: bool = True) -> None:
        for number in range(count):
            await self.fleet.beat(GateBeat(gate_id=f"g{number}", host="h", pid=1, ready=ready, clock_offset_ms=0))


async def test_asks_for_what_the_crowd_needs(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(4_000)
    await desk.gates(1)

    detail = await desk.scaling.scale_up(await desk.asked(sale))

    assert detail == {"wanted": 6, "ready": 1, "how": "recorded", "told": True}
    assert scaler.asked == [6]


async def test_sales_that_are_on_together_are_added(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    first, second = await desk.sale(2_000), await desk.sale(2_000)
    await desk.sale(40_000, starts_in=24 * HOUR)

    await desk.scaling.scale_up(await desk.asked(first))
    await bench.moved(second, SaleStatus.ENDED)
    await desk.scaling.stand_down(await desk.asked(first))

    assert scaler.asked == [6, 3]


async def test_sale_of_which_nobody_said_how_many_come_keeps_its_gates(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    over, unsaid = await desk.sale(4_000), await desk.sale(0)
    later = await desk.sale(0, starts_in=24 * HOUR)
    await desk.gates(6)
    await bench.moved(over, SaleStatus.ENDED)

    left = await desk.scaling.stand_down(await desk.asked(over))
    assert left == {"gates": 6, "left": f"nobody said how many come to {unsaid.sale_id}"}
    assert scaler.asked == []

    await bench.moved(unsaid, SaleStatus.ENDED)
    await desk.scaling.stand_down(await desk.asked(over))
    assert scaler.asked == [1], later.sale_id


async def test_gates_that_are_there_are_not_sent_away_before_a_sale(bench: LedgerBench) -> None:
    """Ten, two of them ready: the others are on their way."""
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(2_000)
    await desk.gates(10, ready=False)
    await desk.gates(2)

    assert (await desk.scaling.scale_up(await desk.asked(sale)))["wanted"] == 3
    with pytest.raises(StepFailed, match="2 of 3"):
        await desk.scaling.scale_check(await desk.asked(sale))

    assert scaler.asked == [10, 10]


async def test_crowd_for_which_more_gates_are_needed_than_may_be_asked_for(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(10_000_000)
    await desk.gates(50)

    detail = await desk.scaling.scale_up(await desk.asked(sale))
    with pytest.raises(
        StepFailed, match="50 of 15000 gates are ready, and DOORBUSTER_SCALE_GATES_MAX is 50"
    ) as problem:
        await desk.scaling.scale_check(await desk.asked(sale))

    assert detail == {"wanted": 50, "ready": 50, "needed": 15_000, "how": "recorded", "told": True}
    assert problem.value.detail == {"wanted": 50, "ready": 50, "needed": 15_000, "paged": ["bell"]}
    assert scaler.asked == [50, 50]


async def test_nothing_is_guessed(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    asked = await desk.asked(await desk.sale(0))

    for step in (desk.scaling.scale_up, desk.scaling.scale_check):
        with pytest.raises(StepSkipped, match="nobody said how many come"):
            await step(asked)

    assert await desk.scaling.stand_down(asked) == {}
    assert scaler.asked == []


async def test_without_anybody_who_starts_gates_the_number_is_said(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    with pytest.raises(StepSkipped, match="6 gates are wanted, 0 are ready"):
        await desk.scaling.scale_up(await desk.asked(await desk.sale(4_000)))


async def test_scaler_that_refuses_fails_the_step(bench: LedgerBench) -> None:
    scaler = Recorded()
    scaler.refuses = True
    desk = Desk(bench, scaler)
    sale = await desk.sale(4_000)
    for attempt in range(1, 8):
        with pytest.raises(StepFailed, match="no machine is free") as problem:
            await desk.scaling.scale_up(await desk.asked(sale, attempt))
        assert problem.value.detail == {"wanted": 6, "ready": 0}
        assert len(desk.bell.rung) == (attempt >= 5)
    assert "no machine is free" in desk.bell.rung[0].text

    scaler.refuses = False
    await desk.scaling.scale_up(await desk.asked(sale, 8))
    assert [call.resolved for call in desk.bell.rung] == [False, True]


def test_gates_are_asked_for_until_the_start() -> None:
    assert pause_before(StepName.SCALE_UP, 50, started=False) == 60_000
    assert pause_before(StepName.SCALE_UP, 50, started=True) is None


async def test_scaler_that_hangs_keeps_nobody_from_being_called(bench: LedgerBench) -> None:
    """And what was counted is shown: the attempt does not end with the step's own time."""
    assert STEPS[StepName.SCALE_CHECK].limit_s > ASK_S
    scaler = Recorded()
    scaler.hangs = True
    desk = Desk(bench, scaler)

    with pytest.raises(StepFailed, match="0 of 6 gates are ready; recorded does not answer") as problem:
        await desk.scaling.scale_check(await desk.asked(await desk.sale(4_000)))

    assert problem.value.detail == {"wanted": 6, "ready": 0, "paged": ["bell"]}


async def test_scaler_that_never_delivers(bench: LedgerBench) -> None:
    """Somebody is called once, however often it is looked at; and told when the gates have come after all."""
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(4_000)
    await desk.gates(2)
    for _ in range(5):
        with pytest.raises(StepFailed, match="2 of 6 gates are ready") as problem:
            await desk.scaling.scale_check(await desk.asked(sale))
        assert problem.value.detail == {"wanted": 6, "ready": 2, "paged": ["bell"]}
    assert [call.resolved for call in desk.bell.rung] == [False]
    assert "begins soon" in desk.bell.rung[0].text
    assert scaler.asked == [6] * 5

    await desk.gates(6)
    assert await desk.scaling.scale_check(await desk.asked(sale)) == {"wanted": 6, "ready": 6}
    assert [call.resolved for call in desk.bell.rung] == [False, True]


async def test_scaler_that_refuses_keeps_nobody_from_being_called(bench: LedgerBench) -> None:
    scaler = Recorded()
    scaler.refuses = True
    desk = Desk(bench, scaler)
    await desk.gates(2)

    with pytest.raises(StepFailed, match="2 of 6 gates are ready; no machine is free") as problem:
        await desk.scaling.scale_check(await desk.asked(await desk.sale(4_000)))

    assert problem.value.detail == {"wanted": 6, "ready": 2, "paged": ["bell"]}


async def test_gates_that_are_dead_or_not_ready_do_not_count(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    sale = await desk.sale(600)
    await desk.gates(1, ready=False)
    with pytest.raises(StepFailed, match="0 of 1"):
        await desk.scaling.scale_check(await desk.asked(sale))
    await desk.gates(1)
    assert (await desk.scaling.scale_check(await desk.asked(sale)))["ready"] == 1
    await bench.ledger.advance_ms(STALE_MS)
    with pytest.raises(StepFailed, match="0 of 1"):
        await desk.scaling.scale_check(await desk.asked(sale))


async def test_person_who_cannot_be_reached_is_tried_again(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    desk.bell.silent = True
    call = PageCall(key="k", title="t", text="x")
    assert await desk.on_call.call(call) == ()
    desk.bell.silent = False
    assert await desk.on_call.call(call) == ()  # not at once
    await bench.ledger.advance_ms(MINUTE)

    assert await desk.on_call.run_once() == {"paged": 1, "missed": 0}

    await bench.ledger.advance_ms(15 * MINUTE)
    assert (await desk.on_call.run_once())["paged"] == 1  # still not mended
    await desk.on_call.resolve("k", "mended")
    await desk.on_call.resolve("k", "mended")
    await bench.ledger.advance_ms(60 * MINUTE)
    await desk.on_call.run_once()
    assert [(one.resolved, one.text) for one in desk.bell.rung] == [(False, "x"), (False, "x"), (True, "mended")]
