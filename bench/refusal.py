"""P1: what it costs a gate to say that a sale is sold out, against nginx answering a constant to the same requests."""

from statistics import median
from typing import Final

import msgspec

from bench.constant import constant, nginx_path
from bench.measure import run
from bench.report import Report, Target, spread
from bench.shop import Shop, shop

ROUNDS: Final = 3
BUYERS: Final = 20_000
"""Enough that no buyer comes near the rate that one buyer is allowed."""
UNITS: Final = 5
NO_NGINX: Final = "nginx is missing: apt-get install nginx-light"


def refusal(seconds: float) -> Report:
    """Alternating rounds of both, in one run."""
    with shop() as ours:
        sale_id = ours.sale(UNITS)
        ours.sell_out(sale_id, UNITS)
        return _compare(ours, sale_id, seconds)


def _compare(ours: Shop, sale_id: str, seconds: float) -> Report:
    plan = ours.plan(sale_id, seconds=seconds, buyers=BUYERS)
    gate_us: list[float] = []
    nginx_us: list[float] = []
    lines: list[str] = []
    for _ in range(ROUNDS):
        mine = run(plan, ours.watched())
        if set(mine.tally.by_status) != {409}:
            raise SystemExit(f"bench: expected refusals only, got {mine.tally.by_status}")
        gate_us.append(mine.cost_us("gate"))
        lines.append(
            f"gate   {mine.cost_us('gate'):6.2f} µs CPU per refusal, {mine.rate:,.0f} refusals/s, "
            f"p50 {mine.tally.p50_ms} ms, p99 {mine.tally.p99_ms} ms, "
            f"valkey {mine.cost_us('valkey'):.2f} µs, postgres {mine.cost_us('postgres'):.2f} µs"
        )
        if nginx_path():
            with constant() as (port, pid):
                theirs = run(msgspec.structs.replace(plan, port=port), {"nginx": pid})
            nginx_us.append(theirs.cost_us("nginx"))
            lines.append(f"nginx  {theirs.cost_us('nginx'):6.2f} µs CPU per constant, {theirs.rate:,.0f} answers/s")
    ratios = [mine / theirs for mine, theirs in zip(gate_us, nginx_us, strict=False)]
    target = Target(
        id="P1",
        text="CPU of a refusal on a gate / nginx's constant",
        measured=median(ratios) if ratios else None,
        bound=3.5,
        sense="at most",
        unit=" x",
        note=f"{ROUNDS} rounds: {spread(ratios)}" if ratios else NO_NGINX,
    )
    return Report(title="Refusing (sold out)", lines=lines, targets=[target])
