"""The log (I15): SQL and domain/chain.py say the same, nobody rewrites it, and a damaged one is named."""

import hashlib

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doorbuster.domain.audit import AuditReport, Verdict
from doorbuster.domain.chain import LogKind, LogRow, first_head, next_head
from doorbuster.domain.sale import Sale, terms_of
from postgres.ledger import ACTOR, Ledger, an_id, holds_of


async def busy_sale(ledger: Ledger) -> Sale:
    """A sale to which everything has happened that is logged."""
    sale = await ledger.sale(quantity_available=6)
    holds = holds_of(5)
    await ledger.commit(sale, *holds[:3])
    await ledger.commit(sale, *holds[3:])
    await ledger.pay(holds[0].hold_id)
    await ledger.pay(holds[1].hold_id)
    await ledger.sql.execute("select return_order($1)", holds[1].hold_id)
    await ledger.orders.cancel(holds[2].hold_id, user_id=None, actor=ACTOR)
    order = await ledger.orders.get(holds[3].hold_id)
    assert order is not None
    await ledger.make_due(order)
    await ledger.orders.expire_due(limit=9)
    seen = await ledger.now(sale)
    await ledger.sales.change(sale.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=4), seen, ACTOR)
    await ledger.sales.raise_epoch(sale.sale_id, 1, "lost")
    return await ledger.now(sale)


async def rows_of(ledger: Ledger, sale: Sale) -> list[LogRow]:
    return [row async for part in ledger.audits.log_rows(sale.sale_id) for row in part]


async def test_every_kind_of_row_is_hashed_as_the_domain_does(ledger: Ledger) -> None:
    sale = await busy_sale(ledger)

    rows = await rows_of(ledger, sale)

    head = first_head(sale.sale_id)
    for row in rows:
        head = next_head(head, row)
        assert row.hash == head, row
    assert (head, len(rows)) == (sale.log_head, sale.log_size)
    assert {row.kind for row in rows} == set(LogKind)


async def test_busy_sale_is_in_step(ledger: Ledger) -> None:
    sale = await busy_sale(ledger)

    report = await ledger.audit(sale)

    assert report.verdict is Verdict.IN_STEP
    assert report.orders == {"RESERVED": 1, "PAID": 2, "CANCELLED": 1, "EXPIRED": 1}
    assert (report.available, report.free, report.held, report.sold) == (4, 2, 1, 1)


_quantities = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(LogKind), quantities=_quantities, epoch=st.integers(0, 2**62), at_ms=st.integers(0, 2**41))
async def test_chain_of_any_rows_is_that_of_the_domain(
    ledger: Ledger, kind: LogKind, quantities: list[int], epoch: int, at_ms: int
) -> None:
    sale = await ledger.sale()
    orders = [None if kind is LogKind.STOCK else an_id() for _ in quantities]
    await ledger.sql.execute(
        "select append_log(s, $2, $3, $4, $5, at_ms($6)) from flash_sales s where sale_id = $1",
        sale.sale_id,
        kind,
        orders,
        quantities,
        epoch,
        at_ms,
    )

    rows = await rows_of(ledger, sale)

    head = sale.log_head
    for row, order_id, quantity in zip(rows[sale.log_size :], orders, quantities, strict=True):
        assert (row.kind, row.order_id, row.quantity, row.epoch, row.at_ms) == (
            kind,
            order_id or "",
            quantity,
            epoch,
            at_ms,
        )
        head = next_head(head, row)
        assert row.hash == head


async def test_first_head_is_the_hash_of_the_id(ledger: Ledger) -> None:
    assert first_head("a") == hashlib.sha256(b"a").digest()

    head = await ledger.sql.fetchval("select chain(sha256('a'), 'text') from (select) one")

    assert head == hashlib.sha256(first_head("a") + b"text").digest()


@pytest.mark.parametrize(
    "damage",
    [
        "update sale_log set quantity = 9",
        "delete from sale_log",
        "truncate sale_log",
        "truncate flash_sales cascade",
        "delete from flash_sales",
    ],
)
async def test_log_cannot_be_rewritten(ledger: Ledger, damage: str) -> None:
    await busy_sale(ledger)
    before = await ledger.everything()

    with pytest.raises(asyncpg.PostgresError, match="is refused"):
        await ledger.sql.execute(damage)

    assert await ledger.everything() == before


@pytest.mark.parametrize(
    ("damage", "law", "words"),
    [
        ("update sale_log set quantity = 5 where seq = 4", "I15 log is whole", "row 4 does not hash"),
        ("update sale_log set hash = sha256(hash) where seq = 3", "I15 log is whole", "row 3 does not hash"),
        ("delete from sale_log where seq = 5", "I15 log is whole", "row 5 is missing"),
        ("delete from sale_log where seq = 13", "I15 log ends at the stored head", ""),
        ("update flash_sales set log_head = sha256(log_head)", "I15 log ends at the stored head", ""),
        ("update flash_sales set quantity_sold = quantity_sold + 1", "I2 quantity_sold = units of live orders", ""),
        ("update flash_sales set quantity_paid = quantity_paid - 1", "I2 quantity_paid = units of paid orders", ""),
        ("update sale_orders set quantity = 2 where status = 'PAID'", "I2 quantity_sold = units of live orders", ""),
    ],
)
async def test_damaged_ledger_is_named(ledger: Ledger, damage: str, law: str, words: str) -> None:
    sale = await busy_sale(ledger)
    await ledger.sql.execute("set session_replication_role = replica")  # as a superuser who means it
    await ledger.sql.execute(damage)

    report = await ledger.audit(sale)

    found = {drift.law: drift.found for drift in report.drifts}
    assert report.verdict is Verdict.DRIFTED
    assert law in found
    assert words in found[law]


async def test_buyer_with_a_wrong_allowance_is_named(ledger: Ledger) -> None:
    sale = await busy_sale(ledger)
    await ledger.sql.execute("update user_sale_eligibility set quantity_purchased = 0 where user_id = 'buyer-0'")
    await ledger.sql.execute("update user_sale_eligibility set quantity_purchased = 7 where user_id = 'buyer-2'")

    report = await ledger.audit(sale)

    [drift] = report.drifts
    assert (drift.law, drift.rows) == ("I6 eligibility = units of live orders", ("buyer-0", "buyer-2"))


async def test_unknown_sale_has_no_facts(ledger: Ledger) -> None:
    assert await ledger.audits.facts("no id") is None
    assert await ledger.audits.facts(an_id()) is None
    assert await ledger.audits.latest("no id") is None
    assert [part async for part in ledger.audits.log_rows("no id")] == []


async def test_latest_report_is_the_last_one_recorded(ledger: Ledger) -> None:
    sale = await busy_sale(ledger)
    assert await ledger.audits.latest(sale.sale_id) is None
    first: AuditReport = await ledger.audit(sale)
    second = msgspec.structs.replace(first, note="the stock counter could not be read", verdict=Verdict.UNKNOWN)

    await ledger.audits.record(first, ACTOR)
    await ledger.audits.record(second, ACTOR)

    assert await ledger.audits.latest(sale.sale_id) == second


async def test_log_can_be_read_from_any_row_on(ledger: Ledger) -> None:
    sale = await busy_sale(ledger)

    parts = [part async for part in ledger.audits.log_rows(sale.sale_id, after_seq=sale.log_size - 2)]

    assert [row.seq for part in parts for row in part] == [sale.log_size - 1, sale.log_size]
