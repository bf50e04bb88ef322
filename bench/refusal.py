"""P1: what it costs a gate to say that a sale is sold out, against nginx answering a constant to the same requests."""

from statistics import median
from typing import Final

import msgspec

from bench.constant import constant, nginx_path
from bench.load import Plan
from bench.measure import Measured, run
from bench.report import Report, Target, spread
from bench.shop import Shop, shop

ROUNDS: Final = 3
NEW_BUYERS: Final = 120_000
"""More than a gate remembers the tokens of: every request is that of a buyer it has not seen."""
KNOWN_BUYERS: Final = 20_000
"""Few enough to be remembered, enough that none comes near the rate that one buyer is allowed."""
UNITS: Final = 5
NO_NGINX: Final = "nginx is missing: apt-get install nginx-light"


def refusal(seconds: float) -> Report:
    """Alternating rounds of both, in one run."""
    with shop() as ours:
        sale_id = ours.sale(UNITS)
        ours.sell_out(sale_id, UNITS)
        return _compare(ours, sale_id, seconds)


def _compare(ours: Shop, sale_id: str, seconds: float) -> Report:
    plan = ours.plan(sale_id, seconds=seconds, buyers=NEW_BUYERS)
    gate_us: list[float] = []
    nginx_us: list[float] = []
    lines: list[str] = []
    for _ in range(ROUNDS):
        mine = _refused(ours, plan)
        gate_us.append(mine.cost_us("gate"))
        lines.append(_line("new buyers", mine))
        if nginx_path():
            with constant() as (port, pid):
                theirs = run(msgspec.structs.replace(plan, port=port), {"nginx": [pid]})
            nginx_us.append(theirs.cost_us("nginx"))
            lines.append(
                f"nginx constant    {theirs.cost_us('nginx'):6.2f} µs CPU per constant, {theirs.rate:,.0f} answers/s"
            )
    again = _refused(ours, msgspec.structs.replace(plan, buyers=KNOWN_BUYERS, warm_seconds=3))
    lines.append(_line("known buyers", again))
    ratios = [mine / theirs for mine, theirs in zip(gate_us, nginx_us, strict=False)]
    target = Target(
        id="P1",
        text="CPU of a refusal on a gate, to a buyer it has not seen / nginx's constant",
        measured=median(ratios) if ratios else None,
        bound=3.5,
        sense="at most",
        unit=" x",
        note=f"{ROUNDS} rounds: {spread(ratios)}" if ratios else NO_NGINX,
    )
    return Report(title="Refusing (sold out)", lines=lines, targets=[target])


def _refused(ours: Shop, plan: Plan) -> Measured:
    measured = run(plan, ours.watched())
    if set(measured.tally.by_status) != {409}:
        raise SystemExit(f"bench: expected refusals only, got {measured.tally.by_status}")
    return measured


def _line(who: str, mine: Measured) -> str:
    return (
        f"gate, {who:12}{mine.cost_us('gate'):6.2f} µs CPU per refusal, {mine.rate:,.0f} refusals/s, "
        f"p50 {mine.tally.p50_ms} ms, p99 {mine.tally.p99_ms} ms, "
        f"valkey {mine.cost_us('valkey'):.2f} µs, postgres {mine.cost_us('postgres'):.2f} µs"
    )
