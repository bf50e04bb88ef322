"""Reports that come at once, and reports against the end of the hold: one outcome, whatever the order of events."""

import asyncio
from collections import Counter

import asyncpg

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus
from external.desk import OPERATOR, Desk, desk_on
from helpers.waiting import until


def codes(answers: list[Order | Refusal]) -> Counter[str]:
    return Counter(answer.code.value if isinstance(answer, Refusal) else answer.status.value for answer in answers)


async def test_a_hundred_reports_at_once_are_one_payment(desk: Desk) -> None:
    order = await desk.order()

    answers = await asyncio.gather(*(desk.paid(order) for _ in range(100)))

    assert codes(list(answers)) == {"PAID": 100}
    assert len(await desk.attempts(order)) == 1
    assert (await desk.sale()).quantity_paid == 1


async def test_two_payments_at_once_leave_one_and_one_to_refund(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(10)]

    for order in orders:
        answers = await asyncio.gather(desk.paid(order, f"a {order.order_id}"), desk.paid(order, f"b {order.order_id}"))

        assert codes(list(answers)) == {"PAID": 1, "conflict": 1}
        (attempt,) = await desk.attempts(order)
        assert len([row for row in await desk.kept() if row.order_id == order.order_id]) == 1
        assert attempt.gateway_ref not in {row.reference for row in await desk.kept()}


async def test_one_payment_for_two_orders_at_once_pays_for_one(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(10)]

    for first, second in zip(orders[::2], orders[1::2], strict=True):
        answers = await asyncio.gather(desk.paid(first, first.order_id), desk.paid(second, first.order_id))

        assert codes(list(answers)) == {"PAID": 1, "conflict": 1}
    assert (await desk.sale()).quantity_paid == 5


async def test_money_against_the_end_of_the_hold_has_one_winner(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(10)]
    for order in orders:
        await desk.stores.run_out(order.order_id)

    answers = await asyncio.gather(
        *(desk.paid(order, order.order_id) for order in orders[:5]),
        desk.stores.orders.expire_due(limit=100),
        desk.stores.orders.expire_due(limit=100),
        *(desk.paid(order, order.order_id) for order in orders[5:]),
    )

    ends = [(await desk.read(order)).status for order in orders]
    assert set(ends) <= {OrderStatus.PAID, OrderStatus.EXPIRED}
    told = [answer for answer in answers if not isinstance(answer, int)]
    assert [isinstance(answer, Order) for answer in told] == [end is OrderStatus.PAID for end in ends]
    assert all(answer.code is Code.ORDER_CLOSED for answer in told if isinstance(answer, Refusal))
    assert len(await desk.kept()) == ends.count(OrderStatus.EXPIRED)


async def test_paid_and_cancelled_at_once_have_one_winner(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(10)]

    answers = await asyncio.gather(
        *(asyncio.gather(desk.paid(order, order.order_id), desk.cancelled(order)) for order in orders)
    )

    for order, (paid, cancelled) in zip(orders, answers, strict=True):
        end = (await desk.read(order)).status
        assert end in (OrderStatus.PAID, OrderStatus.CANCELLED)
        assert isinstance(paid, Order) is (end is OrderStatus.PAID)
        assert isinstance(cancelled, Order) is (end is OrderStatus.CANCELLED)
        loser = cancelled if end is OrderStatus.PAID else paid
        assert isinstance(loser, Refusal)
        assert loser.code is (Code.CONFLICT if end is OrderStatus.PAID else Code.ORDER_CLOSED)
    assert len(await desk.kept()) == 10


async def test_money_against_an_abort_is_paid_and_given_back_or_refused(desk: Desk) -> None:
    """What is PAID before the abort is marked as refunded by it; what comes after is refused. Nothing in between."""
    orders = [await desk.order() for _ in range(10)]

    async def abort() -> None:
        await desk.abort()
        await desk.stores.orders.cancel_all(desk.sale_id, actor=OPERATOR, limit=100)
        await desk.stores.payments.refund_aborted(desk.sale_id, actor=OPERATOR, limit=100)

    answers = await asyncio.gather(*(desk.paid(order, order.order_id) for order in orders), abort())

    for order, answer in zip(orders, answers, strict=False):
        read = await desk.read(order)
        if isinstance(answer, Order):
            assert read.payment is not None
            assert (read.status, read.payment.state.value) == (OrderStatus.PAID, "REFUNDED")
        else:
            assert read.status is OrderStatus.CANCELLED


async def test_report_waits_for_whoever_is_ending_the_order(database_url: str) -> None:
    """The expirer has the sale's row and has decided: the report sees the end, not the order as it was."""
    async with desk_on(database_url) as desk:
        await desk.open()
        order = await desk.order()
        expirer: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
        ending = expirer.transaction()
        await ending.start()
        await expirer.execute("select from flash_sales where sale_id = $1 for no key update", desk.sale_id)

        reporting = asyncio.create_task(desk.paid(order))
        await until(lambda: _waits_for_a_lock(expirer))
        await expirer.execute(
            "select close_orders($1, array[$2::uuid], 'EXPIRED', 'expirer', 'test', clock_ms())",
            desk.sale_id,
            order.order_id,
        )
        await ending.commit()
        answer = await reporting
        await expirer.close()

        assert isinstance(answer, Refusal)
        assert answer.code is Code.ORDER_CLOSED
        assert await desk.attempts(order) == []
        await desk.assert_laws()


async def _waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return bool(
        await connection.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
    )


async def test_two_gates_answer_one_report_alike(database_url: str) -> None:
    """Two processes on one ledger, each with connections of its own."""
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        await here.open(quantity_available=50)
        there.sale_id = here.sale_id
        orders = [await here.order() for _ in range(50)]

        answers = await asyncio.gather(
            *(desk.paid(order, order.order_id) for order in orders for desk in (here, there))
        )

        assert codes(list(answers)) == {"PAID": 100}
        sale = await here.sale()
        assert (sale.quantity_sold, sale.quantity_paid, sale.status.value) == (50, 50, "SOLD_OUT")
        await here.assert_laws()
