"""What the demo claims of a line, and what each claim is checked against.

Owns: the checks that a race does not have. The ledger's log, read by plain SQL, is held against what the buyers were
told, which they wrote down themselves. Read next: `rehearsal/line_seen.py`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import asyncpg
import msgspec

from doorbuster.cli.demo_proof import Check, LineFigures
from doorbuster.rehearsal.crowd import Result
from doorbuster.rehearsal.line_seen import LineSeen

_GRANTS: Final = """
select o.line_number as number, o.order_id::text as order_id, l.at_ms
from sale_log l join sale_orders o using (order_id)
where l.sale_id = $1 and l.kind = 'reserved' order by l.seq
"""
_RETURNS: Final = """
select at_ms from sale_log
where sale_id = $1 and kind in ('expired', 'cancelled', 'refunded') and quantity > 0 order by seq
"""
_LAST_PAID: Final = "select max(at_ms) from sale_log where sale_id = $1 and kind = 'paid'"
_START: Final = "select (extract(epoch from start_time) * 1000)::bigint from flash_sales where sale_id = $1"

_TELL_WITHIN_MS: Final = 2_000
_CLOCKS_MS: Final = 250
"""How far a gate's idea of the database's clock may be off before the gate calls itself not ready."""


class LineCounted(msgspec.Struct, kw_only=True):
    """The line of a sale as the ledger's log has it, by plain SQL. Times are milliseconds."""

    start_ms: int
    numbers: list[int | None]
    """Of every grant, in the order in which the ledger made them."""
    stored: dict[str, int | None]
    """order id to number"""
    granted_ms: list[int]
    returned_ms: list[int]
    last_paid_ms: int | None


async def count_line(database_url: str, sale_id: str) -> LineCounted:
    """Count on a connection of its own, with nothing of the engine in between."""
    connection = await asyncpg.connect(database_url)
    try:
        grants = await connection.fetch(_GRANTS, sale_id)
        returns = await connection.fetch(_RETURNS, sale_id)
        return LineCounted(
            start_ms=await connection.fetchval(_START, sale_id),
            numbers=[row["number"] for row in grants],
            stored={row["order_id"]: row["number"] for row in grants},
            granted_ms=[row["at_ms"] for row in grants],
            returned_ms=[row["at_ms"] for row in returns],
            last_paid_ms=await connection.fetchval(_LAST_PAID, sale_id),
        )
    finally:
        await connection.close()


def figures_of(counted: LineCounted, seen: LineSeen, *, units: int, sold_all: bool) -> LineFigures:
    """The n-th grant after the first `units` went to the n-th unit that came back."""
    since = [at_ms - counted.start_ms for at_ms in counted.granted_ms]
    again = sorted(
        granted - returned
        for granted, returned in zip(counted.granted_ms[units:], counted.returned_ms, strict=False)
    )  # fmt: skip
    over_ms = counted.last_paid_ms if sold_all else None
    return LineFigures(
        first_grant_ms=since[0] if since else None,
        last_unit_ms=since[units - 1] if len(since) >= units else None,
        offered_again=len(again),
        again_p50_ms=again[len(again) // 2] if again else None,
        again_max_ms=again[-1] if again else None,
        told_over_ms=None if over_ms is None or seen.last_heard_ms is None else seen.last_heard_ms - over_ms,
    )


def prove_line(
    counted: LineCounted, result: Result, seen: LineSeen, figures: LineFigures, *, sold_all: bool
) -> list[Check]:
    """Check what only a line claims."""
    return [
        _in_order(counted),
        _one_entry(counted, seen),
        _everybody_told(result, seen),
        _told_in_time(counted, seen, figures, sold_all=sold_all),
        Check(
            "no place got worse",
            seen.position_rises == 0 and seen.silent_eta_rises == 0,
            f"{seen.position_rises:,} places rose, {seen.silent_eta_rises:,} waits rose without a reason",
        ),
    ]


def _in_order(counted: LineCounted) -> Check:
    numbers = [number for number in counted.numbers if number is not None]
    passed = sum(later <= earlier for earlier, later in pairwise(numbers))
    return Check(
        "strictly in line order",
        passed == 0 and len(numbers) == len(counted.numbers),
        f"{len(numbers):,} grants in the order of their numbers" if not passed else f"{passed:,} grants out of turn",
    )


def _one_entry(counted: LineCounted, seen: LineSeen) -> Check:
    differ = sum(counted.stored.get(order_id) != number for order_id, number in seen.numbers.items())
    return Check(
        "one entry per buyer",
        not seen.two_entries and not seen.lost_entries and not differ,
        f"{seen.joined:,} buyers joined, {seen.tabs:,} times again from another tab; {seen.two_entries:,} had two "
        f"entries, {seen.lost_entries:,} lost theirs, {differ:,} orders are not of the number on the ticket",
    )


def _everybody_told(result: Result, seen: LineSeen) -> Check:
    return Check(
        "everybody was told",
        result.tired == 0 and seen.waiting == 0,
        f"{seen.granted:,} got an offer, {seen.told_over:,} were told that it is over, {seen.left:,} left"
        + (f"; {seen.waiting + result.tired:,} never heard" if seen.waiting or result.tired else ""),
    )


def _told_in_time(counted: LineCounted, seen: LineSeen, figures: LineFigures, *, sold_all: bool) -> Check:
    claim, over_ms = "the truth, when it was true", counted.last_paid_ms
    if not sold_all or over_ms is None:
        return Check(claim, seen.first_over_ms is None, "units were left, and nobody was told that there are none")
    first = None if seen.first_over_ms is None else seen.first_over_ms - over_ms
    last = None if seen.last_wait_ms is None else seen.last_wait_ms - over_ms
    held = (first is None or first >= -_CLOCKS_MS) and (last is None or last <= _TELL_WITHIN_MS)
    heard = figures.told_over_ms
    words = [
        "" if first is None else f"first told {first:+,} ms from the last payment",
        "" if last is None else f"last told to wait {last:+,} ms from it",
        "" if heard is None else f"all who listened knew after {heard:,} ms",
    ]
    return Check(
        claim, held and (heard is None or heard <= _TELL_WITHIN_MS + _CLOCKS_MS), "; ".join(filter(None, words))
    )


def summary_of(figures: LineFigures, seen: LineSeen) -> Sequence[str]:
    """The line's part of the summary, a sentence a line."""
    lines: list[str] = []
    if figures.first_grant_ms is not None:
        last = figures.last_unit_ms
        until = "" if last is None else f", every unit was after {last:,} ms"
        lines.append(f"The first unit was offered {figures.first_grant_ms:,} ms after the start{until}.")
    if figures.offered_again:
        lines.append(
            f"{figures.offered_again:,} units came back and went to the next in line, half of them within "
            f"{figures.again_p50_ms:,} ms, all within {figures.again_max_ms:,} ms."
        )
    lines.append(
        f"Places were at most {seen.place_age_max_ms:,.0f} ms old when they arrived, 99 % at most "
        f"{seen.place_age_p99_ms:,.0f} ms; {seen.listeners:,} buyers listened, {seen.cut_off:,} were cut off."
    )
    lines += [f"  wrong: {example}" for example in seen.examples]
    return lines
