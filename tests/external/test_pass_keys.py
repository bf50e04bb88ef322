"""The keys of passes through their whole life, on each kind of ledger: made once, rotated with passes out, dropped."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import msgspec
import pytest

from conformance.ledgers import PostgresLedger, postgres_ledger
from doorbuster.adapters.postgres.external import PostgresPassKeyStore
from doorbuster.adapters.postgres.pool import connect
from doorbuster.domain import limits
from doorbuster.domain.order import Order
from doorbuster.domain.passes import KEY_AHEAD_MS, KEY_KEPT_MS, KeyState
from doorbuster.domain.sale import PaymentMode, Sale, SaleTerms
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.passes import Passes, PassKeyStore
from doorbuster.engine.ports import Actor
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.external import ReferencePassKeyStore
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.sales import ReferenceSaleStore

OPERATOR = Actor(name="operator", reason="test")


class Bench:
    """Keys of one kind in invented time, and gates that have read them."""

    def __init__(self, clock: ManualClock, sale: Sale, *stores: PassKeyStore, sql: PostgresLedger | None) -> None:
        self.clock = clock
        self.sale = sale
        self.sql = sql
        self._board = SaleBoard(ReferenceSaleStore(ReferenceLedger(clock)), clock)
        self._stores = itertools.cycle(stores)
        self._orders = 0

    async def gate(self) -> Passes:
        """A gate that has just started."""
        passes = Passes(next(self._stores), self._board, self.clock, issuer="doorbuster", audience="shop")
        await passes.refresh()
        return passes

    async def advance_ms(self, by_ms: int) -> None:
        if self.sql is None:
            self.clock.advance_ms(by_ms)
        else:
            await self.sql.advance_ms(by_ms)

    def order(self, *, ttl_ms: int = 600_000) -> Order:
        """Reserved now."""
        self._orders += 1
        now = self.clock.now_ms()
        return Order(
            order_id=f"order-{self._orders}",
            sale_id=self.sale.sale_id,
            user_id="ann",
            quantity=1,
            amount_cents=1999,
            currency="USD",
            status=OrderStatus.RESERVED,
            reserved_ms=now,
            expires_ms=now + ttl_ms,
        )

    def pass_of(self, gate: Passes, order: Order) -> str:
        text = gate.of(self.sale, order)
        assert text is not None
        return text


async def _sale(clock: ManualClock) -> Sale:
    terms = SaleTerms(
        product_id="p", title="t", quantity_available=1, price_cents=1999, currency="USD",
        start_ms=clock.now_ms(), end_ms=clock.now_ms() + 1, payment_mode=PaymentMode.EXTERNAL,
    )  # fmt: skip
    return await ReferenceSaleStore(ReferenceLedger(clock)).create("sale", terms, OPERATOR)


@asynccontextmanager
async def bench_on(url: str) -> AsyncGenerator[Bench]:
    clock = ManualClock()
    if not url:
        yield Bench(clock, await _sale(clock), ReferencePassKeyStore(clock), sql=None)
        return
    async with postgres_ledger(url, clock) as ledger:
        databases = [await connect(url) for _ in range(8)]
        try:
            stores = [PostgresPassKeyStore(database) for database in databases]
            yield Bench(clock, await _sale(clock), *stores, sql=ledger)
        finally:
            await asyncio.gather(*(database.close() for database in databases))


@pytest.fixture
async def bench(ledger: str) -> AsyncGenerator[Bench]:
    async with bench_on(ledger) as bench:
        yield bench


def kids(gate: Passes) -> list[str]:
    return [key["kid"] for key in msgspec.json.decode(gate.published)["keys"]]


def kid_of(text: str) -> str:
    return str(jwt.get_unverified_header(text)["kid"])


def opens(gate: Passes, text: str) -> bool:
    """Whether a shop that has just fetched the keys from this gate takes the pass, its time apart."""
    keys = jwt.PyJWKSet.from_dict(msgspec.json.decode(gate.published))
    found: dict[str, Any] = {key.key_id or "": key for key in keys.keys}
    if kid_of(text) not in found:
        return False
    options: Any = {"verify_exp": False, "verify_iat": False}
    jwt.decode(text, found[kid_of(text)], algorithms=["EdDSA"], audience="shop", issuer="doorbuster", options=options)
    return True


async def test_gates_that_start_at_once_have_one_key(bench: Bench) -> None:
    gates = await asyncio.gather(*(bench.gate() for _ in range(16)))

    published = {gate.published for gate in gates}
    assert len(published) == 1
    assert len(kids(gates[0])) == 1


async def test_two_gates_make_one_pass(bench: Bench) -> None:
    order = bench.order()

    passes = {bench.pass_of(await bench.gate(), order) for _ in range(3)}

    assert len(passes) == 1


async def test_new_key_is_published_for_an_hour_before_it_signs(bench: Bench) -> None:
    gate = await bench.gate()
    [old] = kids(gate)

    states = {state: key for key, state in await gate.rotate(OPERATOR, leaked=False)}

    new = states[KeyState.NEXT].key_id
    assert kids(gate) == [new, old]
    assert states[KeyState.SIGNING].key_id == old
    await bench.advance_ms(KEY_AHEAD_MS - 1)
    assert kid_of(bench.pass_of(gate, bench.order())) == old
    await bench.advance_ms(1)
    assert kid_of(bench.pass_of(gate, bench.order())) == new


async def test_gate_that_reads_no_keys_for_an_hour_changes_over_in_time(bench: Bench) -> None:
    """It knows the hour in advance: a ledger that is silent at that moment changes nothing."""
    idle = await bench.gate()
    await (await bench.gate()).rotate(OPERATOR, leaked=False)
    await idle.refresh()
    await bench.advance_ms(KEY_AHEAD_MS)
    order = bench.order()

    assert bench.pass_of(idle, order) == bench.pass_of(await bench.gate(), order)


async def test_rotation_changes_no_pass_that_is_out(bench: Bench) -> None:
    gate, order = await bench.gate(), bench.order(ttl_ms=86_400_000)
    before = bench.pass_of(gate, order)

    await gate.rotate(OPERATOR, leaked=False)
    await bench.advance_ms(KEY_AHEAD_MS + 1)

    late = await bench.gate()
    assert bench.pass_of(gate, order) == bench.pass_of(late, order) == before
    assert opens(late, before)


async def test_old_key_is_published_until_the_last_pass_it_signed_is_over(bench: Bench) -> None:
    gate = await bench.gate()
    [old] = kids(gate)
    await gate.rotate(OPERATOR, leaked=False)
    await bench.advance_ms(KEY_AHEAD_MS - 1)
    last = bench.order(ttl_ms=limits.CHECKOUT_TTL_SECONDS_MAX * 1000)
    text = bench.pass_of(gate, last)
    assert kid_of(text) == old

    await bench.advance_ms(last.expires_ms - bench.clock.now_ms())

    assert opens(await bench.gate(), text)
    await bench.advance_ms(KEY_KEPT_MS - limits.CHECKOUT_TTL_SECONDS_MAX * 1000)
    assert opens(await bench.gate(), text)
    await bench.advance_ms(1)
    assert old not in kids(await bench.gate())


async def test_rotating_again_within_the_hour_changes_nothing(bench: Bench) -> None:
    gate = await bench.gate()
    await gate.rotate(OPERATOR, leaked=False)
    once = kids(gate)

    gates = [await bench.gate() for _ in range(8)]
    await asyncio.gather(*(other.rotate(OPERATOR, leaked=False) for other in gates))

    assert [kids(other) for other in gates] == [once] * 8


async def test_three_rotations_leave_what_is_still_needed(bench: Bench) -> None:
    gate = await bench.gate()
    for _ in range(3):
        await gate.rotate(OPERATOR, leaked=False)
        await bench.advance_ms(KEY_AHEAD_MS)
    assert len(kids(await bench.gate())) == 4

    await bench.advance_ms(KEY_KEPT_MS)

    assert len(kids(await bench.gate())) == 1


async def test_leaked_key_opens_nothing_any_more_and_old_orders_get_new_passes(bench: Bench) -> None:
    gate, order = await bench.gate(), bench.order()
    leaked = bench.pass_of(gate, order)
    await gate.rotate(OPERATOR, leaked=False)

    await gate.rotate(OPERATOR, leaked=True)

    assert not opens(gate, leaked)
    assert len(kids(gate)) == 1
    assert opens(gate, bench.pass_of(gate, order))
    assert bench.pass_of(await bench.gate(), order) == bench.pass_of(gate, order)


async def test_key_that_has_left_is_deleted_with_the_next_rotation(database_url: str) -> None:
    """A private key that nobody needs is nowhere."""
    async with bench_on(database_url) as bench:
        gate = await bench.gate()
        await gate.rotate(OPERATOR, leaked=False)
        await bench.advance_ms(KEY_AHEAD_MS + KEY_KEPT_MS + 1)
        await gate.rotate(OPERATOR, leaked=False)

        assert bench.sql is not None
        assert await bench.sql.sql.fetchval("select count(*) from pass_keys") == 2
        made = await bench.sql.sql.fetch("select made_by, reason from pass_keys order by made_at")
        assert [tuple(row.values()) for row in made] == [("operator", "test")] * 2


async def test_secret_is_not_shown(bench: Bench) -> None:
    for key, _ in await (await bench.gate()).keys():
        assert key.secret.hex() not in f"{key!r} {key}"
        assert str(key.secret) not in f"{key!r} {key}"
        assert key.secret.hex() not in f"{bench.__dict__}"
