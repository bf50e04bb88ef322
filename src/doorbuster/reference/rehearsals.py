"""Rehearsals in memory: implements `engine.rehearsal_ports.RehearsalDesk`.

Owns: rows in a dictionary. How one is run needs real servers; here a test says how it ended (`end`).
"""

import msgspec

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import CLEAR_MS, Sheet, Wish
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.ports import Actor, Clock, SaleStore
from doorbuster.engine.rehearsal_ports import Rehearsal, RehearsalState


class ReferenceRehearsals:
    def __init__(self, sales: SaleStore, clock: Clock) -> None:
        self._sales = sales
        self._clock = clock
        self._rows: dict[str, Rehearsal] = {}
        self.unwanted: set[str] = set()

    async def ask(self, rehearsal_id: str, sale_id: str, wish: Wish, actor: Actor) -> Rehearsal | Refusal:
        sale, now = await self._sales.get(sale_id), self._clock.now_ms()
        if sale is None:
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        if sale.status in SALE_OVER or sale.end_ms <= now:
            return Refusal(Code.CONFLICT, "the sale is over; there is nothing to rehearse")
        near = [
            other.sale_id
            for other in await self._sales.live()
            if other.status not in SALE_OVER and other.start_ms <= now + CLEAR_MS and other.end_ms > now
        ]
        if near and not wish.forced:
            return Refusal(Code.CONFLICT, f"sale {near[0]} is on or begins within minutes")
        if any(not row.over for row in self._rows.values()):
            return Refusal(Code.CONFLICT, "a rehearsal is under way; two at once would measure each other")
        self._rows[rehearsal_id] = Rehearsal(
            rehearsal_id=rehearsal_id,
            sale_id=sale_id,
            state=RehearsalState.ASKED,
            wish=wish,
            asked_by=actor.name,
            reason=actor.reason,
            asked_ms=now,
        )
        return self._rows[rehearsal_id]

    async def latest(self, sale_id: str) -> Rehearsal | None:
        mine = [row for row in self._rows.values() if row.sale_id == sale_id]
        return mine[-1] if mine else None

    async def get(self, rehearsal_id: str) -> Rehearsal | None:
        return self._rows.get(rehearsal_id)

    async def stop(self, sale_id: str) -> None:
        self.unwanted |= {row.rehearsal_id for row in self._rows.values() if row.sale_id == sale_id and not row.over}

    def end(self, sheet: Sheet | None, words: str = "") -> None:
        """The one under way ends so."""
        [row] = [row for row in self._rows.values() if not row.over]
        state = RehearsalState.DONE if sheet is not None else RehearsalState.STOPPED
        self._rows[row.rehearsal_id] = msgspec.structs.replace(
            row, state=state, sheet=sheet, words=words, started_ms=row.asked_ms, finished_ms=self._clock.now_ms()
        )
