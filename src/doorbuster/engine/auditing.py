"""Compares the sides of a sale and has the difference mended (layer 3).

Owns: how facts are gathered so that traffic does not look like drift: PostgreSQL's live orders are read first, the
image after them, and whatever looks wrong is asked about once more. Judging is `domain/audit.py`.
Keeps: I2, I15 (by looking), I1 (by rebuilding an image in doubt).
"""

import asyncio
from collections import Counter

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport, Drift, ImageFacts, LedgerFacts, Repair, Verdict, compare
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.ports import (
    Actor,
    AuditStore,
    Clock,
    OrderStore,
    OutcomeUnknown,
    SaleStore,
    StockStore,
    StoreUnavailable,
)

_LOOKS = 3
_LOOK_AGAIN_S = 0.3
_YOUNG_MS = 2 * limits.ORPHAN_AGE_MS
"""A hold younger than this and unknown to the ledger is on its way: to an order, or back by the orphan sweep."""


class Auditing:
    """`audit` may run anywhere and at any time; it changes nothing but the request for a rebuild."""

    def __init__(
        self, *, sales: SaleStore, orders: OrderStore, audits: AuditStore, stock: StockStore, clock: Clock
    ) -> None:
        self._sales = sales
        self._orders = orders
        self._audits = audits
        self._stock = stock
        self._clock = clock

    async def audit(self, sale_id: str, actor: Actor) -> AuditReport | Refusal:
        """Audit now, store the report, ask for a rebuild if that is the repair. NOT_FOUND if there is no such sale.

        A drift of the image has to show in every one of a few looks: a stock change or a rebuild under way does not.
        """
        report = await self._look(sale_id)
        for _ in range(_LOOKS - 1):
            if isinstance(report, Refusal) or not _may_pass(report):
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
            report = await self._look(sale_id)
        if isinstance(report, Refusal):
            return report
        await self._audits.record(report, actor)
        if any(drift.repair is Repair.REBUILD for drift in report.drifts):
            laws = ", ".join(drift.law for drift in report.drifts if drift.repair is Repair.REBUILD)
            await self._sales.request_rebuild(sale_id, report.epoch, f"audit: {laws}"[: limits.REASON_LENGTH_MAX])
        return report

    async def latest(self, sale_id: str) -> AuditReport | Refusal:
        """The last stored report; NOT_FOUND if the sale was never audited."""
        report = await self._audits.latest(sale_id)
        return report or Refusal(Code.NOT_FOUND, "this sale has not been audited yet")

    async def _look(self, sale_id: str) -> AuditReport | Refusal:
        facts = await self._audits.facts(sale_id)
        if facts is None:
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        image = await self._image_facts(facts)
        return compare(facts, image, at_ms=self._clock.now_ms())

    async def _image_facts(self, facts: LedgerFacts) -> ImageFacts | None:
        try:
            return await self._read_image(facts)
        except (StoreUnavailable, OutcomeUnknown) as problem:
            return ImageFacts(problem=f"the stock counter could not be read: {problem}")

    async def _read_image(self, facts: LedgerFacts) -> ImageFacts | None:
        sale_id = facts.sale.sale_id
        live = await self._orders.live_hold_ids(sale_id)
        summary = await self._stock.summary(sale_id)
        if summary is None:
            if facts.sale.status in SALE_OVER:
                return None
            return ImageFacts(problem="there is no image; it is being built")
        holds, claims = await self._scan(sale_id)
        missing = live - holds.keys()
        unowned = holds.keys() - live
        wrong_claims = await self._claims_wrong(sale_id, claims)
        if missing or unowned or wrong_claims:
            missing, unowned, wrong_claims = await self._confirm(sale_id, missing, unowned, wrong_claims)
        named = limits.AUDIT_ROWS_NAMED_MAX
        return ImageFacts(
            epoch=summary.epoch,
            available=summary.available,
            stock=summary.stock,
            held=summary.held,
            tick=summary.tick,
            orders_without_hold=tuple(sorted(missing)[:named]),
            holds_without_order=tuple(sorted(unowned)[:named]),
            claims_wrong=tuple(sorted(wrong_claims)[:named]),
        )

    async def _scan(self, sale_id: str) -> tuple[dict[str, int], Counter[str]]:
        holds: dict[str, int] = {}
        claims: Counter[str] = Counter()
        async for chunk in self._stock.holds(sale_id):
            for hold in chunk:
                if hold.hold_id not in holds:
                    holds[hold.hold_id] = hold.since_ms
                    claims[hold.user_id] += hold.quantity
        return holds, claims

    async def _claims_wrong(self, sale_id: str, claims: Counter[str]) -> set[str]:
        wrong: set[str] = set()
        users = list(claims)
        for start in range(0, len(users), limits.IMAGE_CHUNK):
            part = users[start : start + limits.IMAGE_CHUNK]
            claimed = await self._stock.claims(sale_id, part)
            wrong.update(user for user in part if claimed.get(user, 0) != claims[user])
        return wrong

    async def _confirm(
        self, sale_id: str, missing: set[str], unowned: set[str], wrong_claims: set[str]
    ) -> tuple[set[str], set[str], set[str]]:
        """Ask once more about what looked wrong: an order cancelled or a hold taken while we read is not a drift.

        A live order always has its hold (the hold is taken before the commit and released after the close), so an
        order that is still live and whose hold was absent in between has lost it.
        """
        states = await self._orders.closing_hold_ids(sale_id, [*missing, *unowned])
        missing = {hold_id for hold_id in missing if states.get(hold_id) == "live"}
        suspects = {hold_id for hold_id in unowned if states.get(hold_id) not in ("live", "releasing")}
        if suspects or wrong_claims:
            holds, claims = await self._scan(sale_id)
            young = self._clock.now_ms() - _YOUNG_MS
            suspects = {hold_id for hold_id in suspects & holds.keys() if hold_id in states or holds[hold_id] < young}
            wrong_claims &= await self._claims_wrong(sale_id, claims)
        return missing, suspects, wrong_claims


def _may_pass(report: AuditReport) -> bool:
    """Whether another look may find this report's trouble gone: only the image moves under our eyes."""
    if report.verdict is Verdict.IN_STEP:
        return False
    return all(drift.repair is Repair.REBUILD for drift in report.drifts)


def worst(drifts: tuple[Drift, ...]) -> str:
    """One line for a log or an alert."""
    return "; ".join(f"{drift.law}: expected {drift.expected}, found {drift.found}" for drift in drifts[:3])


class AuditCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass over the sales found."""

    in_step: int = 0
    drifted: int = 0
    unknown: int = 0
