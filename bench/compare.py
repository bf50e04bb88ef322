"""P9: the same endpoint in three versions on the same machine, PostgreSQL and Valkey: ours, the obvious one, a library.

A sale of some units meets more buyers than units, each over and over. Accepted and refused are reported apart.
"""

import contextlib
import os
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.constant import free_port, wait_for_port
from bench.load import Plan
from bench.measure import Measured, run
from bench.report import Report, Target
from bench.shop import SECRET, Shop, shop

PEERS: Final = Path("bench/peers")
PYTHON: Final = PEERS / ".venv" / "bin" / "python"
CONNECTIONS: Final = 64
UNITS: Final = 1_000_000
SOLD_OUT_UNITS: Final = 50
BUYERS: Final = 20_000


def compare(seconds: float) -> Report:
    """Two loads for each version: all buyers get a unit; nobody does."""
    if not PYTHON.exists():
        note = "what they need is not installed: make bench-peers"
        return Report(title="Against what you could have instead", lines=[note], targets=_targets({}, {}, note))
    accepted: dict[str, Measured] = {}
    refused: dict[str, Measured] = {}
    with shop() as ours:
        watched = ours.watched()
        accepted["ours"] = run(_all_get_one(ours.plan(ours.sale(UNITS)), seconds, int(seconds * 20_000)), watched)
        empty = ours.sale(SOLD_OUT_UNITS)
        ours.sell_out(empty, SOLD_OUT_UNITS)
        refused["ours"] = run(_nobody(ours.plan(empty), seconds), watched)
        for name in ("obvious", "library"):
            with _peer(name, ours, UNITS) as (plan, pid):
                accepted[name] = run(_all_get_one(plan, seconds, int(seconds * 3_000)), {**watched, "peer": [pid]})
            with _peer(name, ours, SOLD_OUT_UNITS) as (plan, pid):
                taken = msgspec.structs.replace(_all_get_one(plan, 10, SOLD_OUT_UNITS), connections=1, prefix="first")
                run(taken, {})
                refused[name] = run(_nobody(plan, seconds), {**watched, "peer": [pid]})
    lines = [*_lines("accepted", accepted), *_lines("refused", refused)]
    return Report(title="Against what you could have instead", lines=lines, targets=_targets(accepted, refused, ""))


def _all_get_one(plan: Plan, seconds: float, buyers: int) -> Plan:
    return msgspec.structs.replace(
        plan, seconds=seconds, warm_seconds=0, buyers=buyers, repeat=False, connections=CONNECTIONS
    )


def _nobody(plan: Plan, seconds: float) -> Plan:
    return msgspec.structs.replace(plan, seconds=seconds, buyers=BUYERS, connections=CONNECTIONS)


@contextlib.contextmanager
def _peer(name: str, ours: Shop, units: int) -> Generator[tuple[Plan, int]]:
    """One process of uvicorn with uvloop, as one gate is; the same database and Valkey, tables of its own."""
    port = free_port()
    environment = {
        **os.environ,
        "PEER_SECRET": SECRET,
        "PEER_SALE": f"{name}-{units}",
        "PEER_QUANTITY": str(units),
        "PEER_DATABASE_URL": ours.database_url.replace("postgresql://", "postgresql+asyncpg://"),
        "PEER_REDIS_URL": ours.valkey_url,
    }
    command = [PYTHON.absolute(), "-m", "uvicorn", f"{name}:app", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen(
        [*command, "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"], cwd=PEERS, env=environment
    )
    try:
        wait_for_port(port, process)
        yield Plan(port=port, sale_id=environment["PEER_SALE"], secret=SECRET), process.pid
    finally:
        process.terminate()
        process.wait(30)


def _lines(what: str, runs: Mapping[str, Measured]) -> list[str]:
    return [
        f"{what:8}  {name:8} {measured.rate:8,.0f}/s  p50 {measured.tally.p50_ms} ms, p99 {measured.tally.p99_ms} ms, "
        f"answers {measured.tally.by_status}"
        for name, measured in runs.items()
    ]


def _targets(accepted: Mapping[str, Measured], refused: Mapping[str, Measured], note: str) -> list[Target]:
    found: list[Target] = []
    for name, label in (("obvious", "FastAPI + redis-py + SQLAlchemy"), ("library", "neveroversell behind FastAPI")):
        for what, runs in (("orders", accepted), ("refusals", refused)):
            ratio = runs["ours"].rate / runs[name].rate if name in runs else None
            text = f"{what} for one of {label}"
            found.append(Target(id="P9", text=text, measured=ratio, bound=40, sense="at least", unit=" x", note=note))
    return found
