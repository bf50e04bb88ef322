"""What a shop's report is answered with, on each kind of ledger, and what it changes."""

import uuid

import pytest

from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import PaymentMode
from doorbuster.domain.transitions import OrderStatus, PaymentState, SaleStatus
from external.desk import OPERATOR, Desk


def refused(answer: Order | Refusal, code: Code, *words: str) -> str:
    """What was said."""
    assert isinstance(answer, Refusal), answer
    assert answer.code is code, answer
    assert all(word in answer.detail for word in words), answer.detail
    return answer.detail


# ---------------------------------------------------------------------------------------- refusals


async def test_expired_order_is_not_brought_back_by_money(desk: Desk) -> None:
    order = await desk.order()
    await desk.expire(order)
    before = await desk.state()

    answer = await desk.paid(order)

    refused(answer, Code.ORDER_CLOSED, "EXPIRED", "refund")
    assert await desk.state() == before
    assert await desk.answers() == [("invoice 1", "order_closed", 1)]


async def test_cancelled_order_is_not_brought_back_by_money(desk: Desk) -> None:
    order = await desk.order()
    assert isinstance(await desk.cancelled(order), Order)
    before = await desk.state()

    answer = await desk.paid(order)

    refused(answer, Code.ORDER_CLOSED, "CANCELLED", "refund")
    assert await desk.state() == before
    assert await desk.answers() == [("invoice 1", "order_closed", 1)]


async def test_order_of_an_aborted_sale_takes_no_money(desk: Desk) -> None:
    """Between the end of the sale and the end of its orders."""
    order = await desk.order()
    await desk.abort()
    before = await desk.state()

    answer = await desk.paid(order)

    refused(answer, Code.ORDER_CLOSED, "called off", "refund")
    assert await desk.state() == before
    assert await desk.answers() == [("invoice 1", "sale_aborted", 1)]


async def test_second_payment_for_a_paid_order_is_to_be_refunded(desk: Desk) -> None:
    order = await desk.order()
    await desk.paid(order, "invoice 1")
    before = await desk.state()

    answer = await desk.paid(order, "invoice 2")

    refused(answer, Code.CONFLICT, "refund this second payment")
    assert await desk.state() == before
    assert await desk.answers() == [("invoice 2", "other_reference", 1)]


async def test_one_payment_pays_for_one_order(desk: Desk) -> None:
    first, second = await desk.order(), await desk.order()
    await desk.paid(first, "invoice 1")
    before = await desk.state()

    answer = await desk.paid(second, "invoice 1")

    refused(answer, Code.CONFLICT, first.order_id)
    assert await desk.state() == before
    assert await desk.answers() == [("invoice 1", "reference_taken", 1)]


async def test_reference_of_another_order_is_not_said_to_be_refunded(desk: Desk) -> None:
    """The order is closed, but the money named is that of an order which is well: giving it back would be wrong."""
    dead, alive = await desk.order(), await desk.order()
    await desk.cancelled(dead)
    await desk.paid(alive, "invoice 1")

    answer = await desk.paid(dead, "invoice 1")

    assert "refund" not in refused(answer, Code.CONFLICT, alive.order_id)


@pytest.mark.parametrize(
    ("cents", "currency", "said"),
    [(1998, "USD", "1998 USD"), (1999, "EUR", "1999 EUR"), (2000, None, "2000 USD"), (None, "EUR", "1999 EUR")],
)
async def test_other_amount_or_currency_is_refused_and_both_are_said(
    desk: Desk, cents: int | None, currency: str | None, said: str
) -> None:
    order = await desk.order()
    before = await desk.state()

    answer = await desk.paid(order, cents=cents, currency=currency)

    refused(answer, Code.INVALID_REQUEST, said, "1999 USD")
    assert await desk.state() == before
    assert [(row.amount_cents, row.currency) for row in await desk.kept()] == [(cents, currency)]


async def test_other_amount_for_a_paid_order_is_no_repeat(desk: Desk) -> None:
    order = await desk.order()
    await desk.paid(order)
    before = await desk.state()

    answer = await desk.paid(order, cents=1)

    refused(answer, Code.INVALID_REQUEST, "1 USD", "1999 USD")
    assert await desk.state() == before


@pytest.mark.parametrize("mode", [PaymentMode.CHECKOUT, PaymentMode.AUTO])
async def test_sale_that_is_paid_here_takes_no_reports(desk: Desk, mode: PaymentMode) -> None:
    await desk.open(payment_mode=mode)
    order = await desk.order()
    before = await desk.state()

    answer = await desk.paid(order)

    refused(answer, Code.CONFLICT, "paid for here")
    assert await desk.state() == before
    assert await desk.kept() == []


@pytest.mark.parametrize("order_id", ["00000000-0000-7000-8000-000000000000", "no id"])
async def test_unknown_order_is_not_found(desk: Desk, order_id: str) -> None:
    before = await desk.state()

    answer = await desk.paid(order_id)

    refused(answer, Code.NOT_FOUND)
    assert await desk.state() == before


async def test_hold_that_never_became_an_order_is_not_found(desk: Desk) -> None:
    """Its row is a tombstone: nobody was ever given an order of that id."""
    hold = Hold(hold_id=str(uuid.uuid4()), user_id="ann", quantity=1, key="k", digest="d", since_ms=0)
    await desk.stores.orders.tombstone(desk.sale_id, [hold])

    refused(await desk.paid(hold.hold_id), Code.NOT_FOUND)


@pytest.mark.parametrize(
    "reference",
    ["", " ", "x" * 201, "tab\there", " invoice 1", "4111111111111111", "card 4111-1111-1111-1111", "zero\0"],
)
async def test_reference_that_cannot_be_one_is_refused_and_not_repeated(desk: Desk, reference: str) -> None:
    order = await desk.order()
    before = await desk.state()

    answer = await desk.paid(order, reference)

    assert "4111" not in refused(answer, Code.INVALID_REQUEST, "reference")
    assert await desk.state() == before
    assert await desk.kept() == []


async def test_paid_order_is_refunded_and_not_cancelled(desk: Desk) -> None:
    order = await desk.order()
    await desk.paid(order)
    before = await desk.state()

    answer = await desk.cancelled(order)

    refused(answer, Code.CONFLICT, "/refund")
    assert await desk.state() == before
    assert [(row.kind, row.answer) for row in await desk.kept()] == [("cancelled", "paid_before")]


async def test_cancelling_an_expired_order_is_late_and_kept(desk: Desk) -> None:
    order = await desk.order()
    await desk.expire(order)
    before = await desk.state()

    answer = await desk.cancelled(order)

    refused(answer, Code.ORDER_CLOSED, "EXPIRED")
    assert await desk.state() == before
    assert [(row.kind, row.answer) for row in await desk.kept()] == [("cancelled", "order_closed")]


async def test_cancelling_a_paid_order_of_another_sale_stays_order_closed(desk: Desk) -> None:
    await desk.open(payment_mode=PaymentMode.CHECKOUT)
    order = await desk.order()
    await desk.expire(order)

    answer = await desk.cancelled(order)

    refused(answer, Code.ORDER_CLOSED)
    assert await desk.kept() == []


async def test_the_same_late_report_again_is_one_row(desk: Desk) -> None:
    """A shop that repeats for ever fills no table."""
    order = await desk.order()
    await desk.expire(order)

    for _ in range(5):
        await desk.paid(order)

    assert desk.external.refused == 5
    (row,) = await desk.kept()
    assert (row.times, row.order_id, row.actor, row.kind) == (5, order.order_id, OPERATOR, "paid")
    assert row.at_ms <= row.last_ms


# ---------------------------------------------------------------------------------------- what is accepted


async def test_reported_order_is_paid_with_the_amount_of_the_order(desk: Desk) -> None:
    order = await desk.order()

    answer = await desk.paid(order, "invoice 1", cents=1999, currency="USD")

    assert isinstance(answer, Order)
    assert answer == await desk.read(order)
    assert answer.status is OrderStatus.PAID
    (attempt,) = await desk.attempts(order)
    assert (attempt.gateway, attempt.state, attempt.gateway_ref) == ("external", PaymentState.CAPTURED, "invoice 1")
    assert (attempt.amount_cents, attempt.currency) == (1999, "USD")
    sale = await desk.sale()
    assert (sale.quantity_sold, sale.quantity_paid) == (1, 1)
    assert await desk.kept() == []


async def test_the_same_report_again_changes_nothing(desk: Desk) -> None:
    order = await desk.order()
    first = await desk.paid(order)
    before = await desk.state()

    again = await desk.paid(order)

    assert again == first
    assert await desk.state() == before
    assert (await desk.kept(), desk.external.refused) == ([], 0)


async def test_unit_of_a_hold_that_ran_out_is_still_the_buyers_until_somebody_ends_it(desk: Desk) -> None:
    order = await desk.order()
    await desk.stores.run_out(order.order_id)

    answer = await desk.paid(order)

    assert isinstance(answer, Order)
    assert answer.status is OrderStatus.PAID
    assert await desk.stores.orders.expire_due(limit=10) == 0


async def test_order_of_a_sale_that_has_ended_can_be_paid(desk: Desk) -> None:
    order = await desk.order()
    await desk.stores.sales.move(desk.sale_id, SaleStatus.ENDED, OPERATOR)

    answer = await desk.paid(order)

    assert isinstance(answer, Order)
    assert answer.status is OrderStatus.PAID


async def test_free_order_is_reported_like_any_other(desk: Desk) -> None:
    await desk.open(price_cents=0)
    order = await desk.order()

    answer = await desk.paid(order, "free of charge 1", cents=0, currency="USD")

    assert isinstance(answer, Order)
    assert answer.payment is not None
    assert (answer.status, answer.payment.gateway, answer.payment.amount_cents) == (OrderStatus.PAID, "external", 0)


async def test_cancelled_twice_is_the_same_order(desk: Desk) -> None:
    order = await desk.order()

    first, again = await desk.cancelled(order), await desk.cancelled(order)

    assert isinstance(first, Order)
    assert again == first
    assert first.status is OrderStatus.CANCELLED
    assert (await desk.sale()).quantity_sold == 0
    assert await desk.kept() == []


@pytest.mark.parametrize("reference", ["4242424242424242"[:12], "0af7651916cd43dd8448eb211c80319c", "Rechnung № 7"])
async def test_reference_may_be_a_number_a_hash_or_words(desk: Desk, reference: str) -> None:
    order = await desk.order()

    answer = await desk.paid(order, reference)

    assert isinstance(answer, Order)


async def test_uuid_with_the_digits_of_a_card_is_a_reference(desk: Desk) -> None:
    """One in a few hundred has them: refusing it would leave a charge without its order."""
    order = await desk.order()

    answer = await desk.paid(order, "41111111-1111-1111-abcd-abcdefabcdef")

    assert isinstance(answer, Order)


async def test_one_reference_may_pay_in_two_sales(desk: Desk) -> None:
    """A shop may number its payments sale by sale."""
    await desk.paid(await desk.order(), "1")
    await desk.open()

    answer = await desk.paid(await desk.order(), "1")

    assert isinstance(answer, Order)


async def test_reports_are_read_page_by_page(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(5)]
    await desk.expire(*orders)
    for number, order in enumerate(orders):
        await desk.paid(order, f"invoice {number}")

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await desk.reports.reports(desk.sale_id, cursor=cursor, limit=2)
        seen += [row.reference for row in page.reports]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [f"invoice {number}" for number in range(5)]
