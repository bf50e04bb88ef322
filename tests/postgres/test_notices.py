"""What a ledger from before reminders had a start of their own has to tell, and what workers from then still call."""

import re

import asyncpg

from doorbuster.adapters.postgres.migrate import apply, offline_sql
from doorbuster.adapters.postgres.waitlist import PostgresWaitlist
from doorbuster.domain.notices import Channel, NoticeKind
from postgres.ledger import Ledger, an_id, ledger_at


async def test_who_was_told_before_the_upgrade_is_not_told_again(empty_url: str) -> None:
    script = offline_sql()
    [cut] = re.finditer(r"-- Running upgrade \d+ -> 0024", script)
    sale_id = an_id()
    sql = await asyncpg.connect(empty_url)
    await sql.execute(script[: cut.start()] + "\ncommit;")
    await sql.execute(
        """
        select create_sale($1, jsonb_build_object(
            'product_id', 'p', 'title', 'Lamp', 'quantity_available', 5, 'price_cents', 100, 'currency', 'USD',
            'start_ms', ms(clock_timestamp()) + 3600000, 'end_ms', ms(clock_timestamp()) + 7200000, 'mode', 'race',
            'payment_mode', 'checkout', 'per_user_limit', 1, 'checkout_ttl_seconds', 600, 'payment_attempts', 3,
            'max_lapsed_holds', 2
        ), 'x', '', null)
        """,
        sale_id,
    )
    emails = ["ann@example.com", "Ann@example.com", "bob@example.com"]
    await sql.execute("insert into mail_addresses (email) select unnest($1::text[])", emails)
    await sql.execute("update mail_addresses set unsubscribed_at = now() where email = 'ann@example.com'")
    await sql.execute(
        "insert into waitlist (sale_id, user_id, email, joined_at) select $1, e, e, now() from unnest($2::text[]) e",
        sale_id,
        emails,
    )
    assert await sql.fetchval("select queue_notices($1, '1h', now() + interval '1 hour')", sale_id) == 2
    await sql.close()

    await apply(empty_url)

    async with ledger_at(empty_url) as ledger:
        store, until = PostgresWaitlist(ledger.database), await ledger.sales.time_ms() + 3_600_000
        assert await store.queue(sale_id, NoticeKind.HOUR, until) == 0
        told = await store.claim(an_id(), Channel.MAIL, lease_ms=60_000, limit=10)
        assert [notice.email for notice in told] == ["bob@example.com"], "ann wants none, however she is spelled"


async def test_workers_of_the_release_before_go_on(ledger: Ledger) -> None:
    now = await ledger.sales.time_ms()
    sale = await ledger.sale(start_ms=now + 3_600_000, end_ms=now + 7_200_000)
    store = PostgresWaitlist(ledger.database)
    await store.join(sale.sale_id, "ann", "ann@example.com")
    lease = an_id()

    assert await ledger.sql.fetchval("select queue_notices($1, '1h', at_ms($2))", sale.sale_id, now + 3_600_000) == 1
    [row] = await ledger.sql.fetch("select * from claim_notices($1, 'mail', 60000, 10)", lease)
    recorded = "select record_notices($1, $2::bigint[], array['pending'], array[''], array[0]::bigint[])"
    assert await ledger.sql.fetchval(recorded, lease, [row["notice_id"]]) == 1

    [again] = await store.claim(an_id(), Channel.MAIL, lease_ms=60_000, limit=10)
    assert (again.attempts, again.start_ms) == (2, sale.start_ms)
