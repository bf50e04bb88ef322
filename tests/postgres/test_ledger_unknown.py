"""What is said when the server or the connection goes away: it happened, it did not, or nobody knows."""

import asyncio
import contextlib

import pytest

from doorbuster.adapters.postgres import connect
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.pool import Connection
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import CommitBatch, CommitWord, OutcomeUnknown, StoreUnavailable
from helpers.servers import Servers
from helpers.waiting import until
from postgres.ledger import COMMIT, Ledger, a_hold, arguments, ledger_at


async def test_server_that_is_not_there_took_nothing() -> None:
    database = await connect("postgresql://doorbuster@/none?host=/nowhere")
    orders = PostgresOrderStore(database)

    with pytest.raises(StoreUnavailable, match="cannot connect"):
        await orders.commit(CommitBatch(sale_id="00000000-0000-0000-0000-000000000000", epoch=1, tick=1, holds=[]))
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await orders.get("00000000-0000-0000-0000-000000000000")
    await database.close()


async def test_backend_killed_while_it_commits_is_unknown(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    async with ledger.connection() as other, other.transaction():
        await other.fetch(COMMIT, *arguments(sale, [a_hold("bob")]))
        commit = asyncio.ensure_future(ledger.commit(sale, hold))
        await ledger.somebody_waits()
        await ledger.sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
        with pytest.raises(OutcomeUnknown, match="terminating connection"):
            await commit

    assert await ledger.commit(sale, hold) == [CommitWord.COMMITTED]
    assert (await ledger.now(sale)).quantity_sold == 2


async def test_statement_cancelled_by_the_server_did_not_happen(ledger: Ledger) -> None:
    sale = await ledger.sale()
    async with ledger.connection() as other, other.transaction():
        await other.fetch(COMMIT, *arguments(sale, [a_hold("bob")]))
        commit = asyncio.ensure_future(ledger.commit(sale, a_hold()))
        await ledger.somebody_waits()
        await ledger.sql.execute(
            "select pg_cancel_backend(pid) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )

        with pytest.raises(StoreUnavailable, match="canceling statement"):
            await commit

    assert (await ledger.now(sale)).quantity_sold == 1


async def test_caller_who_gives_up_does_not_stop_the_commit(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    async with ledger.connection() as other, other.transaction():
        await other.fetch(COMMIT, *arguments(sale, [a_hold("bob")]))
        commit = asyncio.ensure_future(ledger.commit(sale, hold))
        await ledger.somebody_waits()
        commit.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await commit

    await until(lambda: ledger.orders.get(hold.hold_id))


async def test_close_waits_for_the_commit_under_way(ledger: Ledger) -> None:
    sale = await ledger.sale()
    hold = a_hold()
    async with ledger.connection() as other, other.transaction():
        await other.fetch(COMMIT, *arguments(sale, [a_hold("bob")]))
        commit = asyncio.ensure_future(ledger.commit(sale, hold))
        await ledger.somebody_waits()
        closing = asyncio.ensure_future(ledger.database.close())

    await closing

    assert await commit == [CommitWord.COMMITTED]


async def test_killed_server_is_found_again(own_servers: Servers) -> None:
    server = await own_servers.postgres()
    async with ledger_at(server.url) as ledger:
        sale = await ledger.sale()
        await ledger.commit(sale, a_hold("ann"))
        await server.kill()
        with pytest.raises((OutcomeUnknown, StoreUnavailable)):
            await ledger.commit(sale, a_hold("bob"))
        with pytest.raises(StoreUnavailable):
            await ledger.orders.get(sale.sale_id)

        await server.start()

        said = await until(lambda: commit_if_possible(ledger, sale))
        assert said == [CommitWord.COMMITTED]
        assert (await ledger.now(sale)).quantity_sold == 2  # the first order is there (I4)


async def commit_if_possible(ledger: Ledger, sale: Sale) -> list[CommitWord]:
    try:
        return await ledger.commit(sale, a_hold("bob"))
    except (OutcomeUnknown, StoreUnavailable):
        return []


async def test_commit_that_no_standby_has_is_unknown(own_servers: Servers) -> None:
    server = await own_servers.postgres()
    async with ledger_at(server.url) as ledger:
        sale = await ledger.sale()
        await ledger.sql.execute("alter system set synchronous_standby_names = 'standby'")
        await ledger.sql.execute("select pg_reload_conf()")
        hold = a_hold()
        commit = asyncio.ensure_future(ledger.commit(sale, hold))
        await _cancel_the_wait(ledger.sql)

        with pytest.raises(OutcomeUnknown, match="on no standby"):
            await commit

        # The trap: the row is here, and only the answer was wrong to give. The repeat waits for the standby again.
        assert await ledger.orders.get(hold.hold_id) is not None
        repeat = asyncio.ensure_future(ledger.commit(sale, hold))
        await until(lambda: ledger.sql.fetchval(_WAITS))
        assert not repeat.done()
        await ledger.sql.execute("alter system reset synchronous_standby_names")
        await ledger.sql.execute("select pg_reload_conf()")
        assert await repeat == [CommitWord.COMMITTED]


async def test_connection_ended_while_it_waits_for_a_standby_is_unknown(own_servers: Servers) -> None:
    server = await own_servers.postgres()
    async with ledger_at(server.url) as ledger:
        sale = await ledger.sale()
        await ledger.sql.execute("alter system set synchronous_standby_names = 'standby'")
        await ledger.sql.execute("select pg_reload_conf()")
        commit = asyncio.ensure_future(ledger.commit(sale, a_hold()))
        await _cancel_the_wait(ledger.sql, "pg_terminate_backend")

        with pytest.raises(OutcomeUnknown):
            await commit


_WAITS = "select exists (select from pg_stat_activity where wait_event = 'SyncRep')"


async def _cancel_the_wait(sql: Connection, how: str = "pg_cancel_backend") -> None:
    await until(lambda: sql.fetchval(_WAITS))
    await sql.execute(f"select {how}(pid) from pg_stat_activity where wait_event = 'SyncRep'")


async def test_connection_that_was_lost_is_not_used_again(ledger: Ledger) -> None:
    sale = await ledger.sale()
    await ledger.commit(sale, a_hold("ann"))
    await ledger.sql.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    said = await until(lambda: commit_if_possible(ledger, sale))

    assert said == [CommitWord.COMMITTED]
    assert (await ledger.now(sale)).quantity_sold == 2
