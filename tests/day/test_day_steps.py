"""The steps around the end of a sale, asked too early."""

import pytest

from conformance.ledger_bench import ACTOR, LedgerBench
from conformance.ledgers import MemoryLedger
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import ORDER_PATIENCE_MS, StepName
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotYet, StepSkipped
from doorbuster.engine.day_steps import End, Start, WarmUp
from doorbuster.engine.planning import Planning
from doorbuster.engine.wrapping_up import WrapUp
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.stock import ReferenceStockStore


async def nothing(asked: Asked) -> Detail:
    del asked
    return {}


async def told(sale: Sale) -> Detail:
    return {"told": sale.status.value}


async def no_report(sale_id: str) -> Refusal:
    raise AssertionError(sale_id)


def asked(sale: Sale, now_ms: int) -> Asked:
    return Asked(sale=sale, plan=Plan(), now_ms=now_ms, attempt=1, forced=True)


@pytest.fixture
def bench() -> LedgerBench:
    return LedgerBench(MemoryLedger(ManualClock()))


async def test_report_of_a_sale_that_is_on_is_not_kept(bench: LedgerBench) -> None:
    sale = await bench.moved(await bench.sale(), SaleStatus.ACTIVE)
    wrap_up = WrapUp(bench.timeline, no_report)

    with pytest.raises(StepSkipped, match="not over"):
        await wrap_up.step(asked(sale, bench.now_ms()))
    with pytest.raises(NotYet):
        await wrap_up.step(asked(sale, sale.end_ms))

    assert await bench.timeline.report(sale.sale_id) is None


async def test_start_and_end_by_hand_before_their_time_are_not_tried_until_then(bench: LedgerBench) -> None:
    now = bench.now_ms()
    sale = await bench.sale(start_ms=now + 60_000, end_ms=now + 120_000)

    with pytest.raises(StepSkipped, match="use `open`"):
        await Start().step(asked(sale, now))
    with pytest.raises(StepSkipped, match="use `end`"):
        await End(nothing, told).step(asked(sale, now))
    with pytest.raises(NotYet):
        await Start().step(asked(sale, sale.start_ms))


async def test_people_hear_of_an_abort_before_the_last_refund(bench: LedgerBench) -> None:
    aborted = await bench.moved(await bench.sale(), SaleStatus.CANCELLED)
    ended = await bench.moved(await bench.sale(), SaleStatus.ACTIVE, SaleStatus.ENDED)

    assert (await End(nothing, told).step(asked(aborted, bench.now_ms())))["told"] == "CANCELLED"
    assert "told" not in await End(nothing, told).step(asked(ended, bench.now_ms()))


async def test_step_that_is_running_is_not_run_again(bench: LedgerBench) -> None:
    sale = await bench.sale()
    planning = Planning(bench.sales, bench.timeline, frozenset(), {})
    await bench.timeline.run(sale.sale_id, StepName.SETTLE, ACTOR)
    while StepName.SETTLE not in {row.step for row in await bench.timeline.claim(bench.ids.new_id(), limit=20)}:
        await bench.ledger.advance_ms(ORDER_PATIENCE_MS)

    answer = await planning.run(sale.sale_id, StepName.SETTLE, ACTOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT


async def test_warm_up_waits_for_an_image(bench: LedgerBench) -> None:
    with pytest.raises(NotYet, match="no image"):
        await WarmUp(bench.sales, ReferenceStockStore()).step(asked(await bench.sale(), bench.now_ms()))
