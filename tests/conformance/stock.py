"""The whole battery for a stock store."""

from conformance.stock_bench import StockBench
from conformance.stock_holds import holds
from conformance.stock_images import images
from conformance.stock_takes import takes
from conformance.suite import Suite

exercise_stock_store = Suite[StockBench](takes, holds, images)
