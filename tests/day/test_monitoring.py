"""Samples of a running sale: on both ledgers, with stores that are away, and by two workers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from doorbuster.adapters.postgres.monitor import PostgresMonitor
from doorbuster.adapters.postgres.pool import connect
from doorbuster.agents.monitor import MonitorAgent
from doorbuster.domain.alerts import Alert
from doorbuster.domain.plan import Plan
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.monitoring import SAMPLE_MS, Monitoring, MonitorStore, Sample, Traffic
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.engine.scaling import GateBeat
from doorbuster.reference.fleet import ReferenceFleet, ReferencePages
from doorbuster.reference.monitor import ReferenceMonitor
from doorbuster.reference.stock import ReferenceStockStore
from doorbuster.telemetry import Telemetry


class Bell:
    configured = True

    def __init__(self) -> None:
        self.rung: list[PageCall] = []

    async def page(self, call: PageCall) -> Sequence[str]:
        self.rung.append(call)
        return ["bell"]


class Memory:
    def __init__(self) -> None:
        self.used = 10
        self.most = 100
        self.away = False

    async def memory(self, sale_id: str) -> tuple[int, int]:
        assert sale_id
        if self.away:
            raise StoreUnavailable("valkey is away")
        return self.used, self.most


class Room:
    """Everything that is looked at, and whoever is called."""

    def __init__(self, bench: LedgerBench, store: MonitorStore) -> None:
        self.bench = bench
        self.store = store
        self.bell = Bell()
        self.memory = Memory()
        self.stock = ReferenceStockStore()
        self.fleet = ReferenceFleet(bench.ledger.clock)
        self.on_call = OnCall(ReferencePages(bench.ledger.clock), self.bell)

    def monitoring(self, pool_share: Callable[[], float] = lambda: 0.0) -> Monitoring:
        return Monitoring(
            store=self.store,
            sales=self.bench.sales,
            stock=self.stock,
            memory=self.memory,
            audits=self.bench.audits,
            fleet=self.fleet,
            timeline=self.bench.timeline,
            on_call=self.on_call,
            clock=self.bench.ledger.clock,
            pool_share=pool_share,
        )

    async def half_minute(self, **codes: int) -> None:
        """Answers come, a gate lives, and time passes."""
        traffic = Traffic(codes={code.replace("_", "-"): count for code, count in codes.items()}, took={4: 99, 10: 1})
        if codes:
            await self.store.add_traffic(traffic)
        await self.bench.ledger.advance_ms(SAMPLE_MS)
        await self.fleet.beat(GateBeat(gate_id="g", host="h", pid=1, ready=True, clock_offset_ms=0, pool_share=0.5))


@pytest.fixture
async def room(bench: LedgerBench, postgres: str | None) -> AsyncIterator[Room]:
    if postgres is None:
        yield Room(bench, ReferenceMonitor(bench.ledger.clock))
        return
    database = await connect(postgres)
    try:
        yield Room(bench, PostgresMonitor(database))
    finally:
        await database.close()


async def active(room: Room) -> str:
    sale = await room.bench.sale()
    return (await room.bench.moved(sale, SaleStatus.ACTIVE)).sale_id


async def last(room: Room, sale_id: str) -> Sample:
    [sample, *_] = await room.store.samples(sale_id, before_ms=room.bench.now_ms() + 1, limit=5)
    return sample


async def test_sample_says_what_is_there(room: Room) -> None:
    sale_id = await active(room)
    monitoring = room.monitoring()
    await room.half_minute(ok=60, sold_out=30, unavailable=10)
    assert await monitoring.run_once() == {"sampled": 1, "fired": 0}
    sample = await last(room, sale_id)

    assert (sample.free, sample.held, sample.sold, sample.status) == (2, 0, 0, "ACTIVE")
    assert sample.error_rate == 0.1
    assert sample.answers_per_s == pytest.approx(100 / 30, abs=0.1)
    assert sample.decisions_per_s == 1.0
    assert sample.p99_ms == 2**4 * 0.064
    assert (sample.valkey_memory_share, sample.gates_ready, sample.database_pool_share) == (0.1, 1.0, 0.5)
    assert sample.unread == 0


async def test_two_workers_sample_once(room: Room) -> None:
    sale_id = await active(room)
    first, second = room.monitoring(), room.monitoring()
    for _ in range(3):
        await room.half_minute(ok=1)
        for monitoring in (first, second, first):
            await monitoring.run_once()

    assert len(await room.store.samples(sale_id, before_ms=room.bench.now_ms() + 1, limit=50)) == 3


async def test_sale_is_watched_from_an_hour_before(room: Room) -> None:
    start = room.bench.now_ms() + 2 * HOUR
    await room.bench.sale(start_ms=start, end_ms=start + HOUR)
    monitoring = room.monitoring()
    assert (await monitoring.run_once())["sampled"] == 0
    await room.bench.ledger.advance_ms(HOUR)
    assert (await monitoring.run_once())["sampled"] == 1


async def test_store_that_is_away_is_not_made_up(room: Room) -> None:
    sale_id = await active(room)
    room.memory.away = True
    await room.half_minute(ok=1)
    await room.monitoring().run_once()

    sample = await last(room, sale_id)

    assert (sample.valkey_memory_share, sample.valkey_memory_bytes, sample.waiting, sample.unread) == (
        None,
        None,
        None,
        1,
    )


async def test_alarm_is_raised_once_and_ended(room: Room) -> None:
    sale_id = await active(room)
    monitoring = room.monitoring()
    for bad in (True, True, True, True, False, False, False):
        await room.half_minute(ok=50, unavailable=50 if bad else 0)
        await monitoring.run_once()

    assert [(call.key, call.resolved) for call in room.bell.rung] == [
        (f"error-rate {sale_id}", False),
        (f"error-rate {sale_id}", True),
    ]
    assert "50.0% of all answers" in room.bell.rung[0].text
    [alert] = await room.store.alerts(sale_id, limit=5)
    assert (alert.rule, alert.worst, alert.firing) == ("error-rate", 0.5, False)
    assert await room.store.open_alerts(sale_id) == {}


async def test_thresholds_of_the_plan(room: Room) -> None:
    sale_id = await active(room)
    await room.bench.timeline.set_plan(sale_id, Plan(thresholds={"error-rate": 0.9}), ACTOR)
    monitoring = room.monitoring()
    for _ in range(3):
        await room.half_minute(ok=50, unavailable=50)
        await monitoring.run_once()

    assert room.bell.rung == []


async def test_alarm_that_comes_back_is_a_new_one(room: Room) -> None:
    sale_id = await active(room)
    monitoring = room.monitoring()
    for used in (95, 95, 1, 1, 95, 95):
        room.memory.used = used
        await room.half_minute()
        await monitoring.run_once()

    alerts: Sequence[Alert] = await room.store.alerts(sale_id, limit=5)
    assert [alert.firing for alert in alerts] == [True, False]
    assert [call.resolved for call in room.bell.rung] == [False, True, False]


# ---------------------------------------------------------------------------------------- how alerts end


async def test_alert_ends_with_its_sale(room: Room) -> None:
    sale_id = await active(room)
    monitoring = room.monitoring()
    for _ in range(2):
        await room.half_minute(ok=50, unavailable=50)
        await monitoring.run_once()
    await room.bench.sales.move(sale_id, SaleStatus.ENDED, ACTOR)

    await monitoring.run_once()

    assert await room.store.open_alerts(sale_id) == {}
    [alert] = await room.store.alerts(sale_id, limit=5)
    assert alert.resolved_ms == room.bench.now_ms()
    assert [(call.resolved, call.text) for call in room.bell.rung[1:]] == [(True, "the sale is over")]
    await quiet_day(room, monitoring)


async def quiet_day(room: Room, monitoring: Monitoring) -> None:
    """Nobody is called any more."""
    rung = len(room.bell.rung)
    for _ in range(24 * 2):
        await room.bench.ledger.advance_ms(HOUR // 2)
        await monitoring.run_once()
        await room.on_call.run_once()
    assert room.bell.rung[rung:] == []


async def test_alert_of_a_sale_that_was_put_off_ends(room: Room) -> None:
    start = room.bench.now_ms() + HOUR // 2
    sale = await room.bench.sale(start_ms=start, end_ms=start + HOUR)
    monitoring = room.monitoring()
    for _ in range(2):
        await room.half_minute(ok=50, unavailable=50)
        await monitoring.run_once()
    later = room.bench.terms(start_ms=start + 24 * HOUR, end_ms=start + 25 * HOUR)
    await room.bench.sales.change(sale.sale_id, later, await room.bench.current(sale), ACTOR)

    await monitoring.run_once()

    assert await room.store.open_alerts(sale.sale_id) == {}
    assert [call.resolved for call in room.bell.rung] == [False, True]


async def test_slow_answers_are_over_when_nobody_asks_any_more(room: Room) -> None:
    sale_id = await active(room)
    await room.bench.timeline.set_plan(sale_id, Plan(thresholds={"p99-ms": 1}), ACTOR)
    monitoring = room.monitoring()
    for _ in range(2):
        await room.half_minute(ok=100)
        await monitoring.run_once()
    assert [call.key for call in room.bell.rung] == [f"p99-ms {sale_id}"]
    for _ in range(2):
        await room.half_minute()
        await monitoring.run_once()

    assert (await last(room, sale_id)).p99_ms is None
    assert [call.resolved for call in room.bell.rung] == [False, True]
    assert await room.store.open_alerts(sale_id) == {}


async def test_nobody_misses_gates_after_the_sale(room: Room) -> None:
    """A hold keeps it live: it is looked at until nothing is held."""
    sale = await room.bench.sale()
    await room.bench.moved(sale, SaleStatus.ACTIVE)
    await room.bench.reserve(sale)
    monitoring = room.monitoring()
    for _ in range(2):
        await room.bench.ledger.advance_ms(SAMPLE_MS)
        await monitoring.run_once()
    assert [call.key for call in room.bell.rung] == [f"gates-ready {sale.sale_id}"]
    await room.bench.moved(sale, SaleStatus.ENDED)
    for _ in range(2):
        await room.bench.ledger.advance_ms(SAMPLE_MS)
        await monitoring.run_once()

    assert [call.resolved for call in room.bell.rung] == [False, True]


async def test_page_whose_alert_is_closed_ends(room: Room) -> None:
    """Whoever closed the alert died before it said so."""
    sale_id = await active(room)
    rule, sale = (
        PageCall(key=key, title="t", text="x", sale_id=sale_id) for key in (f"error-rate {sale_id}", f"gates {sale_id}")
    )
    await room.on_call.call(rule)
    await room.on_call.call(sale)
    await room.on_call.call(PageCall(key="ledger", title="t", text="x"))
    monitoring = room.monitoring()

    await monitoring.run_once()
    assert [call.key for call in await room.on_call.matters()] == [sale.key, "ledger"]  # no rule looks after these

    await room.bench.sales.move(sale_id, SaleStatus.ENDED, ACTOR)
    await monitoring.run_once()
    assert [call.key for call in await room.on_call.matters()] == ["ledger"]


async def test_page_of_an_alert_that_fires_stays(room: Room) -> None:
    await active(room)
    monitoring = room.monitoring()
    for _ in range(2):
        await room.half_minute(ok=50, unavailable=50)
        await monitoring.run_once()
    for _ in range(3):
        await monitoring.run_once()
    assert [call.resolved for call in room.bell.rung] == [False]


class Away:
    """A store of sales that does not answer while told so."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.away = True

    async def live(self) -> Sequence[object]:
        if self.away:
            raise StoreUnavailable("postgres is away")
        return await self._room.bench.sales.live()


async def test_ledger_that_is_away_calls_somebody(room: Room) -> None:
    monitoring = room.monitoring()
    sales = Away(room)
    monitoring._sales = sales  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    agent = MonitorAgent(monitoring, room.store, room.on_call, room.bench.ledger.clock)
    for _ in range(8):
        with pytest.raises(StoreUnavailable):
            await agent.run_once(0)
        room.bench.ledger.clock.advance_ms(2_000)
    assert [call.key for call in room.bell.rung] == ["ledger"]

    sales.away = False
    await agent.run_once(0)

    assert [call.resolved for call in room.bell.rung] == [False, True]


async def test_traffic_of_many_gates_is_added(room: Room) -> None:
    now = room.bench.now_ms()
    for _ in range(3):
        await room.store.add_traffic(Traffic(codes={"ok": 2}, took={3: 2}))
    await room.store.add_traffic(Traffic())

    found = await room.store.traffic(now - MINUTE, now + MINUTE)

    assert (dict(found.codes), dict(found.took)) == ({"ok": 6}, {3: 6})
    assert found.quantile_ms(0.5) == 2**3 * 0.064
    assert Traffic().quantile_ms(0.99) is None


def test_counts_that_could_not_be_told_are_told_later() -> None:
    telemetry = Telemetry()
    telemetry.count("unavailable")
    telemetry.took(0.001)
    telemetry.publish()
    codes, took = telemetry.take_traffic()
    assert (dict(codes), dict(took)) == ({"unavailable": 1}, {4: 1})
    telemetry.give_back_traffic(codes, took)
    assert telemetry.take_traffic() == (codes, took)
    assert telemetry.take_traffic() == ({}, {})


async def test_process_says_how_many_calls_wanted_its_connections(database_url: str) -> None:
    """Reads and writes, those that failed too; the worst since it was last asked."""
    database = await connect(database_url, readers_max=2, writers_max=2)
    try:
        assert database.take_share() == 0
        reads = (database.fetch("select pg_sleep(0.05)") for _ in range(5))
        writes = (database.write("select pg_sleep(0.05)") for _ in range(3))
        await asyncio.gather(*reads, *writes, database.fetch("select pg_sleep(0.05), 1 / 0"), return_exceptions=True)
        assert (database.take_share(), database.calls) == (9 / 4, 0)
        await database.fetch("select 1")
        assert database.take_share() == 1 / 4
        assert database.take_share() == 0
    finally:
        await database.close()
