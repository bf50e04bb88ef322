"""Laws that hold after any sequence of commands, whatever was asked and by whom."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doorbuster.domain.order import Hold
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import Sale, terms_of
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.ports import CommitWord
from postgres.ledger import ACTOR, Ledger, a_hold

_hold = st.builds(
    a_hold,
    user=st.sampled_from(["ann", "bob", "eve"]),
    quantity=st.integers(0, 3),
    key=st.sampled_from("kl"),
    digest=st.sampled_from("xy"),
)
_command = st.one_of(
    st.tuples(st.just("commit"), st.lists(_hold, min_size=1, max_size=4)),
    st.tuples(st.just("repeat"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["cancel", "expire", "pay", "return", "tombstone"]), st.integers(0, 9)),
    st.tuples(st.just("stock"), st.integers(1, 6)),
    st.tuples(st.just("move"), st.sampled_from([SaleStatus.PAUSED, SaleStatus.ACTIVE])),
    st.tuples(st.just("epoch"), st.none()),
)


class Play:
    """One sale, the holds that were ever taken for it, and what was promised to whom."""

    def __init__(self, ledger: Ledger, sale: Sale) -> None:
        self._ledger = ledger
        self._sale = sale
        self._holds: list[Hold] = []
        self._acknowledged: set[str] = set()

    async def do(self, command: str, value: Any) -> None:
        ledger, sale_id = self._ledger, self._sale.sale_id
        match command:
            case "commit":
                self._holds += value
                await self._commit(value)
            case "stock":
                seen = await ledger.now(self._sale)
                terms = msgspec.structs.replace(terms_of(seen), quantity_available=value)
                await ledger.sales.change(sale_id, terms, seen, ACTOR)
            case "move":
                await ledger.sales.move(sale_id, value, ACTOR)
            case "epoch":
                await ledger.sales.raise_epoch(sale_id, (await ledger.now(self._sale)).epoch, "lost")
            case _ if self._holds:
                await self._end(command, self._holds[int(value) % len(self._holds)])
            case _:
                pass

    async def _commit(self, holds: list[Hold]) -> None:
        epoch = (await self._ledger.now(self._sale)).epoch
        said = await self._ledger.commit(self._sale, *holds, epoch=epoch)
        for hold, word in zip(holds, said, strict=True):
            assert not (hold.hold_id in self._acknowledged and word is not CommitWord.COMMITTED)
            if word is CommitWord.COMMITTED:
                self._acknowledged.add(hold.hold_id)

    async def _end(self, command: str, hold: Hold) -> None:
        ledger = self._ledger
        match command:
            case "repeat":
                await self._commit([hold])
            case "cancel":
                await ledger.orders.cancel(hold.hold_id, user_id=hold.user_id, actor=ACTOR)
            case "expire":
                order = await ledger.orders.get(hold.hold_id)
                if order is not None:
                    await ledger.make_due(order)
                await ledger.orders.expire_due(limit=3)
            case "pay":
                await ledger.pay(hold.hold_id)
            case "return":
                await ledger.sql.execute("select return_order($1)", hold.hold_id)
            case _:
                await ledger.orders.tombstone(self._sale.sale_id, [hold])

    async def check(self) -> None:
        """I1, I2, I6 and I15 by the audit; I4 and I5 by what was promised."""
        ledger, sale_id = self._ledger, self._sale.sale_id
        report = await ledger.audit(self._sale)
        assert report.drifts == ()
        stored = {row["order_id"] for row in await ledger.sql.fetch("select order_id::text from sale_orders")}
        assert self._acknowledged <= stored  # I4
        sale = await ledger.now(self._sale)
        assert (sale.status is SaleStatus.SOLD_OUT) <= (sale.quantity_sold == sale.quantity_available)  # I14
        live = await ledger.orders.live_hold_ids(sale_id)
        held = [hold async for chunk in ledger.sales.image_rows(sale_id, 2) for hold in chunk.holds]
        assert {hold.hold_id for hold in held} == live
        assert sum(hold.quantity for hold in held) == sale.quantity_sold


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(commands=st.lists(_command, min_size=1, max_size=12), limit=st.integers(1, 3))
async def test_units_are_conserved_by_any_command_sequence(
    ledger: Ledger, commands: list[tuple[str, Any]], limit: int
) -> None:
    sale = await ledger.sale(quantity_available=4, per_user_limit=limit)
    play = Play(ledger, sale)

    for command, value in commands:
        await play.do(command, value)
        await play.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(holds=st.lists(_hold, min_size=1, max_size=12), cut=st.integers(0, 12))
async def test_batches_decide_as_single_holds_do(ledger: Ledger, holds: list[Hold], cut: int) -> None:
    together, apart = [await ledger.sale(quantity_available=5, per_user_limit=3) for _ in range(2)]
    copies = [a_hold(hold.user_id, quantity=hold.quantity, key=hold.key, digest=hold.digest) for hold in holds]

    in_batches = [*await ledger.commit(together, *holds[:cut]), *await ledger.commit(together, *holds[cut:])]
    one_by_one = [word for hold in copies for word in await ledger.commit(apart, hold)]

    assert in_batches == one_by_one
    assert (await ledger.now(together)).quantity_sold == (await ledger.now(apart)).quantity_sold


async def test_refused_change_is_a_refusal(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=2)
    await ledger.commit(sale, a_hold("ann"), a_hold("bob"))
    seen = await ledger.now(sale)

    answer = await ledger.sales.change(
        sale.sale_id, msgspec.structs.replace(terms_of(seen), quantity_available=1), seen, ACTOR
    )

    assert isinstance(answer, Refusal)
