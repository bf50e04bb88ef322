"""The promises of lines in the schema: no statement lowers a mark, and an older database keeps its rows."""

import asyncpg
import pytest

from doorbuster.adapters.postgres.migrate import apply, offline_sql
from doorbuster.adapters.postgres.queries import load
from doorbuster.domain.sale import SaleMode
from doorbuster.engine.ports import CommitBatch, CommitWord
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, ledger_at
from postgres.lines import a_grant, line_of
from postgres.plans import scanned

LINES, SALES = load("lines.sql"), load("sales.sql")


@pytest.mark.parametrize(
    "harm",
    [
        "update flash_sales set number_high = number_high - 1",
        "update flash_sales set granted_mark = granted_mark - 1",
        "update flash_sales set granted_mark = number_high + 1",
        "update flash_sales set ended_number = ended_number - 1",
        "update flash_sales set ended_number = number_high + 1",
        "update flash_sales set draw_size = draw_size + 1",
        "update flash_sales set draw_size = null, drawn_at = null",
        "update flash_sales set drawn_at = now()",
        "update flash_sales set standby_limit = -1",
        "update flash_sales set claim_window_seconds = 0",
        "update sale_orders set line_number = line_number + 1",
        "update sale_orders set line_number = null",
        "update sale_line_left set number = number - 1",
        """
        insert into sale_orders (order_id, sale_id, user_id, quantity, amount_cents, currency, status, reserved_at,
            expires_at, idempotency_key, line_number)
        select gen_random_uuid(), sale_id, 'eve', 1, 1, 'USD', 'RESERVED', now(), now(), 'another', line_number
        from sale_orders
        """,
        "insert into sealing_keys values ('k9', 'short', now())",
    ],
)
async def test_no_statement_breaks_a_promise_of_the_line(ledger: Ledger, harm: str) -> None:
    line = await line_of(ledger)
    await line.granted("ann", 2)
    await line.lines.note_left(line.sale.sale_id, "bob", 4)
    await ledger.sql.execute("update flash_sales set ended_number = 1, draw_size = 1, drawn_at = '2026-01-01'")
    before = await ledger.everything()

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await ledger.sql.execute(harm)

    assert await ledger.everything() == before


async def test_database_with_orders_takes_the_line(empty_url: str) -> None:
    old = offline_sql()
    cut = old.index("-- Running upgrade 0002 -> 0003")
    sql = await asyncpg.connect(empty_url)
    await sql.execute(old[:cut] + "\ncommit;")
    await _fill(sql)
    await sql.close()

    await apply(empty_url)

    async with ledger_at(empty_url) as ledger:
        [row] = await ledger.sql.fetch("select * from flash_sales where quantity_sold > 0")
        assert (row["orders_paid"], row["orders_returned"]) == (1, 2)
        assert (row["number_high"], row["granted_mark"], row["ended_number"]) == (0, 0, 0)
        sale = await ledger.sales.get(str(row["sale_id"]))
        assert sale is not None
        assert (sale.mode, sale.quantity_sold, sale.standby_limit) == (SaleMode.RACE, 1, None)
        assert (await ledger.audit(sale)).drifts == ()
        batch = CommitBatch(sale_id=sale.sale_id, epoch=0, tick=1, holds=[a_hold("new", key="new")])
        [answer] = await ledger.orders.commit(batch)
        assert answer.word is CommitWord.COMMITTED


async def _fill(sql: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A sale with an order that is paid, one that was cancelled, one that was given back and a tombstone."""
    sale_id, ids = an_id(), [an_id() for _ in range(3)]
    await sql.execute(
        """
        select create_sale($1, jsonb_build_object(
            'product_id', 'p', 'title', 'Lamp', 'quantity_available', 5, 'price_cents', 100, 'currency', 'USD',
            'start_ms', ms(clock_timestamp()) - 1000, 'end_ms', ms(clock_timestamp()) + 3600000, 'mode', 'race',
            'payment_mode', 'checkout', 'per_user_limit', 1, 'checkout_ttl_seconds', 600, 'payment_attempts', 3
        ), 'tester', '', null)
        """,
        sale_id,
    )
    await sql.execute(
        "select word from commit_holds($1, 0, 1, $2, '{ann,bob,eve}', '{1,1,1}', '{a,b,e}', '{x,x,x}')", sale_id, ids
    )
    async with sql.transaction():
        await sql.execute("select from flash_sales for no key update")
        await sql.execute("select pay_orders($1, $2)", sale_id, [ids[0], ids[2]])
    await sql.execute("select word from cancel_order($1, null, 'tester', '')", ids[1])
    await sql.execute("select return_order($1)", ids[2])
    await sql.execute("select tombstone_holds($1, $2, '{zoe}', '{1}', '{1}')", sale_id, [an_id()])


async def test_hot_queries_of_a_line_use_indexes(ledger: Ledger) -> None:
    line = await line_of(ledger, numbers=4_000, quantity_available=4_000)
    race = await ledger.sale(quantity_available=500)
    for part in range(4):
        holds = [a_grant(f"buyer-{n}", n) for n in range(part * 500 + 1, part * 500 + 501)]
        await ledger.commit(line.sale, *holds)
    await ledger.commit(race, *(a_hold(f"buyer-{n}", key=f"k{n}") for n in range(500)))
    await ledger.sql.execute(
        """
        insert into payments
        select gen_random_uuid(), order_id, sale_id, 1, 'simulated', 'pm_ok', 'VOIDED', 1500, 'USD', 'k', '',
            order_id::text, null, null, now(), now()
        from sale_orders
        """
    )
    await ledger.sql.execute("analyze")
    sale_id = line.sale.sale_id

    for query, arguments in (
        (LINES["sales_with_unclaimed"], []),
        (LINES["order_of"], [sale_id, "buyer-7"]),
        (LINES["pulse"], [sale_id]),
        (SALES["image_spent"], [race.sale_id]),
    ):
        assert await scanned(ledger, query, *arguments) == [], query


async def test_pulse_keeps_the_last_minutes_alone(ledger: Ledger) -> None:
    line = await line_of(ledger)
    order = await line.granted("ann", 1)
    await ledger.sql.execute("update sale_pulse set second = second - 700")

    await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    rows = await ledger.sql.fetch("select granted, returned from sale_pulse")
    assert [tuple(row.values()) for row in rows] == [(0, 1)]
    race = await ledger.sale()
    await ledger.orders.cancel((await ledger.reserve(race)).order_id, user_id=None, actor=ACTOR)
    assert await ledger.sql.fetchval("select count(*) from sale_pulse") == 1
