"""How the holds of a line end, in numbers: what chance and waiting time are told from."""

from conformance.ledger_bench import ACTOR, MINUTE, SECOND, TTL_MS, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.sale import Sale
from doorbuster.engine.line_ports import Pulse

pulses = Suite[LedgerBench]()


async def pulse_of(bench: LedgerBench, sale: Sale) -> Pulse:
    pulse = await bench.lines.pulse(sale.sale_id)
    assert pulse is not None
    return pulse


@pulses
async def sale_that_is_not_there_has_no_pulse(bench: LedgerBench) -> None:
    """Nor a text that is no id."""
    assert await bench.lines.pulse(bench.ids.new_id()) is None


@pulses
async def sale_that_has_sold_nothing_has_an_empty_pulse(bench: LedgerBench) -> None:
    """As of the ledger's own clock."""
    sale = await bench.line()

    assert await pulse_of(bench, sale) == Pulse(
        as_of_ms=bench.now_ms(),
        paid=0,
        returned=0,
        returned_last_minute=0,
        returned_minute_before=0,
        granted_last_minute=0,
        next_expiry_ms=None,
    )


@pulses
async def every_end_of_a_hold_is_counted_once(bench: LedgerBench) -> None:
    """Paid, or come back: by expiry, cancelling or a refund. Tombstones never were orders."""
    sale = await bench.line(quantity_available=20)
    orders = [await bench.granted(sale, f"buyer {n}", n) for n in range(1, 7)]
    for order in orders[:2]:
        await bench.pay(order)
    await bench.ledger.return_units(orders[1].order_id)
    await bench.orders.cancel(orders[2].order_id, user_id=None, actor=ACTOR)
    await bench.orders.tombstone(sale.sale_id, [bench.hold("zoe")])
    await bench.ledger.advance_ms(TTL_MS)
    await bench.orders.expire_due(limit=2)

    pulse = await pulse_of(bench, sale)

    assert (pulse.paid, pulse.returned) == (1, 4)
    assert (pulse.returned_last_minute, pulse.returned_minute_before, pulse.granted_last_minute) == (2, 0, 0)


@pulses
async def minutes_move_with_the_clock(bench: LedgerBench) -> None:
    """What came back in the last minute, what in the one before; what was granted in the last."""
    sale = await bench.line(quantity_available=20)
    orders = [await bench.granted(sale, f"buyer {n}", n) for n in range(1, 4)]
    for order in orders[:2]:
        await bench.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    at_once = await pulse_of(bench, sale)
    await bench.ledger.advance_ms(MINUTE)
    await bench.orders.cancel(orders[2].order_id, user_id=None, actor=ACTOR)
    await bench.granted(sale, "late", 4)
    later = await pulse_of(bench, sale)
    await bench.ledger.advance_ms(59 * SECOND)
    much_later = await pulse_of(bench, sale)
    await bench.ledger.advance_ms(2 * MINUTE)
    at_last = await pulse_of(bench, sale)

    def minutes(pulse: Pulse) -> tuple[int, int, int]:
        return pulse.returned_last_minute, pulse.returned_minute_before, pulse.granted_last_minute

    assert minutes(at_once) == (2, 0, 3)
    assert minutes(later) == (1, 2, 1)
    assert minutes(much_later) == (1, 2, 1)
    assert minutes(at_last) == (0, 0, 0)
    assert (at_last.paid, at_last.returned) == (0, 3)


@pulses
async def next_hold_that_runs_out_is_named(bench: LedgerBench) -> None:
    """Of those without an open payment, of this sale alone."""
    sale, other = await bench.line(), await bench.line()
    await bench.granted(other, "ann", 1)
    await bench.ledger.advance_ms(SECOND)
    paying = await bench.granted(sale, "ann", 1)
    await bench.ledger.advance_ms(SECOND)
    waiting = await bench.granted(sale, "bob", 2)
    first = await pulse_of(bench, sale)
    await bench.begin_payment(paying)

    second = await pulse_of(bench, sale)

    assert first.next_expiry_ms == paying.expires_ms
    assert second.next_expiry_ms == waiting.expires_ms
