"""The agents of money: charging by itself, and comparing the books.

Owns: which runs how often. Two workers at once are safe. Read next: `engine/charging.py`, `engine/reconciling.py`.
"""

from typing import Final

import structlog

from doorbuster.agents.loop import Counts
from doorbuster.domain.balance import Verdict
from doorbuster.domain.outcomes import Refusal
from doorbuster.engine.charging import Charging
from doorbuster.engine.money_ports import BalanceStore
from doorbuster.engine.ports import Actor
from doorbuster.engine.reconciling import Reconciler

log = structlog.get_logger(__name__)

RECONCILE_INTERVAL_MS: Final = 300_000
"""As often as the audit: a break is found within five minutes of the last payment that could have made it."""


class ChargerAgent:
    """Charges the stored method of every reserved order of sales that charge by themselves."""

    name = "charger"
    interval_s = 0.2

    def __init__(self, charging: Charging) -> None:
        self._charging = charging

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms  # the ledger's own clock decides what is due
        return await self._charging.run_once()


class ReconcilerAgent:
    """Reconciles every sale whose payments moved since it was reconciled last (P10)."""

    name = "reconciler"
    interval_s = 15.0

    def __init__(self, reconciler: Reconciler, balance: BalanceStore, gateway: str) -> None:
        self._reconciler = reconciler
        self._balance = balance
        self._gateway = gateway

    async def run_once(self, now_ms: int) -> Counts:
        counts = {verdict.value: 0 for verdict in Verdict}
        for sale_id in await self._balance.wanting(self._gateway, now_ms - RECONCILE_INTERVAL_MS):
            found = await self._reconciler.reconcile(sale_id, Actor(name="reconciler", reason="every five minutes"))
            if isinstance(found, Refusal):
                continue
            counts[found.verdict.value] += 1
            if found.verdict is Verdict.BREAKS:
                log.error("books differ", sale_id=sale_id, breaks=len(found.breaks))
        return counts
