"""Has enough gates ready when a sale begins, and says so in time when there are not.

Owns: the steps `scale-up` and `scale-check`, and going back to normal after the sale. What is asked for is a number of
gates, never "more": asking twice changes nothing. Read next: `domain/scaling.py`, `adapters/scaling/`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.scaling import AHEAD_MS, gates_needed, gates_wanted
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.day_ports import Asked, Detail, PageCall, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import SaleStore
from doorbuster.engine.timeline_ports import TimelineStore

STALE_MS: Final = 10_000
"""A gate that was not heard of for this long is not there: five beats."""

ASK_S: Final = 45.0
"""Of the minute that an attempt has: what was counted is shown also if whoever starts gates hangs."""
_ATTEMPTS_UNHEARD: Final = 5
"""Somebody who starts gates and refuses is asked this often, for a minute or so, before a person is called."""


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
    """Calls to PostgreSQL under way at one time, at the worst in the last half minute, by the connections it may have.
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


class _Number(msgspec.Struct, frozen=True, kw_only=True):
    """Gates: `wanted` is what the crowd needs within what may be asked for, `there` those that live, ready or not."""

    needed: int
    wanted: int
    ready: int
    there: int

    @property
    def asked(self) -> int:
        """Before a sale nobody is sent away who is there already."""
        return max(self.wanted, self.there)

    @property
    def detail(self) -> dict[str, object]:
        more = {"needed": self.needed} if self.needed > self.wanted else {}
        return {"wanted": self.wanted, "ready": self.ready, **more}


class Scaling:
    """`least` and `most`: no fewer and no more are asked for."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        scaler: Scaler | None,
        sales: SaleStore,
        timeline: TimelineStore,
        on_call: OnCall,
        capacity: float,
        least: int = 1,
        most: int,
        ask_s: float = ASK_S,
    ) -> None:
        self._fleet = fleet
        self._scaler = scaler
        self._sales = sales
        self._timeline = timeline
        self._on_call = on_call
        self._capacity = capacity
        self._least = least
        self._most = most
        self._ask_s = ask_s

    async def scale_up(self, asked: Asked) -> Detail:
        _needs_a_number(asked)
        number, sale = await self._number(asked), asked.sale
        if self._scaler is None:
            raise StepSkipped(
                f"DOORBUSTER_SCALE names nobody; {number.wanted} gates are wanted, {number.ready} are ready"
            )
        key = f"scale-up {sale.sale_id}"
        try:
            answer = await self._scaler.scale(number.asked, sale.sale_id)
        except StepFailed as problem:
            if asked.attempt >= _ATTEMPTS_UNHEARD:
                title = f"Nobody starts gates for {sale.title}"
                text = f"{problem}. {number.wanted} gates are wanted, {number.ready} are ready. It is tried again."
                await self._on_call.call(
                    PageCall(key=key, title=title, text=text, severity="warning", sale_id=sale.sale_id)
                )
            raise StepFailed(str(problem), number.detail, told=True) from problem
        await self._on_call.resolve(key, f"{number.asked} gates were asked for")
        return {**number.detail, "how": self._scaler.how, **answer}

    async def scale_check(self, asked: Asked) -> Detail:
        """Two minutes before the start: whoever can still do something has to know."""
        _needs_a_number(asked)
        number, sale = await self._number(asked), asked.sale
        detail, enough = number.detail, max(number.wanted, number.needed)
        key = f"gates {sale.sale_id}"
        if number.ready >= enough:
            for matter in (key, f"scale-up {sale.sale_id}"):
                await self._on_call.resolve(matter, f"{number.ready} gates are ready, {enough} are wanted")
            return detail
        words = f"{number.ready} of {enough} gates are ready"
        if enough > number.wanted:
            words += f", and DOORBUSTER_SCALE_GATES_MAX is {self._most}"
        call = PageCall(
            key=key,
            title=f"{words} for {sale.title}",
            text=f"{words}, and the sale {sale.sale_id} begins soon. Start gates, or put the sale off: "
            "docs/operating/emergencies.md, too few gates.",
            sale_id=sale.sale_id,
        )
        detail["paged"] = list(await self._on_call.call(call))  # first: a scaler in trouble is the likeliest reason
        problem = await self._ask_again(number, sale.sale_id)
        raise StepFailed("; ".join(filter(None, (words, problem))), detail, told=True)

    async def _ask_again(self, number: _Number, sale_id: str) -> str:
        """Whoever starts gates may have forgotten, or lost some since. Returns what is wrong with that."""
        if self._scaler is None:
            return ""
        try:
            async with asyncio.timeout(self._ask_s):
                await self._scaler.scale(number.asked, sale_id)
        except StepFailed as problem:
            return str(problem)
        except TimeoutError:
            return f"{self._scaler.how} does not answer"
        return ""

    async def stand_down(self, asked: Asked) -> Detail:
        """After the end: what the sales still to come need, and no more."""
        for matter in ("gates", "scale-up"):
            await self._on_call.resolve(f"{matter} {asked.sale.sale_id}", "the sale is over")
        if self._scaler is None or not asked.plan.expected_crowd:
            return {}
        number = await self._number(asked)
        unsaid = [sale_id for sale_id, crowd in (await self._crowds(asked)).items() if not crowd]
        if unsaid:
            return {"gates": number.there, "left": f"nobody said how many come to {unsaid[0]}"}
        return {"gates": number.wanted} | dict(await self._scaler.scale(number.wanted, asked.sale.sale_id))

    async def _number(self, asked: Asked) -> _Number:
        crowds = (await self._crowds(asked)).values()
        gates = await self._fleet.gates()
        return _Number(
            needed=gates_needed(crowds, capacity=self._capacity),
            wanted=gates_wanted(crowds, capacity=self._capacity, least=self._least, most=self._most),
            ready=sum(gate.ready for gate in gates),
            there=len(gates),
        )

    async def _crowds(self, asked: Asked) -> Mapping[str, int]:
        """Of all sales that are on, or about to be, by id; 0 where nobody said."""
        return {
            sale.sale_id: (await self._timeline.plan(sale.sale_id)).expected_crowd
            for sale in await self._sales.live()
            if sale.status not in SALE_OVER
            and not sale.rehearsal_of
            and (sale.start_ms - AHEAD_MS <= asked.now_ms or sale.sale_id == asked.sale.sale_id)
        }


def _needs_a_number(asked: Asked) -> None:
    if not asked.plan.expected_crowd:
        raise StepSkipped("nobody said how many come; set expected_crowd in the plan")
