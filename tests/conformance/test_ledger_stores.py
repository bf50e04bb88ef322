"""Every ledger passes the same batteries."""

from conformance.ledger import (
    exercise_action_store,
    exercise_audit_store,
    exercise_order_store,
    exercise_rehearsal_store,
    exercise_sale_store,
    exercise_timeline_store,
    exercise_waitlist_store,
)
from conformance.ledger_bench import LedgerBench
from conformance.suite import Check


@exercise_sale_store.parameters()
async def test_sale_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_order_store.parameters()
async def test_order_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_audit_store.parameters()
async def test_audit_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_timeline_store.parameters()
async def test_timeline_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_waitlist_store.parameters()
async def test_waitlist_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_action_store.parameters()
async def test_action_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)


@exercise_rehearsal_store.parameters()
async def test_rehearsal_store(ledger_bench: LedgerBench, check: Check[LedgerBench]) -> None:
    await check(ledger_bench)
