"""The schema: applied once whoever applies it, its promises refuse what breaks them, its hot queries use indexes."""

import asyncio
import time

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from doorbuster.adapters.postgres import settings_problems
from doorbuster.adapters.postgres.migrate import apply, head, offline_sql, schema_problem
from doorbuster.adapters.postgres.queries import load
from doorbuster.engine.ports import StoreUnavailable
from helpers.servers import Servers
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, holds_of
from postgres.plans import scanned

ORDERS, SALES = load("orders.sql"), load("sales.sql")


async def problem_of(url: str) -> str | None:
    connection = await asyncpg.connect(url)
    try:
        return await schema_problem(connection)
    finally:
        await connection.close()


async def test_empty_database_is_said_to_be_empty(empty_url: str) -> None:
    assert await problem_of(empty_url) == "the database has no schema yet; run `doorbuster migrate`"


async def test_schema_newer_than_the_program_is_left_alone(ledger: Ledger) -> None:
    await ledger.sql.execute("update alembic_version set version_num = '9999'")

    await apply(ledger.url)

    assert "newer than this version knows" in (await problem_of(ledger.url) or "")


async def test_older_schema_is_said_to_be_old(ledger: Ledger) -> None:
    await ledger.sql.execute("update alembic_version set version_num = '0000'")

    assert "run `doorbuster migrate`" in (await problem_of(ledger.url) or "")


async def test_no_server_is_said_so() -> None:
    with pytest.raises(StoreUnavailable, match="cannot connect"):
        await apply("postgresql://doorbuster@/none?host=/nowhere")


async def test_many_may_migrate_at_once(empty_url: str) -> None:
    await asyncio.gather(*(apply(empty_url) for _ in range(4)))

    assert await problem_of(empty_url) is None


async def test_migrating_again_changes_nothing(ledger: Ledger) -> None:
    await ledger.sale()
    before = await ledger.everything()

    await apply(ledger.url)

    assert await ledger.everything() == before


async def test_script_for_administrators_makes_the_same_schema(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    await connection.execute(offline_sql())
    await connection.close()

    assert await problem_of(empty_url) is None


def test_head_is_the_one_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", "doorbuster.adapters.postgres:migrations")

    assert ScriptDirectory.from_config(config).get_current_head() == head()


async def test_look_at_a_migrated_database_is_quick(database_url: str) -> None:
    begin = time.perf_counter()

    await apply(database_url)

    assert time.perf_counter() - begin < 1.0


@pytest.mark.parametrize(
    "harm",
    [
        "update flash_sales set quantity_sold = quantity_available + 1",
        "update flash_sales set quantity_sold = -1",
        "update flash_sales set quantity_paid = quantity_sold + 1",
        "update flash_sales set status = 'SOLD_OUT'",
        "update flash_sales set status = 'GONE'",
        "update flash_sales set end_time = start_time",
        "update flash_sales set currency = 'usd'",
        "update sale_orders set quantity = 0",
        "update sale_orders set status = 'EXPIRED'",
        "update sale_orders set idempotency_key = null",
        "update sale_orders set returned_at = now()",
        "update user_sale_eligibility set quantity_purchased = -1",
        """
        insert into sale_orders (order_id, sale_id, user_id, quantity, amount_cents, currency, status, reserved_at,
            expires_at, idempotency_key)
        select gen_random_uuid(), sale_id, user_id, 1, 1, 'USD', 'RESERVED', now(), now(), idempotency_key
        from sale_orders
        """,
    ],
)
async def test_promise_is_a_constraint(ledger: Ledger, harm: str) -> None:
    sale = await ledger.sale(quantity_available=5)
    await ledger.reserve(sale)
    before = await ledger.everything()

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await ledger.sql.execute(harm)

    assert await ledger.everything() == before


@pytest.mark.parametrize("status", ["RESERVED", "PAID", "EXPIRED"])
async def test_closed_order_stays_closed_whoever_writes(ledger: Ledger, status: str) -> None:
    order = await ledger.reserve(await ledger.sale())
    await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    with pytest.raises(asyncpg.CheckViolationError, match="a closed order stays closed"):
        await ledger.sql.execute("update sale_orders set status = $1", status)


@pytest.mark.parametrize("status", ["ENDED", "CANCELLED"])
async def test_sale_that_is_over_stays_over_whoever_writes(ledger: Ledger, status: str) -> None:
    await ledger.sale()
    await ledger.sql.execute("update flash_sales set status = $1", status)

    with pytest.raises(asyncpg.CheckViolationError, match="stays over"):
        await ledger.sql.execute("update flash_sales set status = 'ACTIVE'")


async def crowd(ledger: Ledger) -> str:
    """A sale with many orders among others, and fresh statistics."""
    sale = await ledger.sale(quantity_available=4_000)
    for part in range(4):
        await ledger.commit(sale, *holds_of(500, name=f"p{part}"))
        await ledger.commit(await ledger.sale(quantity_available=500), *holds_of(500))
    await ledger.sql.execute(
        """
        insert into payments
        select gen_random_uuid(), order_id, sale_id, 1, 'simulated', 'pm_ok', 'VOIDED', 1500, 'USD', 'k', '',
            order_id::text, null, null, now(), now()
        from sale_orders
        """
    )
    await ledger.sql.execute("analyze")
    return sale.sale_id


async def test_hot_queries_use_indexes(ledger: Ledger) -> None:
    sale_id = await crowd(ledger)
    hot: list[tuple[str, list[object]]] = [
        (ORDERS["get"], [an_id()]),
        (ORDERS["by_key"], [sale_id, "p1-7", "key-7"]),
        (ORDERS["page"], [sale_id, ["RESERVED", "PAID", "CANCELLED", "EXPIRED"], an_id(), 100]),
        (ORDERS["sales_with_due"], []),
        (ORDERS["next_expiry"], []),
        (ORDERS["closing_hold_ids"], [sale_id, [an_id()]]),
        (SALES["get"], [sale_id]),
    ]
    for query, arguments in hot:
        scans = await scanned(ledger, query, *arguments)

        assert scans == [], query


async def test_commit_never_scans_a_table_that_grew(ledger: Ledger) -> None:
    """The plans are made while the tables are empty and kept by the connection that made them."""
    sale = await ledger.sale(quantity_available=4_000)
    await ledger.commit(sale, a_hold("first"))  # all plans of the writer are made now
    for part in range(4):
        await ledger.commit(sale, *holds_of(500, name=f"p{part}"))
    await ledger.sql.execute("select pg_stat_force_next_flush()")

    scans = await ledger.sql.fetchval(
        "select sum(seq_tup_read) from pg_stat_user_tables"
        " where relname in ('sale_orders', 'user_sale_eligibility', 'blocklist_pages', 'payments')"
    )

    assert scans == 0


async def test_good_server_has_no_problem(ledger: Ledger) -> None:
    now = await ledger.sales.time_ms()

    assert await settings_problems(ledger.sql, now_ms=now) == []


async def test_server_that_forgets_is_named(own_servers: Servers) -> None:
    server = await own_servers.postgres(fsync="off", full_page_writes="off", synchronous_commit="off")
    connection = await asyncpg.connect(server.url)

    found = await settings_problems(connection, now_ms=0)

    await connection.close()
    assert [words.split(":")[0] for words in found[:3]] == [
        "fsync is off",
        "full_page_writes is off",
        "synchronous_commit is off",
    ]
    assert "clock" in found[3]
