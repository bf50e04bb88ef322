"""The audit's judgment: each broken law is named with its rows and its repair; what was not seen is never in step."""

from typing import Any

import msgspec
import pytest

from domain.sales import NOW, SALE, a_sale
from doorbuster.domain.audit import AuditReport, ImageFacts, LedgerFacts, Repair, Verdict, compare
from doorbuster.domain.chain import Replay
from doorbuster.domain.transitions import OrderStatus

HEAD = b"h" * 32


def ledger(**changes: Any) -> LedgerFacts:
    """Ten units: three held, two paid."""
    facts = LedgerFacts(
        sale=a_sale(quantity_sold=5, quantity_paid=2, epoch=4, tick_seen=30, log_size=8, log_head=HEAD),
        orders_by_status={status.value: 0 for status in OrderStatus} | {"RESERVED": 3, "PAID": 2},
        units_reserved=3,
        units_paid=2,
        eligibility_units=5,
        eligibility_wrong=(),
        releases_pending=0,
        replay=Replay(size=8, head=HEAD, available=10, held=3, sold=2, epoch=4),
    )
    return msgspec.structs.replace(facts, **changes)


def image(**changes: Any) -> ImageFacts:
    return msgspec.structs.replace(ImageFacts(epoch=4, available=10, stock=5, held=5, tick=30), **changes)


def sale(**changes: Any) -> dict[str, Any]:
    return {"sale": msgspec.structs.replace(ledger().sale, **changes)}


def replay(**changes: Any) -> dict[str, Any]:
    return {"replay": msgspec.structs.replace(ledger().replay, **changes)}


def laws(report: AuditReport) -> list[tuple[str, Repair]]:
    return [(drift.law, drift.repair) for drift in report.drifts]


LEDGER_LAWS: list[tuple[dict[str, Any], list[str]]] = [
    (
        sale(quantity_sold=11) | {"units_reserved": 9, "eligibility_units": 11} | replay(held=9),
        ["I1 sold within available"],
    ),
    (sale(quantity_sold=-1), ["I1 sold within available", "I2 quantity_sold = units of live orders"]),
    (sale(quantity_sold=6), ["I2 quantity_sold = units of live orders"]),
    (sale(quantity_paid=3), ["I2 quantity_paid = units of paid orders"]),
    ({"eligibility_units": 6}, ["I6 eligibility = units of live orders"]),
    (replay(fault="row 3 is missing"), ["I15 log is whole"]),
    (replay(head=b"x" * 32), ["I15 log ends at the stored head"]),
    (replay(size=7), ["I15 log length"]),
    (replay(held=2), ["I15 log replays to held"]),
    (replay(sold=3), ["I15 log replays to sold"]),
    (replay(available=11), ["I15 log replays to available"]),
]


@pytest.mark.parametrize(("broken", "expected"), LEDGER_LAWS, ids=[names[-1] for _, names in LEDGER_LAWS])
def test_ledger_that_contradicts_itself_calls_a_person(broken: dict[str, Any], expected: list[str]) -> None:
    """PostgreSQL is never repaired silently."""
    report = compare(ledger(**broken), image(), at_ms=NOW)

    assert report.verdict is Verdict.DRIFTED
    assert laws(report) == [(name, Repair.PERSON) for name in expected]


def test_buyers_with_a_wrong_allowance_are_named() -> None:
    """Also when the sums agree: one has too much, another too little."""
    report = compare(ledger(eligibility_wrong=("ann", "bob")), image(), at_ms=NOW)

    [drift] = report.drifts
    assert (drift.law, drift.rows, drift.repair) == (
        "I6 eligibility = units of live orders",
        ("ann", "bob"),
        Repair.PERSON,
    )


IMAGE_LAWS: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 3}, "I12 image has the epoch of the ledger"),
    ({"epoch": 5}, "I12 image has the epoch of the ledger"),
    ({"stock": 6}, "I2 image: stock + held = available"),
    ({"available": 11, "stock": 6}, "I2 image has the units on sale of the ledger"),
    ({"tick": 29}, "I12 image has not gone back in time"),
    ({"orders_without_hold": ("order-1",)}, "I1 every live order has its hold"),
    ({"holds_without_order": ("hold-1",)}, "I3 every hold has its order"),
    ({"claims_wrong": ("ann",)}, "I6 claims = holds"),
]


@pytest.mark.parametrize(("broken", "law"), IMAGE_LAWS)
def test_image_that_is_wrong_is_built_anew(broken: dict[str, Any], law: str) -> None:
    report = compare(ledger(), image(**broken), at_ms=NOW)

    assert report.verdict is Verdict.DRIFTED
    assert laws(report) == [(law, Repair.REBUILD)]


@pytest.mark.parametrize("name", ["orders_without_hold", "holds_without_order", "claims_wrong"])
def test_wrong_rows_of_the_image_are_named(name: str) -> None:
    report = compare(ledger(), image(**{name: ("one", "two")}), at_ms=NOW)

    assert report.drifts[0].rows == ("one", "two")


def test_image_of_another_epoch_is_not_judged_further() -> None:
    """Its numbers belong to another time; a rebuild is under way or due."""
    report = compare(ledger(), image(epoch=3, stock=0, tick=0, claims_wrong=("ann",)), at_ms=NOW)

    assert len(report.drifts) == 1


@pytest.mark.parametrize("tick", [30, 31])
def test_image_that_went_on_is_in_step(tick: int) -> None:
    assert compare(ledger(), image(tick=tick), at_ms=NOW).verdict is Verdict.IN_STEP


def test_every_broken_law_is_named_at_once() -> None:
    broken = sale(quantity_sold=6) | replay(held=1)

    report = compare(ledger(**broken), image(stock=1, claims_wrong=("ann",)), at_ms=NOW)

    assert [drift.repair for drift in report.drifts] == [Repair.PERSON] * 2 + [Repair.REBUILD] * 2


def test_unreadable_image_is_unknown() -> None:
    report = compare(ledger(), image(problem="no answer"), at_ms=NOW)

    assert (report.verdict, report.drifts, report.note) == (Verdict.UNKNOWN, (), "no answer")


def test_unknown_never_hides_a_drift() -> None:
    report = compare(ledger(**sale(quantity_sold=6)), image(problem="no answer"), at_ms=NOW)

    assert report.verdict is Verdict.DRIFTED
    assert (len(report.drifts), report.note) == (1, "no answer")


def test_sale_without_need_of_an_image_is_judged_by_the_ledger() -> None:
    assert compare(ledger(), None, at_ms=NOW).verdict is Verdict.IN_STEP
    assert compare(ledger(**replay(held=0)), None, at_ms=NOW).verdict is Verdict.DRIFTED


def test_report_in_step_has_all_numbers() -> None:
    report = compare(ledger(), image(), at_ms=NOW)

    assert report == AuditReport(
        verdict=Verdict.IN_STEP,
        sale_id=SALE,
        epoch=4,
        at_ms=NOW,
        available=10,
        free=5,
        held=3,
        sold=2,
        orders={"RESERVED": 3, "PAID": 2, "CANCELLED": 0, "EXPIRED": 0},
        log_size=8,
        log_head=HEAD.hex(),
    )
    assert report.free + report.held + report.sold == report.available
