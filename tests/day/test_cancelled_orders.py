"""Why orders of a sale were cancelled, as its report counts them. On both ledgers."""

from conformance.ledger_bench import ACTOR, LedgerBench
from doorbuster.domain.figures import SaleFigures
from doorbuster.domain.order import Order
from doorbuster.domain.payment import VoidReason
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import Actor

BUYER = Actor(name="buyer", reason="given back by the buyer")


async def figures(bench: LedgerBench, sale: Sale) -> dict[str, int]:
    """Those of cancelled orders that are not 0."""
    found: SaleFigures = await bench.ledger.figures.figures(sale.sale_id)
    names = ("cancelled_orders", "declined_orders", "payment_failed_orders", "given_back_orders", "aborted_orders")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


async def declined(bench: LedgerBench, order: Order) -> Order:
    await bench.ledger.payments.decline(await bench.begin_payment(order), "card_declined")
    return await bench.order(order)


async def test_each_cause_is_counted_by_itself(bench: LedgerBench) -> None:
    sale = await bench.sale(quantity_available=9, payment_attempts=1)
    assert (await declined(bench, await bench.reserve(sale, "ann"))).status is OrderStatus.CANCELLED

    refused = await bench.begin_payment(await bench.reserve(sale, "bob"))
    await bench.ledger.payments.confirm(refused, "reference")
    await bench.ledger.payments.void(refused, VoidReason.CAPTURE_REFUSED)
    await bench.ledger.payments.voided(refused)

    given_back = await bench.reserve(sale, "eve")
    await bench.orders.cancel(given_back.order_id, user_id="eve", actor=BUYER)
    await bench.cancelled(sale, "carl")  # by the word of somebody else
    await bench.paid(sale, "dora")
    await bench.reserve(sale, "finn")

    assert await figures(bench, sale) == {
        "cancelled_orders": 4, "declined_orders": 1, "payment_failed_orders": 1, "given_back_orders": 1,
    }  # fmt: skip


async def test_what_an_abort_cancels_is_told_from_what_was_cancelled_before(bench: LedgerBench) -> None:
    """An outside shop that cancels an order, and an operator who calls the sale off, have one name."""
    sale = await bench.sale(quantity_available=9, payment_attempts=2)
    await bench.cancelled(sale, "ann")
    still_paying = await bench.reserve(sale, "bob")
    attempt = await bench.begin_payment(still_paying)
    await bench.reserve(sale, "carl")
    await bench.ledger.advance_ms(1_000)
    await bench.moved(sale, SaleStatus.CANCELLED)
    assert await bench.orders.cancel_all(sale.sale_id, actor=ACTOR, limit=10) == 1
    await bench.ledger.advance_ms(1_000)
    await bench.ledger.payments.decline(attempt, "card_declined")  # not the last try: the abort is what ends it
    worker = Actor(name="worker", reason="the sale was aborted")
    assert await bench.orders.cancel_all(sale.sale_id, actor=worker, limit=10) == 1

    assert await figures(bench, sale) == {"cancelled_orders": 3, "aborted_orders": 2}
