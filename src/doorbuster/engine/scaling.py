"""Has enough gates ready when a sale begins, and says so in time when there are not.

Owns: the steps `scale-up` and `scale-check`, and going back to normal after the sale. What is asked for is a number of
gates, never "more": asking twice changes nothing. Read next: `domain/scaling.py`, `adapters/scaling/`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.scaling import AHEAD_MS, gates_wanted
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.day_ports import Asked, Detail, PageCall, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import SaleStore
from doorbuster.engine.timeline_ports import TimelineStore

STALE_MS: Final = 10_000
"""A gate that was not heard of for this long is not there: five beats."""


class GateBeat(msgspec.Struct, frozen=True, kw_only=True):
    """`clock_offset_ms`: the database's clock less that of the gate's machine. Nothing goes by the latter."""

    gate_id: str
    host: str
    pid: int
    ready: bool
    clock_offset_ms: int
    busy: float = 0.0
    """Share of a core it used since its last beat."""
    pool_share: float = 0.0
    """Calls to PostgreSQL under way at one time, at the worst since its last beat, by the connections it may have.
    Above 1 calls waited for a connection."""
    started_ms: int = 0
    beat_ms: int = 0


class Fleet(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def beat(self, beat: GateBeat) -> None: ...
    async def leave(self, gate_id: str) -> None: ...
    async def gates(self) -> Sequence[GateBeat]:
        """Those heard of within `STALE_MS`, by the store's clock."""
        ...


class Scaler(Protocol):
    """Whoever starts and stops gates."""

    @property
    def how(self) -> str: ...

    async def scale(self, gates: int, sale_id: str) -> Detail:
        """Ask for so many gates in all; they come when they come. StepFailed if it was refused."""
        ...


class Scaling:
    def __init__(
        self,
        *,
        fleet: Fleet,
        scaler: Scaler | None,
        sales: SaleStore,
        timeline: TimelineStore,
        on_call: OnCall,
        capacity: float,
        most: int,
    ) -> None:
        self._fleet = fleet
        self._scaler = scaler
        self._sales = sales
        self._timeline = timeline
        self._on_call = on_call
        self._capacity = capacity
        self._most = most

    async def scale_up(self, asked: Asked) -> Detail:
        _needs_a_number(asked)
        wanted = await self._wanted(asked)
        detail = {"wanted": wanted, "ready": await self._ready()}
        if self._scaler is None:
            raise StepSkipped(f"DOORBUSTER_SCALE names nobody; {wanted} gates are wanted, {detail['ready']} are ready")
        return {**detail, "how": self._scaler.how, **await self._scaler.scale(wanted, asked.sale.sale_id)}

    async def scale_check(self, asked: Asked) -> Detail:
        """Two minutes before the start: whoever can still do something has to know."""
        _needs_a_number(asked)
        wanted, ready = await self._wanted(asked), await self._ready()
        detail: dict[str, object] = {"wanted": wanted, "ready": ready}
        key = f"gates {asked.sale.sale_id}"
        if ready >= wanted:
            await self._on_call.resolve(key, f"{ready} gates are ready, {wanted} are wanted")
            return detail
        words = f"{ready} of {wanted} gates are ready"
        call = PageCall(
            key=key,
            title=f"{words} for {asked.sale.title}",
            text=f"{words}, and the sale {asked.sale.sale_id} begins soon. Start gates, or put the sale off: "
            "docs/operating/emergencies.md, too few gates.",
            sale_id=asked.sale.sale_id,
        )
        detail["paged"] = list(await self._on_call.call(call))  # first: a scaler in trouble is the likeliest reason
        if self._scaler is not None:
            try:
                await self._scaler.scale(wanted, asked.sale.sale_id)  # it may have forgotten, or lost some since
            except StepFailed as problem:
                words = f"{words}; {problem}"
        raise StepFailed(words, detail)

    async def stand_down(self, asked: Asked) -> Detail:
        """After the end: what the sales still to come need, and no more."""
        await self._on_call.resolve(f"gates {asked.sale.sale_id}", "the sale is over")
        if self._scaler is None or not asked.plan.expected_crowd:
            return {}
        return {"gates": (wanted := await self._wanted(asked))} | dict(
            await self._scaler.scale(wanted, asked.sale.sale_id)
        )

    async def _ready(self) -> int:
        return sum(gate.ready for gate in await self._fleet.gates())

    async def _wanted(self, asked: Asked) -> int:
        """For all sales that are on, or about to be, together."""
        crowds = [
            (await self._timeline.plan(sale.sale_id)).expected_crowd
            for sale in await self._sales.live()
            if sale.status not in SALE_OVER
            and (sale.start_ms - AHEAD_MS <= asked.now_ms or sale.sale_id == asked.sale.sale_id)
        ]
        return gates_wanted(crowds, capacity=self._capacity, most=self._most)


def _needs_a_number(asked: Asked) -> None:
    if not asked.plan.expected_crowd:
        raise StepSkipped("nobody said how many come; set expected_crowd in the plan")
