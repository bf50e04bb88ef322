"""What gates answer from while PostgreSQL hangs."""

import asyncio

from conformance.ledger_bench import LedgerBench
from conformance.ledgers import MemoryLedger
from doorbuster.domain.sale import Sale
from doorbuster.engine.board import SaleBoard
from doorbuster.reference.clock import ManualClock


async def test_known_row_is_served_while_the_ledger_hangs() -> None:
    clock = ManualClock()
    bench = LedgerBench(MemoryLedger(clock))
    sale = await bench.sale()
    board = SaleBoard(bench.sales, clock, patience_s=0.01)
    board.put(sale)
    read, back, asked = bench.sales.get, asyncio.Event(), 0

    async def hanging(sale_id: str) -> Sale | None:
        nonlocal asked
        asked += 1
        await back.wait()
        return await read(sale_id)

    bench.sales.get = hanging
    await bench.ledger.advance_ms(5_000)

    async with asyncio.timeout(5):
        assert await board.look(sale.sale_id) == sale
        assert await board.look(sale.sale_id) == sale
    assert asked == 1
    assert board.get(sale.sale_id) is None

    back.set()
    async with asyncio.timeout(5):
        while board.get(sale.sale_id) is None:
            await board.look(sale.sale_id)
