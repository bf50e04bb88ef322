"""Pays an order within its hold (checkout mode).

Owns: what a buyer is told, how long a request waits, and how many attempts a process has under way.
Keeps: I5 for payments (one key, one attempt), I7 to I9 through `settling.py`. An attempt goes on when its buyer has
gone or has waited long enough; what a crash interrupts, the resolver finishes. Read next: `settling.py`.
"""

import asyncio
from typing import Final

import msgspec

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import (
    PAYMENT_ANSWER_S,
    PAYMENTS_AT_ONCE,
    Attempt,
    VoidReason,
    method_digest,
    payment_method_problem,
)
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.payment_ports import BeginWord, Begun, Gateway, PayAsk, PaymentStore
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.settling import Settled, Settler

_RETRY_MS: Final = 1_000

_VOIDED: Final = {
    VoidReason.GATEWAY_ERROR: "the gateway could not process the payment; nothing was charged",
    VoidReason.TOO_OLD: "the payment took too long and was given up; nothing was charged",
    VoidReason.CAPTURE_REFUSED: "the payment was refused at the last step; nothing was charged, the order is cancelled",
    VoidReason.VOIDED_THERE: "the payment was given up at the gateway; nothing was charged",
    VoidReason.ORDER_ENDED: "the order ended before the payment did; nothing was charged",
}


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """`settled`: the order is PAID. Else its payment is under way: read the order again. `action` is what the buyer's
    client has to do at the gateway meanwhile, if anything."""

    order: Order
    settled: bool
    action: dict[str, str] | None = None


class _Run:
    """How far one request has come."""

    __slots__ = ("admitted", "attempt")

    def __init__(self) -> None:
        self.admitted = False
        self.attempt: Attempt | None = None


class Paying:
    """One per gate. `stop` waits for the attempts under way."""

    def __init__(
        self,
        *,
        payments: PaymentStore,
        gateway: Gateway,
        clock: Clock,
        ids: Ids,
        answer_s: float = PAYMENT_ANSWER_S,
        at_once: int = PAYMENTS_AT_ONCE,
    ) -> None:
        self._payments = payments
        self._gateway_name = gateway.name
        self._settler = Settler(payments, gateway, clock)
        self._ids = ids
        self._answer_s = answer_s
        self._slots = asyncio.Semaphore(at_once)
        self._runs: set[asyncio.Task[Paid | Refusal]] = set()
        self._under_way: dict[str, asyncio.Task[Settled]] = {}

    async def pay(self, order_id: str, user_id: str, *, payment_method: str, key: str) -> Paid | Refusal:
        """Pay the whole order. The same key answers with the same attempt's result, whenever it is repeated."""
        problem = payment_method_problem(payment_method)
        if problem is not None:
            return Refusal(Code.INVALID_REQUEST, problem)
        ask = PayAsk(
            payment_id=self._ids.new_id(),
            order_id=order_id,
            user_id=user_id,
            gateway=self._gateway_name,
            payment_method=payment_method,
            key=key,
            digest=method_digest(payment_method),
        )
        run = _Run()
        task = asyncio.get_running_loop().create_task(self._run(ask, run))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        try:
            await asyncio.wait({task}, timeout=self._answer_s)
        finally:
            if not run.admitted:
                task.cancel()  # nothing has begun; a buyer who gave up must not stand in the way of others
        if not run.admitted:
            return Refusal(Code.UNAVAILABLE, "too many payments at once; nothing was charged", _RETRY_MS)
        if task.done():
            return task.result()
        if run.attempt is None:
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", _RETRY_MS)
        return Paid(order=run.attempt.order, settled=False)

    async def stop(self) -> None:
        """Wait for the attempts under way; each ends by its own calls' deadlines."""
        while self._runs:
            await asyncio.wait(self._runs)

    @property
    def under_way(self) -> int:
        """Requests that wait or work now."""
        return len(self._runs)

    async def _run(self, ask: PayAsk, run: _Run) -> Paid | Refusal:
        async with self._slots:
            run.admitted = True
            try:
                begun = await self._payments.begin(ask)
            except (StoreUnavailable, OutcomeUnknown):
                return Refusal(Code.UNAVAILABLE, "the ledger does not answer; repeat with the same key", _RETRY_MS)
            if isinstance(begun, Refusal):
                return begun
            run.attempt = begun.attempt
            return await self._go_on(begun)

    async def _go_on(self, begun: Begun) -> Paid | Refusal:
        attempt = begun.attempt
        if begun.word is BeginWord.BUSY:
            return Paid(order=attempt.order, settled=False)
        here = self._under_way.get(attempt.payment_id)
        if here is None and attempt.state is PaymentState.INTENT:
            # New, or begun by a process that died before it sent: nobody has called the gateway.
            here = self._start(attempt)
        if here is None:
            return _answer(Settled(attempt=attempt))
        try:
            return _answer(await asyncio.shield(here))
        except (StoreUnavailable, OutcomeUnknown):
            return Paid(order=attempt.order, settled=False)  # the resolver finishes it

    def _start(self, attempt: Attempt) -> asyncio.Task[Settled]:
        task = asyncio.get_running_loop().create_task(self._settler.settle(attempt, interrupted=False))
        self._under_way[attempt.payment_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(attempt.payment_id, None))
        return task


def _answer(settled: Settled) -> Paid | Refusal:
    attempt = settled.attempt
    order = attempt.order
    match attempt.state:
        case PaymentState.CAPTURED:
            return Paid(order=order, settled=True)
        case PaymentState.DECLINED:
            return Refusal(Code.PAYMENT_DECLINED, f"the payment was declined: {attempt.decline_reason}")
        case PaymentState.VOIDED:
            return Refusal(Code.PAYMENT_DECLINED, _VOIDED[VoidReason(attempt.decline_reason)])
        case PaymentState.REFUND_DUE | PaymentState.REFUNDED:
            if order.status is OrderStatus.PAID:
                return Paid(order=order, settled=True)
            return Refusal(Code.ORDER_CLOSED, "the money came after the order had ended; it is given back")
        case _:
            return Paid(order=order, settled=False, action=settled.action)
