"""A ledger's account of itself (layer 3, I15)."""

from conformance.ledger_bench import TTL_MS, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.audit import AuditReport, Drift, Repair, Verdict, compare
from doorbuster.domain.chain import LogKind, Replayer, first_head, next_head
from doorbuster.engine.ports import Actor

accounts = Suite[LedgerBench]()


@accounts
async def nothing_is_known_of_an_unknown_sale(bench: LedgerBench) -> None:
    """Neither facts nor rows nor a report."""
    for sale_id in (bench.ids.new_id(), "no id"):
        assert await bench.audits.facts(sale_id) is None
        assert await bench.audits.latest(sale_id) is None
        assert [rows async for rows in bench.audits.log_rows(sale_id)] == []


@accounts
async def facts_count_every_kind_of_order(bench: LedgerBench) -> None:
    """Tombstones are cancelled orders that never had a unit; returned ones are PAID and have none any more."""
    sale = await bench.sale(quantity_available=9, per_user_limit=2)
    await bench.reserve(sale, "late", quantity=2)
    await bench.ledger.advance_ms(TTL_MS)
    assert await bench.orders.expire_due(limit=10) == 1
    await bench.reserve(sale, "ann", quantity=2)
    await bench.paid(sale, "bob")
    await bench.cancelled(sale, "eve")
    returned = await bench.paid(sale, "max")
    assert await bench.ledger.return_units(returned.order_id)
    await bench.orders.tombstone(sale.sale_id, [bench.hold("zoe")])

    facts = await bench.facts(sale)

    assert facts.sale == await bench.current(sale)
    assert facts.orders_by_status == {"RESERVED": 1, "PAID": 2, "CANCELLED": 2, "EXPIRED": 1}
    assert (facts.units_reserved, facts.units_paid) == (2, 1)
    assert (facts.eligibility_units, facts.eligibility_wrong, facts.releases_pending) == (3, (), 4)
    assert (facts.replay.held, facts.replay.sold, facts.replay.available) == (2, 1, 9)
    await bench.assert_in_step(sale)


@accounts
async def log_is_a_chain_from_the_first_row(bench: LedgerBench) -> None:
    """Every change of stock is in it, once, in order, and it replays to the present state."""
    sale = await bench.sale(quantity_available=9)
    order = await bench.paid(sale, "ann")
    await bench.cancelled(sale, "bob")
    assert await bench.ledger.return_units(order.order_id)

    rows = await bench.log(sale)

    assert [row.kind for row in rows] == [
        LogKind.CREATED,
        LogKind.EPOCH,
        LogKind.RESERVED,
        LogKind.PAID,
        LogKind.RESERVED,
        LogKind.CANCELLED,
        LogKind.REFUNDED,
    ]
    assert [row.seq for row in rows] == list(range(1, 8))
    head = first_head(sale.sale_id)
    for row in rows:
        head = next_head(head, row)
        assert row.hash == head
    current = await bench.current(sale)
    assert (current.log_size, current.log_head) == (7, head)
    replayer = Replayer(sale.sale_id)
    replayer.add(rows)
    assert (replayer.state.fault, replayer.state.held, replayer.state.sold) == ("", 0, 0)
    assert await bench.log(sale, after_seq=5) == rows[5:]
    assert await bench.log(sale, after_seq=7) == []


@accounts
async def last_report_is_kept_as_it_was(bench: LedgerBench) -> None:
    """With its drifts and rows; each sale has its own."""
    sale, other = await bench.sale(), await bench.sale()
    assert await bench.audits.latest(sale.sale_id) is None
    first = compare(await bench.facts(sale), None, at_ms=5)
    drift = Drift(law="a law", expected="1", found="2", rows=("ann", "böb"), repair=Repair.PERSON)
    second = AuditReport(
        verdict=Verdict.DRIFTED,
        sale_id=sale.sale_id,
        epoch=1,
        at_ms=6,
        available=2,
        free=2,
        held=0,
        sold=0,
        orders={"RESERVED": 0},
        log_size=2,
        log_head="00",
        drifts=(drift,),
        note="seen twice",
    )

    await bench.audits.record(first, Actor(name="auditor"))
    await bench.audits.record(second, Actor(name="auditor"))

    assert await bench.audits.latest(sale.sale_id) == second
    assert await bench.audits.latest(other.sale_id) is None
