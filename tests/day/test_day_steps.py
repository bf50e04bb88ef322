"""The steps around the end of a sale, asked too early."""

import pytest

from conformance.ledger_bench import LedgerBench
from conformance.ledgers import MemoryLedger
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotYet, StepSkipped
from doorbuster.engine.day_steps import End, Start
from doorbuster.engine.wrapping_up import WrapUp
from doorbuster.reference.clock import ManualClock


async def nothing(asked: Asked) -> Detail:
    del asked
    return {}


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
        await End(nothing).step(asked(sale, now))
    with pytest.raises(NotYet):
        await Start().step(asked(sale, sale.start_ms))
