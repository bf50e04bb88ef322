"""Gives money back: one order by the operator's word, or every paid order of an aborted sale.

Owns: who is told what. The step that matters is one transaction in the ledger: REFUND_DUE, the units back on sale, the
log row. From then on the refund is under way and some worker ends it (I7), whoever asked and whatever dies.
Read next: `settling.py`, which calls the gateway.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final

from doorbuster.domain import limits
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ANSWER_S, Attempt
from doorbuster.domain.transitions import PaymentState
from doorbuster.engine.payment_ports import Gateway, PaymentStore
from doorbuster.engine.ports import Actor, Clock, OrderStore, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.releasing import Releaser
from doorbuster.engine.settling import Settler

_RETRY_MS: Final = 1_000


class Refunding:
    """One per gate."""

    def __init__(
        self, *, payments: PaymentStore, orders: OrderStore, gateway: Gateway, releaser: Releaser, clock: Clock
    ) -> None:
        self._payments = payments
        self._orders = orders
        self._gateway_name = gateway.name
        self._settler = Settler(payments, gateway, clock)
        self._releaser = releaser
        self._runs: set[asyncio.Task[None]] = set()

    async def refund(self, order_id: str, actor: Actor) -> Order | Refusal:
        """Give the whole amount of a PAID order back. Idempotent: a repeat answers with the same refund. The order's
        payment says how far it is; REFUND_DUE is not done yet and needs nobody to ask again."""
        try:
            attempt = await self._payments.refund(order_id, actor)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", _RETRY_MS)
        if isinstance(attempt, Refusal):
            return attempt
        self._spawn(self._releaser.run_quietly())
        if attempt.state is PaymentState.REFUND_DUE and attempt.gateway == self._gateway_name:
            run = self._spawn(self._settle(attempt))
            await asyncio.wait({run}, timeout=PAYMENT_ANSWER_S)
        try:
            return await self._orders.get(order_id) or attempt.order
        except (StoreUnavailable, OutcomeUnknown):
            return attempt.order

    async def refund_aborted(self, sale_id: str, actor: Actor) -> int:
        """Begin the refund of every paid order of an aborted sale; how many were begun. The worker goes on with what is
        left if this stops half-way. May raise StoreUnavailable or OutcomeUnknown."""
        total = 0
        while begun := await self._payments.refund_aborted(sale_id, actor=actor, limit=limits.EXPIRY_BATCH):
            total += begun
        return total

    async def stop(self) -> None:
        """Wait for what is under way; each call has a deadline of its own."""
        while self._runs:
            await asyncio.wait(self._runs)

    async def _settle(self, attempt: Attempt) -> None:
        try:
            await self._settler.settle(attempt, interrupted=True)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the resolver goes on

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return task
