"""P2: what a reservation costs a gate and Valkey, against nginx answering a constant to the same requests."""

import re
import socket
from statistics import median
from typing import Final

import msgspec

from bench.constant import constant, nginx_path
from bench.measure import run
from bench.refusal import NO_NGINX
from bench.report import Report, Target, spread
from bench.shop import Shop, shop

ROUNDS: Final = 3
CONNECTIONS: Final = 256
RATE_GUESS: Final = 15_000
"""Orders per second to prepare requests for; each buyer orders once."""


def decision(seconds: float) -> Report:
    """Every request is an order of another buyer and is granted a unit."""
    buyers = int(RATE_GUESS * (seconds + 1))
    ratios: list[float] = []
    valkey_us: list[float] = []
    lines: list[str] = []
    with shop() as ours:
        for number in range(ROUNDS):
            plan = ours.plan(ours.sale(buyers), seconds=seconds, connections=CONNECTIONS, buyers=buyers, repeat=False)
            plan = msgspec.structs.replace(plan, warm_seconds=0, prefix=f"r{number}")
            _valkey(ours, "CONFIG RESETSTAT")
            mine = run(plan, ours.watched())
            if set(mine.tally.by_status) != {201}:
                raise SystemExit(f"bench: expected orders only, got {mine.tally.by_status}")
            valkey_us.append(_function_us(ours) / mine.tally.answers)
            line = (
                f"gate   {mine.cost_us('gate'):6.2f} µs CPU per order, {mine.rate:,.0f} orders/s, "
                f"valkey {valkey_us[-1]:.2f} µs in functions ({mine.cost_us('valkey'):.2f} µs CPU), "
                f"postgres {mine.cost_us('postgres'):.2f} µs CPU"
            )
            lines.append(line)
            if nginx_path():
                with constant() as (port, pid):
                    theirs = run(msgspec.structs.replace(plan, port=port), {"nginx": [pid]})
                lines.append(f"nginx  {theirs.cost_us('nginx'):6.2f} µs CPU per constant, {theirs.rate:,.0f} answers/s")
                ratios.append(mine.cost_us("gate") / theirs.cost_us("nginx"))
    targets = [
        Target(
            id="P2",
            text="CPU of a reservation on a gate, its commit included / nginx's constant",
            measured=median(ratios) if ratios else None,
            bound=6,
            sense="at most",
            unit=" x",
            note=f"{ROUNDS} rounds: {spread(ratios)}" if ratios else NO_NGINX,
        ),
        Target(
            id="P2",
            text="Valkey's time in functions per reservation, confirming included",
            measured=median(valkey_us),
            bound=5,
            sense="at most",
            unit=" µs",
            note=f"{ROUNDS} rounds: {spread(valkey_us)}",
        ),
    ]
    return Report(title="Reserving", lines=lines, targets=targets)


def _function_us(ours: Shop) -> float:
    """Time Valkey has spent in functions since its statistics were reset."""
    spent = re.search(r"cmdstat_fcall:calls=\d+,usec=(\d+)", _valkey(ours, "INFO commandstats"))
    return float(spent[1]) if spent else 0.0


def _valkey(ours: Shop, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(ours.valkey_url.removeprefix("unix://"))
        connection.sendall(f"{command}\r\nQUIT\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
