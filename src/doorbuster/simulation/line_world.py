"""A sale with a line in a bad world: as `world.py`, with buyers who join, wait, leave and come back with their tickets.

Owns: the course of a buyer in a line, and the check of I10 over the whole history.
Order: whoever was told a place that no store has lost since is live; of two live entries the lower number is granted
first, whatever admitter grants it and however often the image was rebuilt meanwhile.
"""

import asyncio
import random

import msgspec

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.place import Place
from doorbuster.domain.sale import Sale, SaleMode, SaleTerms
from doorbuster.domain.ticket import open_ticket
from doorbuster.domain.transitions import SALE_OVER, EntryState, OrderStatus
from doorbuster.engine.ports import Actor
from doorbuster.simulation.node import Truth
from doorbuster.simulation.world import Finding, Plan, World

_OPERATOR = Actor(name="operator", reason="simulated")
_ENTRY_S = 3.0
"""How long before T-0 a draw takes entries."""


class _Told(msgspec.Struct, frozen=True):
    """A buyer was told a place: asked at, and the number it stands for."""

    asked_ms: int
    number: int
    user: str


class LineWorld(World):
    """One run of a sale in `queue` or `draw` mode."""

    def __init__(self, plan: Plan, truth: Truth, mode: SaleMode) -> None:
        super().__init__(plan, truth)
        self.mode = mode
        self._told: list[_Told] = []
        self._gone: dict[int, int] = {}
        """Number to when its buyer asked to leave."""
        self._losses: list[int] = []
        self._ended: list[tuple[int, int]] = []
        """When the ledger noted that numbers up to this one wait for nothing."""
        self._secrets: dict[str, bytes] = {}

    async def run(self) -> Finding:
        finding = await super().run()
        await self._check_order()
        return msgspec.structs.replace(finding, broken=tuple(self.broken), sometimes=dict(self.sometimes))

    async def _create(self) -> Sale:
        self._secrets = {key.key_id: key.secret for key in await self.truth.lines.sealing_keys()}
        now = self.truth.clock.now_ms()
        terms = SaleTerms(
            product_id="p",
            title="simulated",
            quantity_available=self.plan.units,
            price_cents=0,
            currency="EUR",
            start_ms=now + (1_000 if self.mode is SaleMode.QUEUE else int(_ENTRY_S * 1_000)),
            end_ms=now + 3_600_000,
            mode=self.mode,
            per_user_limit=self.plan.limit,
            checkout_ttl_seconds=self.plan.ttl_s,
            max_lapsed_holds=None,  # the few buyers there are come back as often as it takes to sell out
        )
        return await self.truth.sales.create(self.truth.ids.new_id(), terms, _OPERATOR)

    # ------------------------------------------------------------------------------------------------ a buyer

    async def _buyer(self, number: int) -> None:
        rng = random.Random(self.plan.seed * 1_000 + number)
        user = f"buyer {number}"
        bought = 0
        await asyncio.sleep(rng.random() * (2 if self.mode is SaleMode.QUEUE else 2 * _ENTRY_S))
        while bought < self.plan.limit:
            order = await self._wait(user, rng)
            if order is None:
                return
            fate = rng.random()
            if not self.calm and fate < self.plan.abandon:
                self.sometimes["abandoned"] += 1
                await asyncio.sleep(self.plan.ttl_s * 1.5)
            elif not self.calm and fate < self.plan.abandon + self.plan.cancel:
                await self._leave(user)
            elif await self._pay(order, user, rng):
                bought += 1

    async def _wait(self, user: str, rng: random.Random) -> Order | None:
        """Join, then ask until a unit is there. None: over, or this buyer has gone home."""
        ticket: str | None = None
        joined = False
        while True:
            ask = self.truth.clock.now_ms()
            gate = self.rng.choice(self.gates)
            calls = [gate.place(self.sale_id, user, ticket) if joined else gate.join(self.sale_id, user, ticket)]
            if rng.random() < self.plan.double:
                calls.append(self.rng.choice(self.gates).join(self.sale_id, user, ticket))
            for answer in await asyncio.gather(*calls):
                if isinstance(answer, Place):
                    joined = answer.state in (EntryState.WAITING, EntryState.STANDBY)
                    ticket = answer.ticket or ticket
                    self._note(ask, user, answer)
                    if answer.state is EntryState.GRANTED and answer.order is not None:
                        if answer.order.status is OrderStatus.RESERVED:
                            self.acknowledged[answer.order.order_id] = answer.order
                            return answer.order
                        joined = False
                    if answer.state is EntryState.OVER:
                        await self._check_over()
                        joined = False
                elif answer is None:
                    self.sometimes["request lost"] += 1
                else:
                    joined = await self._refused(answer, joined=joined)
            if joined and not self.calm and rng.random() < self.plan.leave:
                self.sometimes["left the line"] += 1
                await self._leave(user)
                ticket, joined = None, False
            await asyncio.sleep(0.2 + rng.random())

    async def _refused(self, refusal: Refusal, *, joined: bool) -> bool:
        self.sometimes[refusal.code.value] += 1
        if refusal.code is Code.SOLD_OUT:
            await self._check_over()
        return joined and refusal.code not in (Code.NOT_FOUND, Code.CONFLICT)

    async def _leave(self, user: str) -> None:
        for number in [told.number for told in self._told if told.user == user]:
            self._gone.setdefault(number, self.truth.clock.now_ms())
        for _ in range(20):
            answer = await self.rng.choice(self.gates).leave(self.sale_id, user)
            if isinstance(answer, Place):
                return
            if isinstance(answer, Refusal) and answer.code in (Code.NOT_FOUND, Code.ORDER_CLOSED, Code.ENDED):
                return
            await asyncio.sleep(0.3)

    def _note(self, asked_ms: int, user: str, place: Place) -> None:
        if place.ticket is None or place.state not in (EntryState.WAITING, EntryState.STANDBY):
            return
        number = open_ticket(place.ticket, self._secrets).number
        self._told.append(_Told(asked_ms, number, user))
        if place.state is EntryState.STANDBY:
            self.sometimes["standby"] += 1

    # ------------------------------------------------------------------------------------------------ faults

    async def _stock_emptied(self) -> None:
        await super()._stock_emptied()
        self._losses.append(self.truth.clock.now_ms())

    async def _stock_thrown_back(self) -> None:
        await super()._stock_thrown_back()
        self._losses.append(self.truth.clock.now_ms())

    # ------------------------------------------------------------------------------------------------ promises

    async def _check_now(self) -> None:
        await super()._check_now()
        sale = await self.truth.sales.get(self.sale_id)
        if sale is not None and sale.ended_number > (self._ended[-1][1] if self._ended else 0):
            self._ended.append((self.truth.clock.now_ms(), sale.ended_number))

    async def _check_over(self) -> None:
        """I14: nobody is told that it is over while a unit may come back."""
        sale = await self.truth.sales.get(self.sale_id)
        if sale is None or sale.status in SALE_OVER or sale.quantity_paid >= sale.quantity_available:
            return
        # A top-up after the last payment puts units on sale again; who was told before it was told the truth.
        if not self.sometimes["top_up"]:
            self._break("I14: somebody was told that it is over while units may come back")

    async def _check_order(self) -> None:
        """I10 over the whole history."""
        seq_of: dict[int, int] = {}
        at_of: dict[int, int] = {}
        async for rows in self.truth.lines.grants(self.sale_id):
            for seq, number, at_ms in rows:
                if number in seq_of:
                    self._break(f"I10: number {number} was granted twice")
                seq_of[number], at_of[number] = seq, at_ms
        last_told: dict[int, list[int]] = {}
        for told in self._told:
            last_told.setdefault(told.number, []).append(told.asked_ms)
        for number, at_ms in at_of.items():
            for other, asked in last_told.items():
                if other >= number or seq_of.get(other, 1 << 60) < seq_of[number]:
                    continue
                if self._live_at(other, asked, at_ms):
                    self._break(f"I10: {number} was granted before {other}, which was waiting")

    def _live_at(self, number: int, asked: list[int], at_ms: int) -> bool:
        before = [ms for ms in asked if ms < at_ms - _IN_FLIGHT_MS]
        if not before or self._gone.get(number, 1 << 60) <= at_ms:
            return False
        if any(number <= ended and ms <= at_ms + _LOOK_MS for ms, ended in self._ended):
            return False
        last_loss = max((ms for ms in self._losses if ms <= at_ms), default=-1)
        return max(before) > last_loss


_LOOK_MS = 100
"""The ledger is looked at this often, so what is seen may be this old."""
_IN_FLIGHT_MS = 4_500
"""A question may be on its way for this long before it is answered, and only an answer makes an entry live."""
