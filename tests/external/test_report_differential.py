"""Whatever comes in whatever order, the ledger in memory and PostgreSQL give the same answers and end alike."""

import random
from typing import Any, Final

import pytest

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import PaymentMode
from external.desk import OPERATOR, Desk, desk_on

ORDERS: Final = 6
STEPS: Final = 60


async def _play(desk: Desk, seed: int) -> list[Any]:
    """The same steps for the same seed; everything that can be seen of them, without ids and times."""
    chance = random.Random(seed)
    mode = chance.choice([PaymentMode.EXTERNAL] * 9 + [PaymentMode.CHECKOUT])
    await desk.open(payment_mode=mode, price_cents=chance.choice([0, 1999]))
    orders = [await desk.order() for _ in range(ORDERS)]
    seen: list[Any] = []
    for _ in range(STEPS):
        order = chance.choice(orders)
        seen.append(await _step(desk, order, chance))
    names = {order.order_id: number for number, order in enumerate(orders)}
    ends = [await desk.read(order) for order in orders]
    seen.append([(end.status, end.payment) for end in ends])
    seen.append([(names[row.order_id], row.kind, row.reference, row.answer, row.times) for row in await desk.kept()])
    sale = await desk.sale()
    seen.append((sale.status, sale.quantity_sold, sale.quantity_paid, sale.log_size))
    return seen


async def _step(desk: Desk, order: Order, chance: random.Random) -> object:
    what = chance.choices(["paid", "cancelled", "run out", "expire", "refund", "abort"], [60, 12, 8, 8, 8, 1])[0]
    reference = f"invoice {chance.randrange(5)}"
    cents, currency = chance.choice([None, None, 0, 1999]), chance.choice([None, "USD", "EUR"])
    match what:
        case "paid":
            return what, _told(await desk.paid(order, reference, cents=cents, currency=currency))
        case "cancelled":
            return what, _told(await desk.cancelled(order))
        case "run out":
            # Moved by hand, so only while it is somebody's.
            if (await desk.read(order)).status == "RESERVED":
                await desk.stores.run_out(order.order_id)
            return what
        case "expire":
            return what, await desk.stores.orders.expire_due(limit=100)
        case "refund":
            answer = await desk.stores.payments.refund(order.order_id, OPERATOR)
            return what, answer.code if isinstance(answer, Refusal) else answer.state
        case _:
            await desk.abort()
            return what, await desk.stores.orders.cancel_all(desk.sale_id, actor=OPERATOR, limit=100)


def _told(answer: Order | Refusal) -> object:
    if isinstance(answer, Order):
        return answer.status, answer.payment
    return answer.code, answer.detail.partition(" order ")[0]  # what follows is an id


@pytest.mark.parametrize("seed", range(30))
async def test_both_ledgers_answer_alike(database_url: str, seed: int) -> None:
    async with desk_on("") as memory, desk_on(database_url) as postgres:
        assert await _play(memory, seed) == await _play(postgres, seed)
        await memory.assert_laws()
        await postgres.assert_laws()
