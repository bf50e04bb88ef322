"""Leads one payment attempt to its end: authorize, confirm the order, capture; or void; or refund (P2 to P9).

Owns: which call follows which state, and nothing else: no queue, no deadline, no memory. A gate that began the attempt
and a resolver that found it interrupted use the same lines. Two at once on one attempt are safe: gateway keys are
derived from committed rows and every transition is guarded by the state it starts from.
Keeps: I7, I8, I9, I13, and "nothing is called inside a transaction". Read next: `paying.py`.
"""

from typing import assert_never

import msgspec

from doorbuster.domain.payment import (
    AUTHORIZE_TRIES,
    CAPTURE_TRIES,
    Attempt,
    Operation,
    VoidReason,
    gateway_key,
    may_confirm,
    may_send,
    short_reason,
)
from doorbuster.domain.transitions import PaymentState
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Found,
    Gateway,
    NotExecuted,
    PaymentStore,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import Clock, InvariantViolation


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How far the attempt came. It is unfinished if the gateway or the buyer still owes an answer; then the resolver
    goes on. `action` is what the buyer's client has to do meanwhile."""

    attempt: Attempt
    action: dict[str, str] | None = None


class Settler:
    """Stateless; one per process."""

    def __init__(self, payments: PaymentStore, gateway: Gateway, clock: Clock) -> None:
        self._payments = payments
        self._gateway = gateway
        self._clock = clock

    async def settle(self, attempt: Attempt, *, interrupted: bool) -> Settled:
        """Move on as far as definite answers go. `interrupted` means someone else may have called the gateway before:
        look first. May raise StoreUnavailable or OutcomeUnknown; nothing is lost by that, a repeat goes on."""
        if attempt.state is PaymentState.INTENT:
            attempt = await self._send(attempt)
            interrupted = False
        if attempt.state is PaymentState.SENT:
            settled = await self._authorize(attempt, interrupted=interrupted)
            if settled.attempt.state is PaymentState.SENT:
                return settled
            attempt = settled.attempt
        if attempt.state is PaymentState.AUTHORIZED:
            attempt = await self._payments.confirm(attempt.payment_id, attempt.gateway_ref or "")
        if attempt.state is PaymentState.CAPTURING:
            attempt = await self._capture(attempt)
        if attempt.state is PaymentState.VOIDING:
            attempt = await self._void(attempt)
        if attempt.state is PaymentState.REFUND_DUE:
            attempt = await self._refund(attempt)
        return Settled(attempt=attempt)

    async def _send(self, attempt: Attempt) -> Attempt:
        if not may_send(attempt, self._clock.now_ms()):
            return await self._payments.void(attempt.payment_id, VoidReason.TOO_OLD)
        return await self._payments.send(attempt.payment_id)

    async def _authorize(self, attempt: Attempt, *, interrupted: bool) -> Settled:
        """From SENT to a definite answer, if the gateway gives one. An unknown answer is looked up, never guessed."""
        charge = charge_of(attempt)
        found = await self._gateway.look_up(charge) if interrupted else Absent()
        for _ in range(AUTHORIZE_TRIES):
            if isinstance(found, Absent):
                if not may_send(attempt, self._clock.now_ms()):
                    return Settled(attempt=await self._payments.void(attempt.payment_id, VoidReason.TOO_OLD))
                found = await self._gateway.authorize(charge)
            if isinstance(found, NotExecuted | Unknown):
                found = await self._gateway.look_up(charge)
            if not isinstance(found, Absent):
                break
        return await self._conclude(attempt, found)

    async def _conclude(self, attempt: Attempt, found: Found) -> Settled:
        match found:
            case Authorized():
                _check_exact(attempt, found)
                if may_confirm(attempt, self._clock.now_ms()):
                    moved = await self._payments.confirm(attempt.payment_id, found.ref)
                else:
                    moved = await self._payments.void(attempt.payment_id, VoidReason.ORDER_ENDED)
            case Captured():
                # Another worker is ahead of the row we read; the capture will say the same to us.
                moved = await self._payments.confirm(attempt.payment_id, found.ref)
            case Declined():
                moved = await self._payments.decline(attempt.payment_id, short_reason(found.reason))
            case Voided():
                moved = await self._payments.void(attempt.payment_id, VoidReason.VOIDED_THERE)
            case Absent():
                # Safe although a call may still be on its way: after a void it fails when it arrives.
                moved = await self._payments.void(attempt.payment_id, VoidReason.GATEWAY_ERROR)
            case ActionRequired():
                if may_confirm(attempt, self._clock.now_ms()):
                    return Settled(attempt=attempt, action=dict(found.data))
                moved = await self._payments.void(attempt.payment_id, VoidReason.TOO_OLD)
            case NotExecuted() | Unknown():
                moved = attempt
            case _:
                assert_never(found)
        return Settled(attempt=moved)

    async def _capture(self, attempt: Attempt) -> Attempt:
        """P5. Repeating is looking up: the key is the same, so the answer is that of the first call."""
        charge, key = charge_of(attempt), gateway_key(attempt, Operation.CAPTURE)
        for _ in range(CAPTURE_TRIES):
            answer = await self._gateway.capture(charge, key)
            match answer:
                case Captured():
                    _check_exact(attempt, answer)
                    return await self._payments.captured(attempt.payment_id)
                case CaptureRefused():
                    return await self._payments.void(attempt.payment_id, VoidReason.CAPTURE_REFUSED)
                case NotExecuted() | Unknown():
                    continue
                case _:
                    assert_never(answer)
        return attempt

    async def _void(self, attempt: Attempt) -> Attempt:
        answer = await self._gateway.void(charge_of(attempt), gateway_key(attempt, Operation.VOID))
        match answer:
            case Voided():
                return await self._payments.voided(attempt.payment_id)
            case Captured():
                return await self._payments.refund_due(attempt.payment_id)
            case NotExecuted() | Unknown():
                return attempt
            case _:
                assert_never(answer)

    async def _refund(self, attempt: Attempt) -> Attempt:
        answer = await self._gateway.refund(charge_of(attempt), gateway_key(attempt, Operation.REFUND))
        match answer:
            case Refunded():
                return await self._payments.refunded(attempt.payment_id)
            case NotExecuted() | Unknown():
                return attempt
            case _:
                assert_never(answer)


def charge_of(attempt: Attempt) -> Charge:
    """What the gateway is told, from committed columns only."""
    return Charge(
        key=gateway_key(attempt, Operation.AUTHORIZE),
        sale_id=attempt.order.sale_id,
        order_id=attempt.order.order_id,
        amount_cents=attempt.amount_cents,
        currency=attempt.currency,
        payment_method=attempt.payment_method,
        ref=attempt.gateway_ref,
    )


def _check_exact(attempt: Attempt, answer: Authorized | Captured) -> None:
    if (answer.amount_cents, answer.currency) != (attempt.amount_cents, attempt.currency):  # I9
        raise InvariantViolation(
            f"payment {attempt.payment_id}: asked for {attempt.amount_cents} {attempt.currency}, "
            f"the gateway has {answer.amount_cents} {answer.currency}"
        )
