"""Draws on a real PostgreSQL in real time: many at once, a killed server, and hands that write past the functions."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from conformance.draw_bench import inline
from conformance.ledger_bench import ACTOR
from doorbuster.adapters.postgres.draws import PostgresDrawLedger
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.domain.sale import Sale, SaleMode, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.line_ports import EntryWord
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from helpers.servers import Servers
from helpers.waiting import until


class Shop:
    """The stores on one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.draws = PostgresDrawLedger(database)
        self.sales = PostgresSaleStore(database)

    async def open_draw(self, start_in_ms: int) -> Sale:
        now = await self.sales.time_ms()
        terms = SaleTerms(
            product_id="p-1",
            title="Lamp",
            quantity_available=2,
            price_cents=1_500,
            currency="USD",
            start_ms=now + start_in_ms,
            end_ms=now + start_in_ms + 3_600_000,
            mode=SaleMode.DRAW,
        )
        return await self.sales.create(str(uuid.uuid4()), terms, ACTOR)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    database = await connect(database_url)
    yield Shop(database)
    await database.close()


async def enter_until_closed(shop: Shop, sale: Sale, gate: int) -> set[str]:
    """Entries this gate was told of, in batches one after the other, until it is told that it is too late."""
    told: set[str] = set()
    number = 0
    while True:
        users = [f"gate {gate} buyer {number + offset}" for offset in range(20)]
        number += 20
        entries = await shop.draws.enter(sale.sale_id, users)
        told.update(entry.entry_id for entry in entries if entry.word is EntryWord.ENTERED)
        if any(entry.word is EntryWord.CLOSED for entry in entries):
            return told


async def test_every_entry_that_was_told_is_drawn(shop: Shop) -> None:
    """Six gates take entries over the start while two workers close the list."""
    sale = await shop.open_draw(400)

    async def drawn() -> bool:
        return await Drawing(shop.draws, None, inline).run_once(sale)

    workers = [asyncio.create_task(until(drawn)) for _ in range(2)]
    told = await asyncio.gather(*(enter_until_closed(shop, sale, gate) for gate in range(6)))
    await asyncio.gather(*workers)

    listed = (await shop.draws.entry_ids(sale.sale_id)).hex()
    assert {listed[at : at + 32] for at in range(0, len(listed), 32)} == set[str]().union(*told)
    current = await shop.sales.get(sale.sale_id)
    assert current is not None
    assert current.draw_size == current.number_high == len(listed) // 32 > 0


async def test_start_that_is_moved_to_now_loses_no_entry(shop: Shop) -> None:
    """The operator opens early while entries are under way."""
    sale = await shop.open_draw(60_000)
    entering = [asyncio.create_task(enter_until_closed(shop, sale, gate)) for gate in range(4)]

    async def some() -> bool:
        return await shop.draws.entry_count(sale.sale_id) > 100

    await until(some)
    opened = await shop.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
    assert isinstance(opened, Sale)
    record = await shop.draws.close(sale.sale_id)
    told = set[str]().union(*await asyncio.gather(*entering))

    assert record is not None
    assert record.size == len(told)
    listed = (await shop.draws.entry_ids(sale.sale_id)).hex()
    assert {listed[at : at + 32] for at in range(0, len(listed), 32)} == told


async def test_same_buyers_from_many_gates_have_one_entry(shop: Shop) -> None:
    """In orders that would make two transactions wait for each other."""
    sale = await shop.open_draw(60_000)
    users = [f"buyer {number}" for number in range(300)]

    answers = await asyncio.gather(
        *(shop.draws.enter(sale.sale_id, users if gate % 2 else users[::-1]) for gate in range(8))
    )

    ids = [entry.entry_id for entry in answers[0]][::-1]
    for gate, entries in enumerate(answers):
        assert [entry.entry_id for entry in entries] == (ids if gate % 2 else ids[::-1])
        assert {entry.word for entry in entries} == {EntryWord.ENTERED}
    assert await shop.draws.entry_count(sale.sale_id) == 300


async def test_block_and_entry_at_once_never_leave_a_blocked_entry(shop: Shop) -> None:
    sale = await shop.open_draw(60_000)
    users = [f"buyer {number}" for number in range(200)]

    await asyncio.gather(
        *(shop.draws.enter(sale.sale_id, users[at : at + 20]) for at in range(0, 200, 20)),
        shop.sales.set_blocked(sale.sale_id, users[::2], ACTOR),
    )
    assert isinstance(await shop.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True), Sale)
    record = await shop.draws.close(sale.sale_id)

    assert record is not None
    assert record.size == 100
    left = [entry for entry in await shop.draws.entered(sale.sale_id, users[::2]) if entry is not None]
    assert left == []


async def test_killed_server_keeps_what_was_told(own_servers: Servers) -> None:
    server = await own_servers.postgres()
    database = await connect(server.url)
    shop = Shop(database)
    try:
        sale = await shop.open_draw(600_000)
        told: list[str] = []
        lost = asyncio.Event()

        async def enter() -> None:
            for number in range(100_000):
                try:
                    [entry] = await shop.draws.enter(sale.sale_id, [f"buyer {number}"])
                except (StoreUnavailable, OutcomeUnknown):
                    lost.set()
                    return
                told.append(entry.entry_id)

        entering = asyncio.create_task(enter())
        await until(lambda: len(told) > 20)
        await server.kill()
        await entering
        assert lost.is_set()
        await server.start()

        entries = await shop.draws.entered(sale.sale_id, [f"buyer {number}" for number in range(len(told))])
        promised = await shop.draws.record(sale.sale_id)
    finally:
        await database.close()

    assert [entry and entry.entry_id for entry in entries] == told
    assert promised is not None


# ------------------------------------------------------------------------------------------------ other hands

PROMISED = (
    "update sale_draws set seed = sha256('x'::bytea)",
    "update sale_draws set entry_secret = sha256('x'::bytea)",
    "update sale_draws set rules = rules || ' '",
    "update sale_draws set commitment = sha256('x'::bytea)",
    "delete from sale_draws",
    "truncate sale_draws cascade",
    "update flash_sales set beacon_round = 5",
    "update flash_sales set mode = 'queue'",
)
PUBLISHED = (
    "update sale_draws set closed_at = clock_timestamp()",
    "update sale_draws set removed = array[sha256('x'::bytea)]",
    "update sale_draws set root = sha256('x'::bytea)",
    "update sale_draws set root = null",
    "update sale_draws set ranks = ranks || '\\x00'",
    "update sale_draws set ranks = null",
    "update sale_draws set beacon_value = '00'",
    "update sale_draws set beacon_note = 'other'",
)


@pytest.mark.parametrize("statement", [*PROMISED, *PUBLISHED])
async def test_hand_written_statement_cannot_change_a_draw(shop: Shop, database_url: str, statement: str) -> None:
    sale = await shop.open_draw(60_000)
    await shop.draws.enter(sale.sale_id, ["ann"])
    if statement in PUBLISHED:
        assert isinstance(await shop.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True), Sale)
        assert await Drawing(shop.draws, None, inline).run_once(sale)
    before = await shop.draws.record(sale.sale_id), await shop.sales.get(sale.sale_id)
    hand = await asyncpg.connect(database_url)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await hand.execute(statement)

    await hand.close()
    assert (await shop.draws.record(sale.sale_id), await shop.sales.get(sale.sale_id)) == before


async def test_secrets_are_all_different(shop: Shop) -> None:
    secrets: list[bytes] = []
    for _ in range(50):
        record = await shop.draws.record((await shop.open_draw(60_000)).sale_id)
        assert record is not None
        secrets += [record.seed, record.entry_secret]

    assert len(set(secrets)) == 100
    ones = sum(secret_byte.bit_count() for secret in secrets for secret_byte in secret)
    assert abs(ones - 100 * 128) < 5 * (100 * 256 / 4) ** 0.5
