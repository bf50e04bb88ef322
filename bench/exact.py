"""`python -m bench.exact [RUNS]`: many sales one after another against many buyers, each of them checked to the unit.

For the claim "exact": by default fifty sales of 100 units with 5,000 buyers each, on one set of servers. Every run is
checked as the demo is: PostgreSQL by plain SQL, the gateway's book, what the buyers were told, the audit. Exit code 0
only if all were exact.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from doorbuster.cli.demo import DemoOptions, Shop, sell, wrap_up
from doorbuster.cli.supervisor import Stack
from doorbuster.config import load_settings

UNITS, BUYERS = 100, 5_000


async def main(runs: int, place: Path) -> int:
    """Run the sales; prints one line each."""
    exact = 0
    settings = load_settings(port=0, data_dir=place / "data", dev_identities=True, log_format="json")
    stack = Stack(settings, log_file=place / "doorbuster.log")
    await stack.start()
    try:
        told: set[str] = set()
        for seed in range(1, runs + 1):
            exact += await _one(stack, seed, told)
    finally:
        await stack.stop()
    print(f"{exact} of {runs} sales of {UNITS} units with {BUYERS:,} buyers were exact")
    return 0 if exact == runs else 1


async def _one(stack: Stack, seed: int, told: set[str]) -> bool:
    """One sale. `told` holds the charges of the sales before: the gateway has one book for all."""
    options = DemoOptions(
        units=UNITS, buyers=BUYERS, abandon=0.2, decline=0.05, seed=seed, keep=False, as_json=True
    )  # fmt: skip
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        shop = Shop(stack, session)
        sale = await shop.create(options)
        result, _ = await sell(options, stack, shop, sale, Console(stderr=True, quiet=True))
        proof = await wrap_up(options, stack, shop, sale, result, told=told)
    failed = [f"{check.claim}: {check.figures}" for check in proof.checks if not check.held]
    orders: dict[str, Any] = proof.counted.orders
    print(f"seed {seed}: {'exact' if proof.held else failed} {orders} {result.requests:,} requests", flush=True)
    return proof.held


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="doorbuster-exact-") as directory:
        Path(directory).chmod(0o755)  # the servers run as another user when root starts them
        code = asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, Path(directory)))
    sys.exit(code)
