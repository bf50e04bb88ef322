"""What the reference stores have besides the ports: damage that is refused, servers that forget, wires that fail."""

import copy
from collections.abc import Callable
from uuid import UUID

import msgspec
import pytest

from conformance.ledger_bench import ACTOR, LedgerBench
from conformance.ledgers import MemoryLedger
from conformance.stock_bench import EPOCH, NOW, SALE, StockBench, ask, image
from doorbuster.domain.audit import compare
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown, StoreUnavailable, TakeWord
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.faults import Fault, Faults, faulty
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.stock import ReferenceStockStore


@pytest.fixture
def memory() -> MemoryLedger:
    return MemoryLedger(ManualClock())


@pytest.fixture
def bench(memory: MemoryLedger) -> LedgerBench:
    return LedgerBench(memory)


async def test_ledger_refuses_to_sell_more_than_there_is(bench: LedgerBench, memory: MemoryLedger) -> None:
    sale = await bench.sale()

    for changes in ({"quantity_sold": 3}, {"quantity_sold": -1}, {"quantity_paid": 1}):
        with pytest.raises(InvariantViolation):
            memory.rows.write_sale(sale.sale_id, **changes)

    assert await bench.current(sale) == sale


async def test_closed_order_is_never_written_open(bench: LedgerBench, memory: MemoryLedger) -> None:
    sale = await bench.sale()
    order = await bench.cancelled(sale)

    with pytest.raises(InvariantViolation):
        memory.rows.write_order(order, status=OrderStatus.RESERVED)

    assert await bench.order(order) == order


async def test_order_is_paid_once(bench: LedgerBench, memory: MemoryLedger) -> None:
    sale = await bench.sale()
    paid, closed = await bench.reserve(sale, "ann"), await bench.cancelled(sale, "bob")
    assert memory.rows.mark_paid("nobody's") is None
    first = memory.rows.mark_paid(paid.order_id)
    before = await bench.state(sale)

    assert memory.rows.mark_paid(paid.order_id) == first
    assert memory.rows.mark_paid(closed.order_id) == closed

    assert await bench.state(sale) == before


DAMAGE: dict[str, tuple[Callable[[ReferenceLedger, str], object], str]] = {
    "allowance too small": (
        lambda rows, sale_id: rows.allowances[sale_id].update(ann=-1),
        "I6 eligibility = units of live orders",
    ),
    "buyer over the limit": (
        lambda rows, sale_id: rows.sales.update(
            {sale_id: msgspec.structs.replace(rows.sales[sale_id], per_user_limit=1)}
        ),
        "I6 eligibility = units of live orders",
    ),
    "count of units": (
        lambda rows, sale_id: rows.sales.update(
            {sale_id: msgspec.structs.replace(rows.sales[sale_id], quantity_sold=1)}
        ),
        "I2 quantity_sold = units of live orders",
    ),
    "row of the log": (
        lambda rows, sale_id: rows.log[sale_id].__setitem__(
            2, msgspec.structs.replace(rows.log[sale_id][2], quantity=1)
        ),
        "I15 log is whole",
    ),
    "end of the log": (lambda rows, sale_id: rows.log[sale_id].pop(), "I15 log length"),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_to_the_ledger_is_named(bench: LedgerBench, memory: MemoryLedger, name: str) -> None:
    damage, law = DAMAGE[name]
    sale = await bench.sale(quantity_available=9, per_user_limit=2)
    await bench.reserve(sale, "ann", quantity=2)
    await bench.assert_in_step(sale)

    damage(memory.rows, sale.sale_id)

    assert law in [drift.law for drift in compare(await bench.facts(sale), None, at_ms=0).drifts]


async def test_what_is_done_to_a_sale_is_noted(bench: LedgerBench, memory: MemoryLedger) -> None:
    sale = await bench.sale()
    await bench.cancelled(sale)
    await bench.moved(sale, SaleStatus.PAUSED)
    await bench.sales.set_blocked(sale.sale_id, ["ann"], ACTOR)

    done = [(action.what, action.actor) for action in memory.rows.actions if action.what != "rebuild"]

    assert done == [(what, ACTOR) for what in ("create", "cancel", "move", "blocklist")]


# ---------------------------------------------------------------------------------------------------- the server


async def published() -> tuple[ReferenceStockStore, StockBench]:
    stock = ReferenceStockStore()
    bench = StockBench(stock)
    await bench.publish()
    await bench.take(ask(1))
    return stock, bench


async def test_server_that_restarts_has_another_name_and_its_data() -> None:
    stock, bench = await published()
    before, name = await bench.held(), await stock.run_id(SALE)

    stock.restart()

    assert await bench.held() == before
    assert await stock.run_id(SALE) != name


async def test_build_does_not_outlive_its_server() -> None:
    """Part of what was written may be lost with the process that took it (S4)."""
    stock, bench = await published()
    assert await stock.begin_image(SALE, EPOCH + 1)

    stock.restart()

    assert await stock.publish_image(SALE, EPOCH + 1, image()) is None
    assert await bench.words(ask(2)) == [TakeWord.NO_IMAGE]
    assert await stock.begin_image(SALE, EPOCH + 1)


async def test_server_thrown_back_has_what_it_had() -> None:
    stock, bench = await published()
    before, images = await bench.state(), stock.snapshot()
    await bench.take(ask(2))

    stock.throw_back(images)

    assert await bench.state() == before
    await bench.take(ask(3))
    stock.throw_back(images)
    assert await bench.state() == before


async def test_emptied_server_has_nothing() -> None:
    stock, bench = await published()

    stock.empty()

    assert await bench.state() == (None, {}, {}, [])


async def test_lost_stock_is_no_image_until_it_is_built_anew() -> None:
    stock, bench = await published()

    stock.lose_stock_key(SALE)

    assert await stock.summary(SALE) is None
    assert await bench.words(ask(2)) == [TakeWord.NO_IMAGE]
    assert not await stock.begin_image(SALE, EPOCH)
    await bench.publish(epoch=EPOCH + 1)
    assert await bench.words(ask(2), now_ms=NOW) == [TakeWord.HELD]


async def test_copy_of_a_store_shares_the_count_of_restarts() -> None:
    """A store thrown back to a copy never has a name it had before."""
    stock, _ = await published()
    names = {await stock.run_id(SALE)}
    old = copy.deepcopy(vars(stock))

    for _ in range(3):
        vars(stock).update(copy.deepcopy(old))
        stock.restart()
        names.add(await stock.run_id(SALE))

    assert len(names) == 4


# ---------------------------------------------------------------------------------------------------- wires


async def test_call_that_does_not_arrive_does_nothing() -> None:
    stock, bench = await published()
    faults = Faults()
    faults.script("release", Fault.NOT_EXECUTED)
    before = await bench.state()

    with pytest.raises(StoreUnavailable):
        await faulty(stock, faults).release(SALE, [], epoch=EPOCH)

    assert await bench.state() == before


async def test_lost_reply_is_lost_after_the_call() -> None:
    stock, bench = await published()
    faults = Faults()
    faults.script("drop_image", Fault.NONE, Fault.REPLY_LOST)
    wire = faulty(stock, faults)
    await wire.drop_image("another sale")

    with pytest.raises(OutcomeUnknown):
        await wire.drop_image(SALE)

    assert await stock.summary(SALE) is None
    assert await bench.held() == {}
    assert faults.happened["drop_image", Fault.REPLY_LOST] == 1


@pytest.mark.parametrize(("fault", "parts"), [(Fault.NOT_EXECUTED, 0), (Fault.REPLY_LOST, 1), (Fault.NONE, 2)])
async def test_reading_in_parts_breaks_off(bench: LedgerBench, fault: Fault, parts: int) -> None:
    sale = await bench.sale()
    await bench.reserve(sale, "ann")
    await bench.reserve(sale, "bob")
    faults, read = Faults(), 0
    faults.script("image_rows", fault)

    try:
        async for _ in faulty(bench.sales, faults).image_rows(sale.sale_id, 1):
            read += 1
    except StoreUnavailable:
        assert fault is not Fault.NONE

    assert read == parts


async def test_same_seed_gives_the_same_faults() -> None:
    async def drawn(seed: int) -> list[Fault]:
        faults = Faults(seed, not_executed=0.3, reply_lost=0.3)
        return [faults.draw("take") for _ in range(50)]

    assert await drawn(1) == await drawn(1) != await drawn(2)
    assert set(await drawn(1)) == set(Fault)


# ---------------------------------------------------------------------------------------------------- time and ids


def test_time_passes_only_when_told() -> None:
    clock = ManualClock(1_000)
    clock.advance_ms(500)

    assert (clock.now_ms(), clock.monotonic(), clock.trusted) == (1_500, 1.5, True)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance_ms(-1)
    assert clock.now_ms() == 1_500


def test_seeded_ids_rise_and_are_well_formed() -> None:
    ids, again, other = SeededIds(1), SeededIds(1), SeededIds(2)
    made = [ids.new_id() for _ in range(100)]

    assert made == sorted(set(made)) == [again.new_id() for _ in range(100)]
    assert not set(made) & {other.new_id() for _ in range(100)}
    assert {(UUID(text).version, UUID(text).variant) for text in made} == {(7, UUID(made[0]).variant)}
    assert all(0 <= ids.jitter() < 1 for _ in range(100))
