"""What the demo claims at the end, and what each claim is checked against.

Owns: the checks. Three witnesses that know nothing of each other: PostgreSQL by plain SQL, the payment gateway's own
book, and what the crowd's clients were told.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec

from doorbuster.api.money import ReconciliationView
from doorbuster.api.shapes import AuditView
from doorbuster.rehearsal.crowd import Result

_COUNT: Final = """
select status, count(*) as orders, sum(quantity) as units, count(distinct user_id) as buyers
from sale_orders where sale_id = $1 group by status
"""
_MOST: Final = """
select coalesce(max(units), 0) from (
    select sum(quantity) as units from sale_orders
    where sale_id = $1 and status in ('RESERVED', 'PAID') group by user_id
) as per_buyer
"""
_STORED: Final = "select order_id::text, user_id, status from sale_orders where sale_id = $1"


class Counted(msgspec.Struct, kw_only=True):
    """PostgreSQL's answer to plain SQL."""

    paid_units: int
    reserved_units: int
    orders: dict[str, int]
    most_per_buyer: int
    stored: dict[str, str]
    """order id to buyer"""
    paid: set[str]


class Check(msgspec.Struct, frozen=True):
    """One claim: whether it held, and the numbers."""

    claim: str
    held: bool
    figures: str


class LineFigures(msgspec.Struct, kw_only=True):
    """The speed of a line. None where it did not happen."""

    first_grant_ms: int | None
    last_unit_ms: int | None
    """From the start until as many orders were made as there are units."""
    offered_again: int
    again_p50_ms: int | None
    again_max_ms: int | None
    """From a unit's return to the next order, over all that were offered again."""
    told_over_ms: int | None
    """From the last payment until the last of those who listen knew."""


class Proof(msgspec.Struct, kw_only=True):
    checks: list[Check]
    counted: Counted
    audit_verdict: str
    captured_cents: int
    refunded_cents: int
    line: LineFigures | None = None
    """In a line only."""

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


async def count_by_sql(database_url: str, sale_id: str) -> Counted:
    """Count on a connection of its own, with nothing of the engine in between."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = {row["status"]: row for row in await connection.fetch(_COUNT, sale_id)}
        stored = await connection.fetch(_STORED, sale_id)
        return Counted(
            paid_units=int(rows["PAID"]["units"]) if "PAID" in rows else 0,
            reserved_units=int(rows["RESERVED"]["units"]) if "RESERVED" in rows else 0,
            orders={status: row["orders"] for status, row in rows.items()},
            most_per_buyer=int(await connection.fetchval(_MOST, sale_id)),
            stored={row["order_id"]: row["user_id"] for row in stored},
            paid={row["order_id"] for row in stored if row["status"] == "PAID"},
        )
    finally:
        await connection.close()


def _why(sold_all: bool, demand_ended: bool) -> str:
    if sold_all:
        return ""
    return (
        "; the crowd wanted no more" if demand_ended else "; the crowd gave up waiting, the machine is too slow for it"
    )


def prove_balance(found: ReconciliationView) -> Check:
    """The reconciliation: charge by charge, and in sum."""
    net = found.captured_cents - found.refunded_cents
    figures = f"{euros(found.captured_cents)} captured, {euros(found.refunded_cents)} of it refunded; "
    figures += f"{euros(found.paid_cents)} paid for"
    mended = sum(1 for one in found.breaks if one.repaired)
    if found.breaks:
        figures += f"; {len(found.breaks)} breaks, {mended} of them repaired"
    held = found.verdict == "in_balance" and net == found.paid_cents and not found.under_way
    return Check("the books are one", held, figures if found.verdict != "unknown" else f"unknown: {found.note}")


def euros(cents: int) -> str:
    return f"{cents / 100:,.2f} EUR"


def prove(
    counted: Counted,
    audit: AuditView,
    book: Sequence[Mapping[str, Any]],
    result: Result,
    *,
    units: int,
    price_cents: int,
) -> Proof:
    """Check every claim of the demo."""
    captured = [charge for charge in book if charge["captured_cents"] - charge["refunded_cents"] > 0]
    per_order = Counter(str(charge["order_id"]) for charge in captured)
    bijection = (
        set(per_order) == counted.paid
        and all(count == 1 for count in per_order.values())
        and all(charge["captured_cents"] == price_cents for charge in captured)
    )
    lost = [order for order, buyer in result.acknowledged.items() if counted.stored.get(order) != buyer]
    sold_all = counted.paid_units == units
    demand_ended = result.tired == 0 and result.gone == result.arrived
    live = counted.paid_units + counted.reserved_units
    checks = [
        Check("never one over", live <= units, f"{live:,} of {units:,} units reserved or paid"),
        Check(
            "sold exactly",
            sold_all or demand_ended,
            f"{counted.paid_units:,} of {units:,} units paid{_why(sold_all, demand_ended)}",
        ),
        Check("nothing left hanging", counted.reserved_units == 0, f"{counted.reserved_units:,} units still reserved"),
        Check("nobody has two", counted.most_per_buyer <= 1, f"at most {counted.most_per_buyer} per buyer"),
        Check(
            "nothing acknowledged was lost", not lost, f"{len(result.acknowledged):,} orders acknowledged, all stored"
            if not lost else f"{len(lost):,} acknowledged orders are not stored",
        ),
        Check(
            "charged means owns",
            bijection,
            f"{len(captured):,} captures by the gateway's book, {len(counted.paid):,} paid orders: one to one"
            if bijection
            else f"{len(captured):,} captures by the gateway's book, {len(counted.paid):,} paid orders: not one to one",
        ),
        Check(
            "the audit agrees",
            audit.verdict == "in_step",
            f"{audit.verdict}; {audit.log_size:,} log rows hash and replay to the same state",
        ),
    ]  # fmt: skip
    return Proof(
        checks=checks,
        counted=counted,
        audit_verdict=audit.verdict,
        captured_cents=sum(int(charge["captured_cents"]) for charge in book),
        refunded_cents=sum(int(charge["refunded_cents"]) for charge in book),
    )
