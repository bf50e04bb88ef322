"""Compares the sides of a sale and says whether they are in step (layer 3).

Owns: the list of laws that are compared, and which repair belongs to which drift. Reads nothing itself: the engine
brings the facts. PostgreSQL is never repaired silently: a drift inside it names its rows and calls a person.
"""

from enum import StrEnum

import msgspec

from doorbuster.domain.chain import Replay
from doorbuster.domain.sale import Sale


class Verdict(StrEnum):
    IN_STEP = "in_step"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"  # a side could not be read; never taken for in_step


class Repair(StrEnum):
    REBUILD = "rebuild"  # Valkey's image is thrown away and written again from PostgreSQL
    PERSON = "person"  # PostgreSQL contradicts itself: the rows are named and nothing is changed


class LedgerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL's side, read in one snapshot."""

    sale: Sale
    orders_by_status: dict[str, int]
    """Orders, counted by status; every status is present."""
    units_reserved: int
    units_paid: int
    eligibility_units: int
    eligibility_wrong: tuple[str, ...]
    """Buyers whose eligibility row differs from the sum of their live orders, or exceeds the limit."""
    releases_pending: int
    replay: Replay


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Valkey's side. `problem` is set when it could not be read: then the numbers mean nothing."""

    problem: str = ""
    epoch: int = 0
    available: int = 0
    stock: int = 0
    held: int = 0
    """Units in hold records by the image's own running count, paid ones included."""
    tick: int = 0
    holds_without_order: tuple[str, ...] = ()
    """Settled holds that no live order owns and no pending release will remove."""
    orders_without_hold: tuple[str, ...] = ()
    """Live orders whose unit the image would sell again."""
    claims_wrong: tuple[str, ...] = ()
    """Buyers whose claimed units differ from the sum of their holds."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One broken law: which, what was found on both sides, which rows, and what mends it."""

    law: str
    expected: str
    found: str
    rows: tuple[str, ...] = ()
    repair: Repair


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an audit. `drifts` is empty exactly when the verdict is `in_step`."""

    verdict: Verdict
    sale_id: str
    epoch: int
    at_ms: int
    available: int
    free: int
    held: int
    sold: int
    orders: dict[str, int]
    log_size: int
    log_head: str
    drifts: tuple[Drift, ...] = ()
    note: str = ""


def compare(ledger: LedgerFacts, image: ImageFacts | None, *, at_ms: int) -> AuditReport:
    """Judge the facts. `image` is None when the sale needs no image any more (it is over and nothing is held)."""
    drifts = [*_ledger_drifts(ledger)]
    note = ""
    if image is not None:
        if image.problem:
            note = image.problem
        else:
            drifts += _image_drifts(ledger, image)
    sale = ledger.sale
    if drifts:
        verdict = Verdict.DRIFTED
    elif note:
        verdict = Verdict.UNKNOWN
    else:
        verdict = Verdict.IN_STEP
    return AuditReport(
        verdict=verdict,
        sale_id=sale.sale_id,
        epoch=sale.epoch,
        at_ms=at_ms,
        available=sale.quantity_available,
        free=sale.quantity_available - sale.quantity_sold,
        held=sale.quantity_sold - sale.quantity_paid,
        sold=sale.quantity_paid,
        orders=ledger.orders_by_status,
        log_size=sale.log_size,
        log_head=sale.log_head.hex(),
        drifts=tuple(drifts),
        note=note,
    )


def _law(name: str, expected: object, found: object, repair: Repair, rows: tuple[str, ...] = ()) -> list[Drift]:
    if expected == found and not rows:
        return []
    return [Drift(law=name, expected=str(expected), found=str(found), rows=rows, repair=repair)]


def _ledger_drifts(facts: LedgerFacts) -> list[Drift]:
    sale, replay, person = facts.sale, facts.replay, Repair.PERSON
    live = facts.units_reserved + facts.units_paid
    return [
        *_law("I1 sold within available", True, 0 <= sale.quantity_sold <= sale.quantity_available, person),
        *_law("I2 quantity_sold = units of live orders", live, sale.quantity_sold, person),
        *_law("I2 quantity_paid = units of paid orders", facts.units_paid, sale.quantity_paid, person),
        *_law("I6 eligibility = units of live orders", live, facts.eligibility_units, person, facts.eligibility_wrong),
        *_law("I15 log is whole", "", replay.fault, person),
        *_law("I15 log ends at the stored head", sale.log_head.hex(), replay.head.hex(), person),
        *_law("I15 log length", sale.log_size, replay.size, person),
        *_law("I15 log replays to held", facts.units_reserved, replay.held, person),
        *_law("I15 log replays to sold", facts.units_paid, replay.sold, person),
        *_law("I15 log replays to available", sale.quantity_available, replay.available, person),
    ]


def _image_drifts(ledger: LedgerFacts, image: ImageFacts) -> list[Drift]:
    sale, rebuild = ledger.sale, Repair.REBUILD
    if image.epoch != sale.epoch:
        return _law("I12 image has the epoch of the ledger", sale.epoch, image.epoch, rebuild)
    none = "none"
    return [
        *_law("I2 image: stock + held = available", image.available, image.stock + image.held, rebuild),
        *_law("I2 image has the units on sale of the ledger", sale.quantity_available, image.available, rebuild),
        *_law("I12 image has not gone back in time", True, image.tick >= sale.tick_seen, rebuild),
        *_law("I1 every live order has its hold", none, none, rebuild, image.orders_without_hold),
        *_law("I3 every hold has its order", none, none, rebuild, image.holds_without_order),
        *_law("I6 claims = holds", none, none, rebuild, image.claims_wrong),
    ]
