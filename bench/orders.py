"""P3: durable orders per second through HTTP, against one commit per order on the same PostgreSQL."""

import asyncio
import os
import time
from statistics import median
from typing import Final

import asyncpg
import msgspec

from bench.measure import run
from bench.report import Report, Target, spread
from bench.shop import Shop, shop

ROUNDS: Final = 3
CONNECTIONS: Final = 512
RATE_GUESS: Final = 15_000
PLAIN_CONNECTIONS: Final = 16
PLAIN_TABLES: Final = """
create schema if not exists bench;
drop table if exists bench.orders, bench.sales;
create table bench.sales (sale_id text primary key, quantity_available int, quantity_sold int not null default 0,
    check (quantity_sold between 0 and quantity_available));
create table bench.orders (order_id uuid primary key default gen_random_uuid(), sale_id text references bench.sales,
    user_id text, status text, reserved_at timestamptz, unique (sale_id, user_id));
insert into bench.sales (sale_id, quantity_available) values ('plain', 100000000);
"""
PLAIN_UPDATE: Final = "update bench.sales set quantity_sold = quantity_sold + 1 where sale_id = 'plain'"
PLAIN_INSERT: Final = """
insert into bench.orders (sale_id, user_id, status, reserved_at) values ('plain', $1, 'RESERVED', now())
"""


def orders(seconds: float) -> Report:
    """Three rounds of each, alternating."""
    gates = max(1, (os.cpu_count() or 2) // 2)
    buyers = int(RATE_GUESS * (seconds + 1))
    http_rates: list[float] = []
    plain_rates: list[float] = []
    lines: list[str] = []
    with shop(gates=gates) as ours:
        for number in range(ROUNDS):
            plan = ours.plan(ours.sale(buyers), seconds=seconds, connections=CONNECTIONS, buyers=buyers, repeat=False)
            mine = run(msgspec.structs.replace(plan, warm_seconds=0, prefix=f"r{number}"), ours.watched())
            if set(mine.tally.by_status) != {201}:
                raise SystemExit(f"bench: expected orders only, got {mine.tally.by_status}")
            _check(ours, plan.sale_id, mine.tally.answers)
            http_rates.append(mine.rate)
            plain_rates.append(asyncio.run(_plain(ours.database_url, seconds)))
            shares = ", ".join(f"{name} {cpu / mine.tally.seconds:.2f}" for name, cpu in mine.cpu.items())
            latency = f"p50 {mine.tally.p50_ms} ms, p99 {mine.tally.p99_ms} ms"
            lines.append(f"http   {mine.rate:,.0f} orders/s, {latency}; cores: {shares}")
            lines.append(f"plain  {plain_rates[-1]:,.0f} orders/s, {PLAIN_CONNECTIONS} connections, no HTTP")
    ratios = [mine / theirs for mine, theirs in zip(http_rates, plain_rates, strict=True)]
    machine = f"{os.cpu_count()} cores that also run the load, {gates} gate(s)"
    targets = [
        Target(
            id="P3",
            text=f"durable orders through HTTP on {machine}",
            measured=median(http_rates),
            bound=10_000,
            sense="at least",
            unit="/s",
            note=f"{ROUNDS} rounds: {spread(http_rates)}",
        ),
        Target(
            id="P3",
            text="of them for one of one-commit-per-order",
            measured=median(ratios),
            bound=15,
            sense="at least",
            unit=" x",
            note=f"{ROUNDS} rounds: {spread(ratios)}",
        ),
    ]
    return Report(title="Durable orders", lines=lines, targets=targets)


def _check(ours: Shop, sale_id: str, answered: int) -> None:
    """No figure without the books: every order that was answered is there, and the sides agree."""
    report = ours.call("POST", f"/v1/admin/sales/{sale_id}/audit", {"reason": "bench"})
    stored = report["held"] + report["sold"]
    if report["verdict"] != "in_step" or stored < answered:
        raise SystemExit(f"bench: {answered} orders were answered, the audit says {report}")


async def _plain(url: str, seconds: float) -> float:
    """The plain way: one transaction per order, an update of the sale's row and an insert."""
    pool = await asyncpg.create_pool(url, min_size=PLAIN_CONNECTIONS, max_size=PLAIN_CONNECTIONS)
    await pool.execute(PLAIN_TABLES)
    begun = time.perf_counter()
    end = begun + seconds
    done = await asyncio.gather(*(_plain_orders(pool, f"u{number}", end) for number in range(PLAIN_CONNECTIONS)))
    rate = sum(done) / (time.perf_counter() - begun)
    await pool.execute("drop schema bench cascade")
    await pool.close()
    return rate


async def _plain_orders(pool: "asyncpg.Pool[asyncpg.Record]", prefix: str, end: float) -> int:
    done = 0
    async with pool.acquire() as connection:
        while time.perf_counter() < end:
            async with connection.transaction():
                await connection.execute(PLAIN_UPDATE)
                await connection.execute(PLAIN_INSERT, f"{prefix}-{done}")
            done += 1
    return done
