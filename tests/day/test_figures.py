"""What a sample's figures are made of: on a real ledger, and with a line, a rehearsal or a server that says little."""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from conformance.ledger_bench import HOUR, MINUTE, SECOND, TTL_MS, LedgerBench
from conformance.ledgers import postgres_ledger
from conformance.rehearsals import running
from day.test_monitoring import Room, active, last
from doorbuster.adapters.postgres.monitor import PostgresMonitor
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.domain.alerts import Alert
from doorbuster.domain.rehearsal import shadow_terms
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.image import ImageState, ImageSummary, LineHead
from doorbuster.engine.monitoring import Monitoring
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.stock import ReferenceStockStore


class Line(ReferenceStockStore):
    """A published line of which the test says how it is."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.joined = 0
        self.gone = False

    async def summary(self, sale_id: str) -> ImageSummary | None:
        assert sale_id
        if self.gone:
            return None
        return ImageSummary(
            epoch=1, state=ImageState.SELLING, opens_ms=0, ends_ms=0, limit=1, available=9, stock=9, held=0, pending=0,
            tick=1, run_id="r", waiting=self.waiting,
            line=LineHead(number_next=self.joined, number_high=100, moves_ms=0),
        )  # fmt: skip


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[LedgerBench]:
    """A real one: only that knows lags and what was granted."""
    async with postgres_ledger(database_url, ManualClock()) as ledger:
        yield LedgerBench(ledger)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await connect(database_url)
    yield database
    await database.close()


@pytest.fixture
def room(bench: LedgerBench, database: Database) -> Room:
    return Room(bench, PostgresMonitor(database))


async def half_minutes(room: Room, monitoring: Monitoring, count: int = 1, **codes: int) -> None:
    for _ in range(count):
        await room.half_minute(**codes)
        await monitoring.run_once()


async def moving(room: Room) -> tuple[Sale, Line, Monitoring]:
    """A line that is on, and was looked at once."""
    sale = await room.bench.moved(await room.bench.line(), SaleStatus.ACTIVE)
    room.stock = line = Line()
    monitoring = room.monitoring()
    await half_minutes(room, monitoring)
    return sale, line, monitoring


# ---------------------------------------------------------------------------------------- of the ledger


async def test_each_order_is_granted_in_one_sample(room: Room) -> None:
    """Also one that came after the sale's row was read: the next sample begins where that row ended."""
    sale = await room.bench.sale(quantity_available=9)
    for user in ("ann", "ben", "cem"):
        await room.bench.reserve(sale, user)
    seen = await room.bench.current(sale)
    await room.bench.reserve(sale, "dee")
    now = await room.bench.current(sale)

    first = await room.store.ledger(sale.sale_id, after=sale.log_size, until=seen.log_size)
    second = await room.store.ledger(sale.sale_id, after=seen.log_size, until=now.log_size)

    assert (first.granted, second.granted) == (3, 1)


async def test_orders_and_places_are_decisions_as_refusals_are(room: Room) -> None:
    sale, line, monitoring = await moving(room)
    await room.bench.granted(sale, "ann", 1)
    await room.bench.granted(sale, "ben", 2)
    line.joined += 58
    await half_minutes(room, monitoring, sold_out=30)

    sample = await last(room, sale.sale_id)
    assert sample.granted_per_s == pytest.approx(2 / 30, abs=0.01)
    assert sample.decisions_per_s == pytest.approx((30 + 58 + 2) / 30, abs=0.1)


async def test_decisions_are_not_known_while_the_line_is_not(room: Room) -> None:
    sale, line, monitoring = await moving(room)
    line.gone = True
    await half_minutes(room, monitoring, sold_out=30)
    assert (await last(room, sale.sale_id)).decisions_per_s is None


async def test_hold_that_is_over_and_not_back(room: Room) -> None:
    sale = await room.bench.sale()
    await room.bench.reserve(sale)
    await room.bench.ledger.advance_ms(TTL_MS + 7 * SECOND)
    figures = await room.store.ledger(sale.sale_id, after=0, until=99)
    assert (figures.expiry_lag_ms, figures.recirculation_lag_ms) == (7 * SECOND, 0)


async def test_unit_that_came_back_and_is_not_on_sale(room: Room) -> None:
    sale = await room.bench.sale()
    await room.bench.cancelled(sale)
    await room.bench.ledger.advance_ms(6 * SECOND)
    figures = await room.store.ledger(sale.sale_id, after=0, until=99)
    assert (figures.expiry_lag_ms, figures.recirculation_lag_ms) == (0, 6 * SECOND)


async def test_payment_in_quarantine(room: Room, database_url: str) -> None:
    sale = await room.bench.sale()
    await room.bench.begin_payment(await room.bench.reserve(sale))
    assert (await room.store.ledger(sale.sale_id, after=0, until=99)).quarantined == 0
    connection = await asyncpg.connect(database_url)
    await connection.execute("update payments set quarantined_at = now()")
    await connection.close()
    assert (await room.store.ledger(sale.sale_id, after=0, until=99)).quarantined == 1


async def test_what_is_over_for_a_month_is_forgotten(room: Room) -> None:
    sale_id = await active(room)
    now = room.bench.now_ms()
    over = Alert(rule="drift", value=1, worst=1, opened_ms=now, fired_ms=now, resolved_ms=now)
    await room.store.note_alerts(sale_id, [over])
    await room.store.note_alerts(sale_id, [msgspec.structs.replace(over, rule="blind", resolved_ms=None)])
    await room.bench.ledger.advance_ms(29 * 24 * HOUR)
    assert await room.store.prune() == 0
    await room.bench.ledger.advance_ms(2 * 24 * HOUR)
    assert await room.store.prune() == 1
    assert [alert.rule for alert in await room.store.alerts(sale_id, limit=5)] == ["blind"]


# ---------------------------------------------------------------------------------------- of the line


async def test_line_that_stands_calls_somebody(room: Room) -> None:
    """Units are free and buyers wait: whoever gives them out is gone."""
    sale, line, monitoring = await moving(room)
    line.waiting = 40
    await half_minutes(room, monitoring, 2)
    assert (await last(room, sale.sale_id)).line_stands == 9
    assert [call.key for call in room.bell.rung] == [f"line-stands {sale.sale_id}"]

    await room.bench.granted(sale, "ann", 1)
    await half_minutes(room, monitoring)
    assert (await last(room, sale.sale_id)).line_stands == 0


async def test_line_that_is_empty_or_paused_does_not_stand(room: Room) -> None:
    sale, line, monitoring = await moving(room)
    await half_minutes(room, monitoring, 2)
    assert (await last(room, sale.sale_id)).line_stands == 0
    line.waiting = 40
    await room.bench.moved(sale, SaleStatus.PAUSED)
    await half_minutes(room, monitoring, 2)
    assert (await last(room, sale.sale_id)).line_stands == 0
    assert room.bell.rung == []


async def test_draw_that_was_not_held_does_not_stand(room: Room) -> None:
    sale = await room.bench.moved(await room.bench.sale(mode=SaleMode.DRAW), SaleStatus.ACTIVE)
    room.stock = line = Line()
    line.waiting = 40
    monitoring = room.monitoring()
    await half_minutes(room, monitoring, 3)
    assert (await last(room, sale.sale_id)).line_stands == 0


# ---------------------------------------------------------------------------------------- of a rehearsal


async def test_crowd_of_a_rehearsal_alarms_nobody(room: Room) -> None:
    start = room.bench.now_ms() + 30 * MINUTE
    real = await room.bench.sale(start_ms=start, end_ms=start + HOUR)
    monitoring = room.monitoring(lambda: 9.0)
    found, lease = await running(room.bench, real)
    terms, _ = shadow_terms(real, now_ms=room.bench.now_ms(), seconds=5)
    shadow = await room.bench.ledger.rehearsals.create_shadow(found, lease, room.bench.ids.new_id(), terms)
    assert shadow is not None
    await half_minutes(room, monitoring, 3, ok=10, unavailable=90)
    sample = await last(room, real.sale_id)
    assert sample.rehearsing
    assert (sample.error_rate, sample.p99_ms, sample.answers_per_s, sample.decisions_per_s) == (None,) * 4
    assert (sample.database_pool_share, sample.gates_ready, sample.unread) == (None, 1.0, 0)

    await room.bench.ledger.rehearsals.remove_shadow(shadow.sale_id)
    await half_minutes(room, monitoring, ok=10, unavailable=90)  # the last of its crowd
    sample = await last(room, real.sale_id)
    assert (sample.rehearsing, sample.error_rate) == (False, None)
    assert room.bell.rung == []

    await half_minutes(room, monitoring, 2, ok=10, unavailable=90)
    assert (await last(room, real.sale_id)).error_rate == 0.9
    assert f"error-rate {real.sale_id}" in [call.key for call in room.bell.rung]


# ---------------------------------------------------------------------------------------- of servers


async def test_worker_counts_its_own_connections(room: Room) -> None:
    sale_id = await active(room)
    await half_minutes(room, room.monitoring(lambda: 3.0))
    assert (await last(room, sale_id)).database_pool_share == 3.0


async def test_share_of_a_memory_of_unknown_size_is_not_made_up(room: Room) -> None:
    sale_id = await active(room)
    room.memory.most = 0
    await half_minutes(room, room.monitoring())
    sample = await last(room, sale_id)
    assert (sample.valkey_memory_bytes, sample.valkey_memory_share, sample.unread) == (10, None, 0)


async def test_worst_of_half_a_minute_is_told_until_then(database_url: str) -> None:
    database = await connect(database_url, readers_max=1, writers_max=1)
    try:
        await database.fetch("select 1")
        assert [database.worst_share() for _ in range(16)] == [0.5] * 15 + [0]
    finally:
        await database.close()
