"""Every stock store passes the same battery."""

from conformance.stock import exercise_stock_store
from conformance.stock_bench import StockBench
from conformance.suite import Check


@exercise_stock_store.parameters()
async def test_stock_store(stock_bench: StockBench, check: Check[StockBench]) -> None:
    await check(stock_bench)
