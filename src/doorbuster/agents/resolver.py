"""Finishes payments that somebody began and could not end (C32 to C39).

Owns: the pace of it and what is counted. Each attempt is led on by `engine/settling.py`, the very lines a gate uses:
looked up at the gateway first, then completed or voided. Two at once share the work by claims; should both work on one
attempt, keys and guards make the second a repeat. Keeps: I2 and I3 (no unit waits for ever for its money), I7.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from doorbuster.agents.loop import Counts
from doorbuster.domain.payment import PAYMENT_ALARM_MS, PAYMENT_QUIET_MS, PAYMENT_UNFINISHED, RESOLVE_BATCH, Attempt
from doorbuster.engine.payment_ports import Gateway, PaymentStore
from doorbuster.engine.ports import Clock, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.settling import Settler

log = structlog.get_logger(__name__)


class Resolver:
    """`wake("releaser")` is called when an attempt has ended without money: its order may have given units back."""

    name = "resolver"
    interval_s = 1.0

    def __init__(
        self,
        *,
        payments: PaymentStore,
        gateway: Gateway,
        clock: Clock,
        wake: Callable[[str], None],
        quiet_ms: int = PAYMENT_QUIET_MS,
    ) -> None:
        self._payments = payments
        self._gateway_name = gateway.name
        self._settler = Settler(payments, gateway, clock)
        self._wake = wake
        self._quiet_ms = quiet_ms

    async def run_once(self, now_ms: int) -> Counts:
        """One batch. Counts by the state each attempt is in afterwards; `waiting` of them have not ended, and `late`
        of those for so long that a person should look: the gateway does not say what became of them."""
        claimed = await self._payments.claim(gateway=self._gateway_name, quiet_ms=self._quiet_ms, limit=RESOLVE_BATCH)
        results = await asyncio.gather(*(self._finish(attempt) for attempt in claimed), return_exceptions=True)
        counts: Counter[str] = Counter()
        problems: list[BaseException] = []
        for attempt, result in zip(claimed, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, StoreUnavailable | OutcomeUnknown):
                problems.append(result)
            ended = result if isinstance(result, Attempt) else attempt
            self._count(counts, ended, now_ms)
        if counts["voided"]:
            self._wake("releaser")
        if problems:
            raise problems[0]  # after every other attempt has had its turn
        return {**counts, "more": int(len(claimed) == RESOLVE_BATCH)}

    async def _finish(self, attempt: Attempt) -> Attempt:
        return (await self._settler.settle(attempt, interrupted=True)).attempt

    @staticmethod
    def _count(counts: Counter[str], attempt: Attempt, now_ms: int) -> None:
        if attempt.state not in PAYMENT_UNFINISHED:
            counts[attempt.state.value.lower()] += 1
            return
        counts["waiting"] += 1
        age_ms = now_ms - attempt.created_ms
        if age_ms > PAYMENT_ALARM_MS:
            counts["late"] += 1
            log.error(
                "payment without an end",
                payment_id=attempt.payment_id,
                order_id=attempt.order.order_id,
                state=attempt.state.value,
                age_s=age_ms // 1000,
            )
