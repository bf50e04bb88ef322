"""P4: how long after the line may move a thousand units are granted and durable. P7: how soon a unit that came back is
the next buyer's.

Both are read from the ledger's own times, so they are the database's clock against the database's clock.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any, Final

import asyncpg

from bench.report import Report, Target, spread
from bench.shop import Shop, shop
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.pool import connect
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.engine.line_ports import LineAsk

UNITS: Final = 1_000
LINE: Final = 10_000
LONG_LINE: Final = 1_000_000
ROUNDS: Final = 5
RETURNS: Final = 300
RETURN_EVERY_S: Final = 0.03
HOUR: Final = timedelta(hours=1)
PATIENCE_S: Final = 60.0

GRANTED: Final = """
select count(*) as orders, max(reserved_at) as last
from (select reserved_at from sale_orders where sale_id = $1 order by reserved_at limit $2) first
"""
STARTED: Final = "select start_time from flash_sales where sale_id = $1"
RESUMED: Final = """
select max(at) from sale_actions where sale_id = $1 and action = 'move' and detail ->> 'from' = 'PAUSED'
"""
HISTORY: Final = (
    "select kind, at_ms from sale_log where sale_id = $1 and kind in ('cancelled', 'reserved') order by seq"
)


def grants(seconds: float) -> Report:
    """Rounds of a draw's T-0 and of a paused line's resume; once with a million; then units that come back."""
    del seconds  # how long it lasts is what is measured
    with shop() as ours:
        return asyncio.run(_grants(ours))


async def _grants(ours: Shop) -> Report:
    ledger = await asyncpg.connect(ours.database_url)
    drawn = [await _draw(ours, ledger) for _ in range(ROUNDS)]
    resumed = [await _resume(ours, ledger, LINE) for _ in range(ROUNDS)]
    long_line = [await _resume(ours, ledger, LONG_LINE)]
    back = await _returns(ours, ledger)
    await ledger.close()
    p99 = quantiles(back, n=100)[98]
    lines = [
        f"draw of {LINE:,}     1,000th grant {_ms(drawn)} after T-0, the draw included",
        f"line of {LINE:,}     1,000th grant {_ms(resumed)} after resume",
        f"line of {LONG_LINE:,}  1,000th grant {_ms(long_line)} after resume",
        f"unit back to grant   p50 {median(back):.0f} ms, p99 {p99:.0f} ms, max {max(back):.0f} ms of {len(back)}",
    ]
    targets = [
        _target("P4", f"ms to 1,000 grants after T-0 of a draw of {LINE:,}", drawn, 250),
        _target("P4", f"ms to 1,000 grants after resume with {LINE:,} in line", resumed, 250),
        _target("P4", f"ms to 1,000 grants after resume with {LONG_LINE:,} in line", long_line, 1_000),
        Target(
            id="P7",
            text="from a unit back to the next buyer's grant, p99",
            measured=p99,
            bound=1_000,
            sense="at most",
            unit=" ms",
            note=f"median {median(back):.0f} ms",
        ),
    ]
    return Report(title="Granting", lines=lines, targets=targets)


def _ms(values: Sequence[float]) -> str:
    return f"{median(values):.0f} ms (of {len(values)}: {spread(values)})"


def _target(name: str, text: str, values: Sequence[float], bound: float) -> Target:
    return Target(
        id=name, text=text, measured=median(values), bound=bound, sense="at most", unit=" ms", note=spread(values)
    )


async def _create(ours: Shop, **terms: Any) -> str:
    now = datetime.now(UTC)
    body = {
        "product_id": "bench", "title": "Bench", "quantity_available": UNITS, "price_cents": 0, "currency": "EUR",
        "start_time": (now - timedelta(seconds=1)).isoformat(), "end_time": (now + HOUR).isoformat(),
        "checkout_ttl_seconds": 3600, **terms,
    }  # fmt: skip
    sale = await asyncio.to_thread(ours.call, "POST", "/v1/admin/sales", body)
    sale_id: str = sale["sale_id"]
    return sale_id


async def _verb(ours: Shop, sale_id: str, verb: str) -> None:
    await asyncio.to_thread(ours.call, "POST", f"/v1/admin/sales/{sale_id}/{verb}", {})


async def _granted(ledger: "asyncpg.Connection[Any]", sale_id: str, units: int) -> datetime:
    """When the last of the first so many orders was committed."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        row = await ledger.fetchrow(GRANTED, sale_id, units)
        if row is not None and row["orders"] == units:
            last: datetime = row["last"]
            return last
        await asyncio.sleep(0.2)
    raise SystemExit(f"bench: {units} units were not granted within {PATIENCE_S:.0f} s")


async def _draw(ours: Shop, ledger: "asyncpg.Connection[Any]") -> float:
    start = datetime.now(UTC) + timedelta(seconds=4)
    sale_id = await _create(ours, mode="draw", start_time=start.isoformat(), end_time=(start + HOUR).isoformat())
    database = await connect(ours.database_url)
    draws = PostgresDrawLedger(database)
    for first in range(0, LINE, limits.DRAW_ENTRY_BATCH):
        users = [f"buyer-{number}" for number in range(first, first + limits.DRAW_ENTRY_BATCH)]
        await draws.enter(sale_id, users)
    await database.close()
    await asyncio.sleep(max(0.0, (start - datetime.now(UTC)).total_seconds() + 0.5))
    last = await _granted(ledger, sale_id, UNITS)
    started = await ledger.fetchval(STARTED, sale_id)
    return (last - started).total_seconds() * 1000


async def _resume(ours: Shop, ledger: "asyncpg.Connection[Any]", length: int) -> float:
    """A line that gathers while its sale is paused. The joins go straight to Valkey: what they cost is P2."""
    sale_id = await join_directly(ours, length, units=UNITS, paused=True)
    await _verb(ours, sale_id, "resume")
    last = await _granted(ledger, sale_id, UNITS)
    resumed = await ledger.fetchval(RESUMED, sale_id)
    await _verb(ours, sale_id, "end")
    return (last - resumed).total_seconds() * 1000


async def join_directly(ours: Shop, length: int, *, units: int, paused: bool = False) -> str:
    """A sale with this many in line; its id."""
    sale_id = await _create(ours, mode="queue", quantity_available=units)
    if paused:
        await _verb(ours, sale_id, "pause")
    stock = await ValkeyStockStore.connect(ours.valkey_url)
    line, database = ValkeyLineStore(stock), await connect(ours.database_url)
    image = await stock.summary(sale_id)
    assert image is not None
    block = await PostgresLineLedger(database).reserve_numbers(sale_id, length, epoch=image.epoch)
    assert block is not None
    await line.issue(sale_id, block[1], epoch=image.epoch)
    now_ms = int(time.time() * 1000)
    for first in range(0, length, limits.TAKE_BATCH_MAX):
        numbers = range(first, min(length, first + limits.TAKE_BATCH_MAX))
        asks = [LineAsk(f"buyer-{number}", join=True) for number in numbers]
        await line.ask(sale_id, asks, now_ms=now_ms, epoch_min=0, paid=0)
    await line.close()
    await stock.close()
    await database.close()
    return sale_id


async def _returns(ours: Shop, ledger: "asyncpg.Connection[Any]") -> list[float]:
    """Units given back one after the other; each goes to the next in line. Milliseconds from the one to the other."""
    sale_id = await join_directly(ours, 4 * RETURNS, units=RETURNS)
    await _granted(ledger, sale_id, RETURNS)
    rows = await ledger.fetch("select order_id from sale_orders where sale_id = $1 limit $2", sale_id, RETURNS)
    for row in rows:
        path = f"/v1/admin/orders/{row['order_id']}/cancelled"
        await asyncio.to_thread(ours.call, "POST", path, {})
        await asyncio.sleep(RETURN_EVERY_S)
    await _granted(ledger, sale_id, 2 * RETURNS)
    history = await ledger.fetch(HISTORY, sale_id)
    returned = [row["at_ms"] for row in history if row["kind"] == "cancelled"]
    granted = [row["at_ms"] for row in history if row["kind"] == "reserved"][RETURNS:]
    return [float(after - before) for before, after in zip(returned, granted, strict=False)]
