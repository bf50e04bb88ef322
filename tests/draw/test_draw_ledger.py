"""Every ledger of draws passes the same battery."""

from conformance.draw_bench import DrawBench
from conformance.draw_ledger import exercise_draw_ledger
from conformance.suite import Check


@exercise_draw_ledger.parameters()
async def test_draw_ledger(bench: DrawBench, check: Check[DrawBench]) -> None:
    await check(bench)
