"""Every pair of what the ledger and the gateway's book can say of one charge."""

import uuid
from typing import Any

import msgspec
import pytest

from doorbuster.domain.balance import (
    REPAIRS,
    BookEntry,
    Break,
    BreakKind,
    Repair,
    Verdict,
    break_of,
    verdict_of,
)
from doorbuster.domain.order import Order
from doorbuster.domain.payment import PAYMENT_UNFINISHED, Attempt
from doorbuster.domain.transitions import OrderStatus, PaymentState

ORDER = Order(
    order_id=str(uuid.UUID(int=1)),
    sale_id=str(uuid.UUID(int=2)),
    user_id="ann",
    quantity=1,
    amount_cents=1999,
    currency="EUR",
    status=OrderStatus.PAID,
    reserved_ms=0,
    expires_ms=600_000,
)


def attempt(state: PaymentState, **changes: Any) -> Attempt:
    order = msgspec.structs.replace(ORDER, status=changes.pop("order", OrderStatus.CANCELLED))
    made = Attempt(
        payment_id=str(uuid.UUID(int=3)),
        attempt=1,
        gateway="simulated",
        payment_method="pm_ok",
        state=state,
        amount_cents=1999,
        currency="EUR",
        idempotency_key="k",
        body_digest="",
        gateway_ref="ref",
        decline_reason=None,
        created_ms=0,
        updated_ms=0,
        order=order,
    )
    return msgspec.structs.replace(made, **changes)


def entry(**changes: Any) -> BookEntry:
    made = BookEntry(
        key="key",
        order_id=ORDER.order_id,
        amount_cents=1999,
        currency="EUR",
        authorized=True,
        captured_cents=0,
        refunded_cents=0,
        voided=False,
    )
    return msgspec.structs.replace(made, **changes)


CAPTURED = entry(captured_cents=1999)
SET_ASIDE = entry()
VOIDED = entry(voided=True)
GIVEN_BACK = entry(captured_cents=1999, refunded_cents=1999)
DECLINED = entry(authorized=False)
PAID = attempt(PaymentState.CAPTURED, order=OrderStatus.PAID)

CASES: list[tuple[Attempt | None, BookEntry | None, BreakKind | None]] = [
    (None, None, None),
    (None, DECLINED, None),
    (None, VOIDED, None),
    (None, GIVEN_BACK, None),
    (None, SET_ASIDE, BreakKind.UNKNOWN_AUTHORIZATION),
    (None, CAPTURED, BreakKind.UNKNOWN_MONEY),
    (PAID, CAPTURED, None),
    (PAID, None, BreakKind.MISSING_MONEY),
    (PAID, SET_ASIDE, BreakKind.MISSING_MONEY),
    (PAID, VOIDED, BreakKind.MISSING_MONEY),
    (PAID, GIVEN_BACK, BreakKind.GIVEN_BACK_THERE),
    (PAID, entry(captured_cents=1998), BreakKind.AMOUNT),
    (PAID, entry(captured_cents=1999, currency="USD"), BreakKind.AMOUNT),
    (attempt(PaymentState.CAPTURED, order=OrderStatus.EXPIRED), CAPTURED, BreakKind.LATE_MONEY),
    (attempt(PaymentState.REFUNDED), GIVEN_BACK, None),
    (attempt(PaymentState.REFUNDED), CAPTURED, BreakKind.MISSING_REFUND),
    *(
        (attempt(state), said, kind)
        for state in (PaymentState.DECLINED, PaymentState.VOIDED)
        for said, kind in (
            (None, None),
            (DECLINED, None),
            (VOIDED, None),
            (GIVEN_BACK, None),
            (SET_ASIDE, BreakKind.LATE_AUTHORIZATION),
            (CAPTURED, BreakKind.LATE_MONEY),
        )
    ),
    *((attempt(state), said, None) for state in PAYMENT_UNFINISHED for said in (None, SET_ASIDE, CAPTURED)),
]


@pytest.mark.parametrize(("ours", "theirs", "kind"), CASES)
def test_pair(ours: Attempt | None, theirs: BookEntry | None, kind: BreakKind | None) -> None:
    found = break_of(ours, theirs)

    assert (found.kind if found else None) is kind
    if found is not None:
        assert found.order_id == ORDER.order_id
        assert found.repair is REPAIRS[found.kind]
        assert not found.repaired


def test_free_order_needs_no_charge() -> None:
    assert break_of(attempt(PaymentState.CAPTURED, amount_cents=0, order=OrderStatus.PAID), None) is None


def test_money_that_nobody_owes_goes_back_and_nothing_else_moves_by_itself() -> None:
    """A repair by itself never takes money, and never a unit from a buyer who has paid."""
    by_itself = {kind for kind, repair in REPAIRS.items() if repair is not Repair.OPERATOR}

    assert set(REPAIRS) == set(BreakKind)
    assert by_itself.isdisjoint({BreakKind.MISSING_MONEY, BreakKind.AMOUNT, BreakKind.GIVEN_BACK_THERE})


def test_verdict_is_about_what_is_left() -> None:
    found = break_of(None, CAPTURED)
    assert isinstance(found, Break)

    assert verdict_of([]) is Verdict.IN_BALANCE
    assert verdict_of([found]) is Verdict.BREAKS
    assert verdict_of([msgspec.structs.replace(found, repaired=True)]) is Verdict.IN_BALANCE
