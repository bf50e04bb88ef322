"""`python -m bench.money [PAYMENTS]`: many payments through a storm, while the worker and the gateway are killed.

For the claims "never charged twice" and "charged means owns": by default twenty thousand units are sold to a crowd
over real HTTP. The gateway leaves three calls of ten without a usable answer, loses, delays, doubles and forges its
webhooks; every few seconds the worker or the gateway gets SIGKILL. Checked as the demo is: PostgreSQL by plain SQL, the
gateway's own book, the audit, the reconciliation; and that no charge is set aside for nobody. Exit code 0 only if all
held.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import msgspec
from rich.console import Console

from doorbuster.cli.demo import DemoOptions, Shop, sell, wrap_up
from doorbuster.cli.demo_proof import Check, Proof
from doorbuster.cli.supervisor import Stack
from doorbuster.config import load_settings

PAYMENTS: Final = 20_000
SEED: Final = 24
_HOLD_S: Final = 900
"""Two cores take some hundred payments a second in such weather; nobody's hold is to end before the turn comes."""
EVERY_S: Final = 7.0
"""Between two kills: longer than a process takes to be back and to find what it left."""
_ATTEMPTS: Final = "select state, count(*) from payments where sale_id = $1 group by state order by state"
_OPEN: Final = "select count(*) from sale_orders where sale_id = $1 and status = 'RESERVED'"


async def main(payments: int, place: Path) -> int:
    """Run it; prints what was counted."""
    settings = load_settings(
        port=0,
        data_dir=place / "data",
        dev_identities=True,
        log_format="json",
        gateway_chaos="storm",
        gateway_seed=SEED,
    )
    options = DemoOptions(
        units=payments, buyers=payments * 23 // 20, abandon=0.02, decline=0.05, gateway_chaos="storm", seed=SEED,
        keep=False, as_json=True, long_hold_s=_HOLD_S,
    )  # fmt: skip
    stack = Stack(settings, log_file=place / "doorbuster.log")
    await stack.start()
    started = time.monotonic()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
            shop = Shop(stack, session)
            sale = await shop.create(options)
            kills: Counter[str] = Counter()
            killer = asyncio.create_task(_kill(stack, kills))
            try:
                result, _ = await sell(
                    options, stack, shop, sale, Console(stderr=True, quiet=True), give_up_s=max(90.0, payments / 25)
                )
            finally:
                killer.cancel()
            proof = await wrap_up(options, stack, shop, sale, result)
            book = msgspec.json.decode(await shop.call("GET", "/v1/admin/gateways/simulated/book"))["charges"]
        # How much is sold before the crowd goes home is a matter of this machine's speed, not of money.
        proof.checks = [check for check in proof.checks if check.claim != "sold exactly"] + [_nobodys(book)]
        attempts, left = await _count(stack.database_url, sale.sale_id)
        proof.checks.append(
            Check("everything has ended", left == 0, f"attempts {attempts}, {left} orders left reserved")
        )
    finally:
        await stack.stop()
    _tell(proof, kills, book, time.monotonic() - started)
    return 0 if proof.held else 1


async def _kill(stack: Stack, kills: Counter[str]) -> None:
    """The worker and the gateway in turn, for as long as the sale lasts."""
    while True:
        for name, child in (("worker", stack.worker), ("gateway", stack.gateway)):
            await asyncio.sleep(EVERY_S)
            if child is not None and child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
                kills[name] += 1


def _nobodys(book: list[dict[str, object]]) -> Check:
    stranded = [
        charge for charge in book if charge["authorized"] and not charge["captured_cents"] and not charge["voided"]
    ]
    return Check("nothing is set aside for nobody", not stranded, f"{len(stranded):,} of {len(book):,} charges")


async def _count(database_url: str, sale_id: str) -> tuple[dict[str, int], int]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(_ATTEMPTS, sale_id)
        return {row["state"]: row["count"] for row in rows}, await connection.fetchval(_OPEN, sale_id)
    finally:
        await connection.close()


def _tell(proof: Proof, kills: Counter[str], book: list[dict[str, object]], seconds: float) -> None:
    voided = sum(1 for charge in book if charge["voided"])
    refunded = sum(1 for charge in book if charge["refunded_cents"])
    print(f"{seconds:.0f} s; killed: {dict(kills)}; {len(book):,} charges, {voided:,} voided, {refunded:,} refunded")
    print(f"orders: {proof.counted.orders}")
    for check in proof.checks:
        print(f"  {'ok  ' if check.held else 'BAD '} {check.claim:<32} {check.figures}")
    print("every promise held" if proof.held else "A PROMISE WAS BROKEN")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="doorbuster-money-") as directory:
        Path(directory).chmod(0o755)  # the servers run as another user when root starts them
        code = asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else PAYMENTS, Path(directory)))
    sys.exit(code)
