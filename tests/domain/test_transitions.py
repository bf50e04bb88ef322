"""The arrows of all states, held to a picture drawn by hand; what is not in it does not happen (I13)."""

import itertools
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from domain.sales import an_order
from doorbuster.domain.transitions import (
    ORDER_ARROWS,
    ORDER_LIVE,
    PAYMENT_ARROWS,
    SALE_ARROWS,
    SALE_OVER,
    SALE_SELLS,
    OrderStatus,
    PaymentState,
    SaleStatus,
    may_move,
)
from doorbuster.engine.ports import InvariantViolation
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.shop import ReferenceShop

T = TypeVar("T", bound=StrEnum)

SALE_PICTURE = """
SCHEDULED > ACTIVE ENDED CANCELLED
ACTIVE    > SOLD_OUT PAUSED ENDED CANCELLED
SOLD_OUT  > ACTIVE PAUSED ENDED CANCELLED
PAUSED    > ACTIVE SOLD_OUT ENDED CANCELLED
ENDED     >
CANCELLED >
"""
ORDER_PICTURE = """
RESERVED  > PAID CANCELLED EXPIRED
PAID      >
CANCELLED >
EXPIRED   >
"""
PAYMENT_PICTURE = """
INTENT     > SENT VOIDED
SENT       > AUTHORIZED DECLINED VOIDING
AUTHORIZED > CAPTURING VOIDING
DECLINED   >
CAPTURING  > CAPTURED VOIDING
CAPTURED   > REFUND_DUE
VOIDING    > VOIDED REFUND_DUE
VOIDED     >
REFUND_DUE > REFUNDED
REFUNDED   >
"""


def drawn(picture: str) -> dict[str, frozenset[str]]:
    rows = (line.split(">") for line in picture.strip().splitlines())
    return {before.strip(): frozenset(after.split()) for before, after in rows}


def named(arrows: Mapping[T, frozenset[T]]) -> dict[str, frozenset[str]]:
    return {before.value: frozenset(state.value for state in after) for before, after in arrows.items()}


def test_sale_has_the_arrows_of_its_picture() -> None:
    assert named(SALE_ARROWS) == drawn(SALE_PICTURE)


def test_order_has_the_arrows_of_its_picture() -> None:
    assert named(ORDER_ARROWS) == drawn(ORDER_PICTURE)


def test_payment_has_the_arrows_of_its_picture() -> None:
    assert named(PAYMENT_ARROWS) == drawn(PAYMENT_PICTURE)


@pytest.mark.parametrize(
    ("statuses", "picture"), [(SaleStatus, SALE_PICTURE), (OrderStatus, ORDER_PICTURE), (PaymentState, PAYMENT_PICTURE)]
)
def test_every_state_can_be_reached(statuses: type[StrEnum], picture: str) -> None:
    arrows = drawn(picture)
    first = next(iter(statuses)).value
    reached = {first}
    while more := {after for before in reached for after in arrows[before]} - reached:
        reached |= more

    assert reached == {status.value for status in statuses}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SaleStatus, repeat=2)))
def test_sale_may_move_where_an_arrow_is(before: SaleStatus, after: SaleStatus) -> None:
    assert may_move(SALE_ARROWS, before, after) == (before is after or after.value in drawn(SALE_PICTURE)[before.value])


@pytest.mark.parametrize("status", sorted(SALE_OVER))
def test_sale_that_is_over_stays_over(status: SaleStatus) -> None:
    assert SALE_ARROWS[status] == frozenset()


def test_sale_sells_is_paused_or_is_over() -> None:
    assert SALE_SELLS | SALE_OVER | {SaleStatus.PAUSED} == set(SaleStatus)
    assert not SALE_SELLS & SALE_OVER


def test_only_reserved_and_paid_orders_own_units() -> None:
    assert {OrderStatus.RESERVED, OrderStatus.PAID} == ORDER_LIVE


@pytest.mark.parametrize(
    ("before", "after"),
    [(b, a) for b, a in itertools.product(OrderStatus, repeat=2) if a is not b and a not in ORDER_ARROWS[b]],
)
def test_move_without_an_arrow_is_refused(before: OrderStatus, after: OrderStatus) -> None:
    ledger = ReferenceShop(ManualClock(), SeededIds()).ledger
    order = an_order(status=before)
    ledger.orders[order.order_id] = order

    with pytest.raises(InvariantViolation):
        ledger.write_order(order, status=after)

    assert ledger.orders == {order.order_id: order}
