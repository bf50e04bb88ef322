"""The block list in pages: accounts that share one, and a list from before there were pages."""

import re

import asyncpg
import pytest

from doorbuster.adapters.postgres.migrate import apply, offline_sql
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import CommitWord
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, ledger_at

SHARING = """
    select array_agg(u) from (
        select 'user-' || n as u from generate_series(1, 1000000) n
        where blocklist_page('user-' || n) = blocklist_page('ann') limit 3
    ) found
"""


async def blocked(ledger: Ledger, sale: Sale) -> list[str]:
    return [user async for chunk in ledger.sales.image_rows(sale.sale_id, 10) for user in chunk.blocked]


async def test_accounts_on_one_page_come_and_go_by_themselves(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9)
    one, two, three = await ledger.sql.fetchval(SHARING)

    assert await ledger.sales.set_blocked(sale.sale_id, [two, "ann", one], ACTOR) == ([*sorted(["ann", one, two])], [])
    added, removed = await ledger.sales.set_blocked(sale.sale_id, [three, one], ACTOR)

    assert (added, sorted(removed)) == ([three], sorted(["ann", two]))
    assert sorted(await blocked(ledger, sale)) == sorted([one, three])
    words = [(await ledger.commit(sale, a_hold(user, key=user)))[0] for user in ("ann", one, two, three)]
    committed, refused = CommitWord.COMMITTED, CommitWord.BLOCKED
    assert words == [committed, refused, committed, refused]


async def test_emptied_list_leaves_no_page(ledger: Ledger) -> None:
    sale, other = await ledger.sale(), await ledger.sale()
    names = [f"user-{number}" for number in range(2_000)]
    await ledger.sales.set_blocked(sale.sale_id, names, ACTOR)
    await ledger.sales.set_blocked(other.sale_id, names[:5], ACTOR)
    counted = await ledger.sales.blocked_count(sale.sale_id)

    added, removed = await ledger.sales.set_blocked(sale.sale_id, [], ACTOR)

    assert (counted, list(added), sorted(removed)) == (2_000, [], sorted(names))
    assert await ledger.sql.fetchval("select count(*) from blocklist_pages where sale_id = $1", sale.sale_id) == 0
    assert await ledger.sales.blocked_count(other.sale_id) == 5


@pytest.mark.parametrize("name", ["Ünï-🍏", "a'b\"c\\d{e},f", "x" * 200])
async def test_any_name_is_found_again(ledger: Ledger, name: str) -> None:
    sale = await ledger.sale()
    await ledger.sales.set_blocked(sale.sale_id, [name], ACTOR)

    assert await blocked(ledger, sale) == [name]
    assert await ledger.commit(sale, a_hold(name)) == [CommitWord.BLOCKED]


async def test_list_from_before_the_pages_is_kept(empty_url: str) -> None:
    script = offline_sql()
    [cut] = re.finditer(r"-- Running upgrade \d+ -> 0023", script)
    sale_id = an_id()
    sql = await asyncpg.connect(empty_url)
    await sql.execute(script[: cut.start()] + "\ncommit;")
    await sql.execute(
        """
        select create_sale($1, jsonb_build_object(
            'product_id', 'p', 'title', 'Lamp', 'quantity_available', 5, 'price_cents', 100, 'currency', 'USD',
            'start_ms', ms(clock_timestamp()) - 1000, 'end_ms', ms(clock_timestamp()) + 3600000, 'mode', 'race',
            'payment_mode', 'checkout', 'per_user_limit', 1, 'checkout_ttl_seconds', 600, 'payment_attempts', 3,
            'max_lapsed_holds', 2
        ), 'x', '', null)
        """,
        sale_id,
    )
    await sql.execute("select block_users($1, array['ann', 'bob', 'Ünï'], 'x', '')", sale_id)
    await sql.close()

    await apply(empty_url)

    async with ledger_at(empty_url) as ledger:
        sale = await ledger.sales.get(sale_id)
        assert sale is not None
        assert sorted(await blocked(ledger, sale)) == sorted(["ann", "bob", "Ünï"])
        said = [(await ledger.commit(sale, a_hold(user, key=user), epoch=0))[0] for user in ("bob", "Ünï", "cy")]
        assert said == [CommitWord.BLOCKED, CommitWord.BLOCKED, CommitWord.COMMITTED]
