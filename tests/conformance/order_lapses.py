"""Buyers who let holds run out unpaid, and what is no lapse."""

from conformance.ledger_bench import ACTOR, TTL_MS, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.payment import VoidReason
from doorbuster.engine.ports import CommitWord

lapses = Suite[LedgerBench]()


@lapses
async def buyer_who_lets_holds_run_out_gets_no_more(bench: LedgerBench) -> None:
    """Each word after it still applies to everybody else: only this buyer of this sale is refused."""
    sale = await bench.sale(quantity_available=5, max_lapsed_holds=2)
    other = await bench.sale(quantity_available=5)
    for _ in range(2):
        await bench.reserve(sale, "ann")
        await bench.ledger.advance_ms(TTL_MS)
        assert await bench.orders.expire_due(limit=10) == 1
    before = await bench.state(sale)

    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.LAPSED]
    assert await bench.state(sale) == before
    assert await bench.lines.lapsed_holds(sale.sale_id, "ann") == 2
    assert await bench.lines.lapsed_holds(sale.sale_id, "bob") == 0
    assert await bench.words(sale, bench.hold("bob")) == [CommitWord.COMMITTED]
    assert await bench.words(other, bench.hold("ann")) == [CommitWord.COMMITTED]


@lapses
async def what_is_given_back_or_declined_is_no_lapse(bench: LedgerBench) -> None:
    sale = await bench.sale(quantity_available=5, max_lapsed_holds=1, payment_attempts=1)
    given_back = await bench.reserve(sale, "ann")
    await bench.orders.cancel(given_back.order_id, user_id="ann", actor=ACTOR)
    declined = await bench.reserve(sale, "ann")
    await bench.ledger.payments.decline(await bench.begin_payment(declined), "no funds")

    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.COMMITTED]


@lapses
async def hold_whose_payment_was_given_up_is_no_lapse(bench: LedgerBench) -> None:
    """The gateway failed; the buyer tried."""
    sale = await bench.sale(quantity_available=5, max_lapsed_holds=1)
    order = await bench.reserve(sale, "ann")
    payment_id = await bench.begin_payment(order)
    await bench.ledger.payments.void(payment_id, VoidReason.GATEWAY_ERROR)
    await bench.ledger.payments.voided(payment_id)
    await bench.ledger.advance_ms(TTL_MS)
    assert await bench.orders.expire_due(limit=10) == 1

    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.COMMITTED]


@lapses
async def any_number_of_holds_may_run_out_where_the_sale_says_so(bench: LedgerBench) -> None:
    sale = await bench.sale(quantity_available=5, max_lapsed_holds=None)
    for _ in range(4):
        await bench.reserve(sale, "ann")
        await bench.ledger.advance_ms(TTL_MS)
        await bench.orders.expire_due(limit=10)

    assert await bench.words(sale, bench.hold("ann")) == [CommitWord.COMMITTED]
