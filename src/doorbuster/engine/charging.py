"""Charges the stored method of every reserved order (auto mode).

Owns: how many charges are under way, and what is done while the gateway does not answer. An attempt is begun and led to
its end by the very steps a buyer's own payment takes, so everything that holds there holds here (I7 to I9); a decline
ends the order in the ledger, and its unit goes to the next in line.
While the breaker is open nothing is begun: holds that would run out go on, by a bounded time that their buyers see.
Two chargers at once are safe: an attempt's idempotency key is the number of tries before it.
Read next: `settling.py`; `domain/breaker.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from doorbuster.domain import limits
from doorbuster.domain.breaker import Breaker, BreakerState
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.payment import method_digest
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.guarding import GuardedGateway
from doorbuster.engine.money_ports import ChargeStore, DueCharge
from doorbuster.engine.payment_ports import BeginWord, Gateway, PayAsk, PaymentStore
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.settling import Settler

log = structlog.get_logger(__name__)

CHARGES_AT_ONCE: Final = 64
"""Charges one worker has under way at its gateway: 64 of 50 ms each are over a thousand a second, within what common
gateways take from one account."""


class Charging:
    """One per worker. `run_once` begins what is due and returns; `stop` waits for what is under way."""

    def __init__(
        self,
        *,
        charges: ChargeStore,
        payments: PaymentStore,
        gateway: Gateway,
        clock: Clock,
        ids: Ids,
        ended: Callable[[], None],
        at_once: int = CHARGES_AT_ONCE,
    ) -> None:
        """`ended` is called when a charge has ended without money: units may have come back."""
        self.breaker = Breaker()
        self.without_method = 0
        """Orders that waited for their buyer to store a method, as of the last pass."""
        self._charges = charges
        self._payments = payments
        self._gateway = GuardedGateway(gateway, self.breaker, clock)
        self._settler = Settler(payments, self._gateway, clock)
        self._clock = clock
        self._ids = ids
        self._ended = ended
        self._at_once = at_once
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._counts: Counter[str] = Counter()
        self._problem: BaseException | None = None

    async def run_once(self) -> dict[str, int]:
        """Begin what is due, as far as there is room. Counts what has ended since the last pass, by outcome."""
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem  # of a charge of the last pass: whoever runs the passes tells of it, and goes on
        counts, self._counts = self._counts, Counter()
        if self.breaker.state is not BreakerState.CLOSED:
            counts["extended"] += await self._charges.extend_uncharged(limit=limits.EXPIRY_BATCH)
        if not self._under_way:
            self.breaker.not_asked()  # a probe whose order had ended, or that the ledger did not let begin
        room = self._at_once - len(self._under_way)
        allowed = self.breaker.allows(self._clock.now_ms(), room)
        if allowed:
            self.without_method = await self._begin(allowed)
            cancelled = await self._charges.cancel_uncharged(limit=limits.EXPIRY_BATCH)
            if cancelled:
                counts["cancelled"] += cancelled
                self._ended()
        return dict(counts)

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    async def stop(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    async def _begin(self, room: int) -> int:
        """Start charges; how many orders wait for their buyer to store a method."""
        waiting = started = 0
        for due in await self._charges.due_charges(limit=self._at_once + room):
            method = due.method or self._gateway.default_method
            if method is None:
                waiting += 1
            elif due.order_id not in self._under_way and started < room:
                started += 1
                task = asyncio.get_running_loop().create_task(self._charge(due, method))
                self._under_way[due.order_id] = task
                task.add_done_callback(lambda done, order_id=due.order_id: self._forget(order_id, done))
        return waiting

    def _forget(self, order_id: str, done: asyncio.Task[None]) -> None:
        self._under_way.pop(order_id, None)
        if not done.cancelled() and done.exception() is not None:
            self._problem = done.exception()

    async def _charge(self, due: DueCharge, method: str) -> None:
        ask = PayAsk(
            payment_id=self._ids.new_id(),
            order_id=due.order_id,
            user_id=due.user_id,
            gateway=self._gateway.name,
            payment_method=method,
            key=f"auto-{due.tries + 1}",
            digest=method_digest(method),
        )
        try:
            begun = await self._payments.begin(ask)
            if isinstance(begun, Refusal) or begun.word is not BeginWord.BEGUN:
                self._counts["free" if not isinstance(begun, Refusal) else "refused"] += 1
                return  # paid, ended, or somebody else's attempt: nothing is left to do here
            settled = (await self._settler.settle(begun.attempt, interrupted=False)).attempt
        except (StoreUnavailable, OutcomeUnknown):
            self._counts["interrupted"] += 1  # the resolver goes on
            return
        self._counts[settled.state.value.lower()] += 1
        if settled.state in (PaymentState.DECLINED, PaymentState.VOIDED):
            if settled.order.status is OrderStatus.CANCELLED:
                log.info("charge refused", order_id=due.order_id, reason=settled.decline_reason)
            self._ended()
