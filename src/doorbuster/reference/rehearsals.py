"""Rehearsals in memory: implements `engine.rehearsal_ports.RehearsalStore`.

Owns: rows in a dictionary, and the shadow sales of the ledger it is given.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import CLEAR_MS, GIVE_WAY_MS, Counted, Sheet, Wish
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import ORDER_LIVE, SALE_OVER, OrderStatus
from doorbuster.engine.ports import Actor, InvariantViolation
from doorbuster.engine.rehearsal_ports import LEASE_MS, Claimed, Rehearsal, RehearsalState
from doorbuster.reference.ledger import ReferenceLedger
from doorbuster.reference.sales import ReferenceSaleStore

_STOPPED = "an operator stopped it"


class _Row(msgspec.Struct):
    """A rehearsal, who runs it and until when."""

    found: Rehearsal
    unwanted: bool = False
    lease: str = ""
    until_ms: int = 0


class ReferenceRehearsals:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self._sales = ReferenceSaleStore(ledger)
        self._rows: dict[str, _Row] = {}

    # ------------------------------------------------------------------------------------------------ the desk

    async def ask(self, rehearsal_id: str, sale_id: str, wish: Wish, actor: Actor) -> Rehearsal | Refusal:
        if rehearsal_id in self._rows:
            return self._rows[rehearsal_id].found
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        if sale.rehearsal_of:
            return Refusal(Code.CONFLICT, "this is a rehearsal itself")
        if self._over(sale):
            return Refusal(Code.CONFLICT, "the sale is over; there is nothing to rehearse")
        near = self._in_the_way(CLEAR_MS)
        if near and not wish.forced:
            return Refusal(Code.CONFLICT, f"sale {near} is on or begins within minutes")
        if self._open() is not None:
            return Refusal(Code.CONFLICT, "a rehearsal is under way; two at once would measure each other")
        found = Rehearsal(
            rehearsal_id=rehearsal_id,
            sale_id=sale_id,
            state=RehearsalState.ASKED,
            wish=wish,
            asked_by=actor.name,
            reason=actor.reason,
            asked_ms=self._now(),
        )
        self._rows[rehearsal_id] = _Row(found=found)
        self._ledger.note(sale_id, "rehearse", actor)
        return found

    async def latest(self, sale_id: str) -> Rehearsal | None:
        mine = [row.found for row in self._rows.values() if row.found.sale_id == sale_id]
        return mine[-1] if mine else None

    async def get(self, rehearsal_id: str) -> Rehearsal | None:
        row = self._rows.get(rehearsal_id)
        return None if row is None else row.found

    async def stop(self, sale_id: str, actor: Actor) -> None:
        row = self._open()
        if row is None or row.found.sale_id != sale_id or row.unwanted:
            return
        row.unwanted = True
        self._ledger.note(sale_id, "rehearse-stop", actor)
        if row.found.state is RehearsalState.ASKED:
            self._close(row, RehearsalState.STOPPED, _STOPPED, None)

    # ------------------------------------------------------------------------------------------------ the worker

    async def claim(self, lease: str) -> Claimed | None:
        row = self._open()
        if row is None:
            return None
        crashed = row.found.state is RehearsalState.RUNNING
        if crashed and row.until_ms >= self._now():
            return None
        hindrance = "" if crashed else self._hindrance(row, CLEAR_MS)
        if hindrance:
            self._close(row, RehearsalState.STOPPED, hindrance, None)
            return None
        row.lease, row.until_ms = lease, self._now() + LEASE_MS
        started = row.found.started_ms or self._now()
        self._change(row, state=RehearsalState.RUNNING, started_ms=started)
        return Claimed(rehearsal=row.found, crashed=crashed, secret=_secret(row))

    async def create_shadow(self, rehearsal: Rehearsal, lease: str, shadow_id: str, terms: SaleTerms) -> Sale | None:
        row = self._ours(rehearsal.rehearsal_id, lease)
        if row is None or (row.found.shadow_sale_id or shadow_id) != shadow_id:
            return None
        self._change(row, shadow_sale_id=shadow_id)
        await self._sales.create(shadow_id, terms, Actor(name=rehearsal.asked_by, reason="a rehearsal"))
        self._ledger.blocked[shadow_id] = set(self._ledger.blocked[rehearsal.sale_id])
        return self._ledger.write_sale(shadow_id, rehearsal_of=rehearsal.sale_id)

    async def renew(self, rehearsal_id: str, lease: str, progress: Mapping[str, Any]) -> str | None:
        row = self._ours(rehearsal_id, lease)
        if row is None:
            return None
        row.until_ms = self._now() + LEASE_MS
        self._change(row, progress=dict(progress))
        return self._hindrance(row, GIVE_WAY_MS)

    async def count(self, shadow_id: str, acknowledged: Mapping[str, str]) -> Counted:
        orders = self._ledger.orders_of(shadow_id)
        live = [order for order in orders if order.status in ORDER_LIVE]
        mine = {order.user_id: 0 for order in live}
        for order in live:
            mine[order.user_id] += order.quantity
        stored = {order.order_id: order.user_id for order in orders}
        return Counted(
            units=sum(mine.values()),
            paid_units=sum(order.quantity for order in live if order.status is OrderStatus.PAID),
            most_per_buyer=max(mine.values(), default=0),
            missing=sum(stored.get(order_id) != buyer for order_id, buyer in acknowledged.items()),
            audit="",
        )

    async def remove_shadow(self, shadow_id: str) -> None:
        sale = self._ledger.sales.get(shadow_id)
        if sale is None:
            return
        if not sale.rehearsal_of:
            raise InvariantViolation(f"sale {shadow_id} is no rehearsal and stays")
        for order in self._ledger.orders_of(shadow_id):
            del self._ledger.orders[order.order_id]
        self._ledger.log.pop(shadow_id, None)
        self._ledger.blocked.pop(shadow_id, None)
        self._ledger.actions = [action for action in self._ledger.actions if action.sale_id != shadow_id]
        del self._ledger.sales[shadow_id]

    async def note(self, rehearsal_id: str, lease: str, words: str, sheet: Sheet | None) -> bool:
        row = self._ours(rehearsal_id, lease)
        if row is not None:
            self._change(row, words=words, sheet=sheet)
        return row is not None

    async def finish(
        self, rehearsal_id: str, lease: str, state: RehearsalState, words: str, sheet: Sheet | None
    ) -> bool:
        row = self._ours(rehearsal_id, lease)
        if row is not None:
            self._close(row, state, words, sheet)
        return row is not None

    async def secrets(self) -> Mapping[str, bytes]:
        running = [row for row in self._rows.values() if row.found.state is RehearsalState.RUNNING]
        return {row.found.rehearsal_id: _secret(row) for row in running}

    # ------------------------------------------------------------------------------------------------ for tests

    def end(self, sheet: Sheet | None, words: str = "") -> None:
        """The one under way ends so, whoever has it."""
        row = self._open()
        assert row is not None
        self._change(row, started_ms=row.found.asked_ms)
        self._close(row, RehearsalState.STOPPED if sheet is None else RehearsalState.DONE, words, sheet)

    # ------------------------------------------------------------------------------------------------ inside

    def _now(self) -> int:
        return self._ledger.clock.now_ms()

    def _open(self) -> _Row | None:
        return next((row for row in self._rows.values() if not row.found.over), None)

    def _ours(self, rehearsal_id: str, lease: str) -> _Row | None:
        row = self._rows.get(rehearsal_id)
        ours = row is not None and row.lease == lease and row.found.state is RehearsalState.RUNNING
        return row if ours else None

    def _change(self, row: _Row, **changes: Any) -> None:
        row.found = msgspec.structs.replace(row.found, **changes)

    def _close(self, row: _Row, state: RehearsalState, words: str, sheet: Sheet | None) -> None:
        row.lease = ""
        self._change(row, state=state, words=words, sheet=sheet, finished_ms=self._now())

    def _hindrance(self, row: _Row, clear_ms: int) -> str:
        if row.unwanted:
            return _STOPPED
        if self._over(self._ledger.sales[row.found.sale_id]):
            return "the sale is over; there is nothing to rehearse"
        other = "" if row.found.wish.forced else self._in_the_way(clear_ms)
        made_way = f"it made way for sale {other}, which is on or about to begin; rehearse again later, or force it"
        return made_way if other else ""

    def _over(self, sale: Sale) -> bool:
        return sale.status in SALE_OVER or sale.end_ms <= self._now()

    def _in_the_way(self, clear_ms: int) -> str:
        """The first real sale that is on, or begins within so long."""
        near = [
            (sale.start_ms, sale.sale_id)
            for sale in self._ledger.sales.values()
            if not self._over(sale) and not sale.rehearsal_of and sale.start_ms <= self._now() + clear_ms
        ]
        return min(near)[1] if near else ""


def _secret(row: _Row) -> bytes:
    return f"secret of {row.found.rehearsal_id}".encode()
