"""Every ledger of lines passes the same battery."""

from conformance.ledger_bench import LedgerBench
from conformance.line_ledger import exercise_line_ledger
from conformance.suite import Check


@exercise_line_ledger.parameters()
async def test_line_ledger(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)
