"""The agents that keep a sale selling: the clock, the image, expiry, releases, orphans, the audit.

Owns: which use case runs how often. Everything they do is in `engine/`; two workers at once are safe.
"""

from collections.abc import Callable

import structlog

from doorbuster.agents.loop import Counts
from doorbuster.domain import limits
from doorbuster.domain.audit import Verdict
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.auditing import Auditing, worst
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.ports import Actor, OrderStore, SaleStore
from doorbuster.engine.rebuilding import Keeper
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import OrphanSweep, Releaser

log = structlog.get_logger(__name__)


class ClockAgent:
    """Moves stored statuses after the clock, and finishes aborts that stopped half-way."""

    name = "clock"
    interval_s = 0.5

    def __init__(self, sales: SaleStore, orders: OrderStore, refunding: Refunding) -> None:
        self._sales = sales
        self._orders = orders
        self._refunding = refunding

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms  # the ledger's own clock decides
        moved = await self._sales.follow_clock()
        for sale in moved:
            log.info("sale moved", sale_id=sale.sale_id, status=sale.status.value)
        cancelled = refunds = 0
        actor = Actor(name="worker", reason="the sale was aborted")
        for sale in await self._sales.live():
            if sale.status is SaleStatus.CANCELLED:
                cancelled += await self._orders.cancel_all(sale.sale_id, actor=actor, limit=limits.EXPIRY_BATCH)
                refunds += await self._refunding.refund_aborted(sale.sale_id, actor)
        return {"moved": len(moved), "cancelled": cancelled, "refunds": refunds, "more": cancelled}


class KeeperAgent:
    """Sees to it that every live sale has the image the ledger says (R9)."""

    name = "keeper"
    interval_s = limits.KEEPER_INTERVAL_MS / 1000

    def __init__(self, sales: SaleStore, keeper: Keeper) -> None:
        self._sales = sales
        self._keeper = keeper

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        return {"rebuilt": await self._keeper.run_once(await self._sales.live())}


class ExpirerAgent:
    """Ends holds whose time is over, and has their units carried to the counter at once."""

    name = "expirer"
    interval_s = limits.EXPIRY_INTERVAL_MS / 1000

    def __init__(self, expirer: Expirer, wake: Callable[[str], None]) -> None:
        self._expirer = expirer
        self._wake = wake

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms  # I11: only the ledger's clock ends a hold
        expired = await self._expirer.run_once()
        if expired:
            self._wake(ReleaserAgent.name)
        return {"expired": expired}


class ReleaserAgent:
    """Carries released units to the stock counter."""

    name = "releaser"
    interval_s = 0.2

    def __init__(self, releaser: Releaser) -> None:
        self._releaser = releaser

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        relayed = await self._releaser.run_once()
        return {"released": relayed.units, "more": relayed.done}


class SweeperAgent:
    """Finds holds that never became orders."""

    name = "sweeper"
    interval_s = 2.0

    def __init__(self, sales: SaleStore, sweep: OrphanSweep, wake: Callable[[str], None]) -> None:
        self._sales = sales
        self._sweep = sweep
        self._wake = wake

    async def run_once(self, now_ms: int) -> Counts:
        settled = 0
        for sale in await self._sales.live():
            settled += await self._sweep.run_once(sale, now_ms)
        if settled:
            log.warning("orphan holds settled", holds=settled)
            self._wake(ReleaserAgent.name)
        return {"orphans": settled}


class AuditorAgent:
    """Audits every live sale every five minutes; the stored report says when the last one was, so two workers share
    the work."""

    name = "auditor"
    interval_s = 10.0

    def __init__(self, sales: SaleStore, auditing: Auditing) -> None:
        self._sales = sales
        self._auditing = auditing

    async def run_once(self, now_ms: int) -> Counts:
        counts = {verdict.value: 0 for verdict in Verdict}
        for sale in await self._sales.live():
            latest = await self._auditing.latest(sale.sale_id)
            if not isinstance(latest, Refusal) and now_ms - latest.at_ms < limits.AUDIT_INTERVAL_MS:
                continue
            report = await self._auditing.audit(sale.sale_id, Actor(name="auditor", reason="every five minutes"))
            if isinstance(report, Refusal):
                continue
            counts[report.verdict.value] += 1
            if report.verdict is Verdict.DRIFTED:
                log.error("drift", sale_id=sale.sale_id, epoch=report.epoch, laws=worst(report.drifts))
        return counts
