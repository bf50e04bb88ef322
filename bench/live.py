"""P6: ten thousand live WebSockets on one gate, in a line that never stands still."""

import asyncio
import subprocess
import sys
import time
from typing import Final

import msgspec

from bench.grants import join_directly
from bench.live_client import LiveEnd, LivePlan, LiveTally
from bench.processes import family_cpu_seconds, memory_mb
from bench.report import Report, Target
from bench.shop import SECRET, Shop, shop

LISTENERS: Final = 10_000
SECONDS: Final = 20.0
MOVE_EVERY_S: Final = 0.5
UNITS: Final = 10


def live(seconds: float) -> Report:
    """Everybody listens; a unit is added every half second, so that every place changes."""
    length = max(SECONDS, seconds)
    with shop() as ours:
        gate = ours.one("doorbuster gate ")
        sale_id = asyncio.run(join_directly(ours, LISTENERS, units=UNITS))
        before = memory_mb(gate)
        with subprocess.Popen(
            [sys.executable, "-m", "bench.live_client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            plan = LivePlan(port=ours.port, sale_id=sale_id, secret=SECRET, listeners=LISTENERS, seconds=length)
            client.stdin.write(msgspec.json.encode(plan))
            client.stdin.close()
            if client.stdout.readline() != b"listening\n":
                raise SystemExit("bench: the listeners could not all connect")
            held_kb = (memory_mb(gate) - before) * 1024 / LISTENERS
            cpu, moved = _move(ours, sale_id, gate, length)
            tally = msgspec.json.decode(client.stdout.readline(), type=LiveTally)
            over_at = time.monotonic()
            ours.call("POST", f"/v1/admin/sales/{sale_id}/end", {})
            end = msgspec.json.decode(client.stdout.readline(), type=LiveEnd)
    ended_ms = (end.last_at - over_at) * 1000
    lines = [
        f"{LISTENERS:,} listeners, {tally.lost} lost; the line moved {moved} times in {length:.0f} s",
        f"{tally.messages / length:,.0f} messages/s of {tally.bytes_each:.0f} bytes",
        f"gate {cpu / length:.2f} cores, {held_kb:.1f} KB each",
        f"between two messages to one listener p99 {tally.gap_p99_ms:.0f} ms, at most {tally.gap_max_ms:.0f} ms",
        f"{end.told:,} were told that it is over, the last {ended_ms:.0f} ms after the order to end",
    ]
    targets = [
        Target(id="P6", text="KB of the gate per WebSocket", measured=held_kb, bound=25, sense="at most"),
        Target(id="P6", text="cores of the gate at its own cadence", measured=cpu / length, bound=0.5, sense="at most"),
        Target(
            id="P6",
            text="ms between two messages to one listener of a moving line, p99: the age of a place",
            measured=tally.gap_p99_ms,
            bound=2_000,
            sense="at most",
        ),
        Target(
            id="P6",
            text="ms from the order to end a sale until everybody who waits was told",
            measured=ended_ms,
            bound=2_000,
            sense="at most",
        ),
    ]
    return Report(title="Live connections", lines=lines, targets=targets)


def _move(ours: Shop, sale_id: str, gate: int, seconds: float) -> tuple[float, int]:
    """One more unit every half second, so one fewer ahead of everybody. CPU seconds of the gate meanwhile."""
    begun, cpu = time.monotonic(), family_cpu_seconds(gate)
    units, moved = UNITS, 0
    while time.monotonic() - begun < seconds - MOVE_EVERY_S:
        units, moved = units + 1, moved + 1
        ours.call("PATCH", f"/v1/admin/sales/{sale_id}", {"quantity_available": units})
        time.sleep(MOVE_EVERY_S)
    return family_cpu_seconds(gate) - cpu, moved
