"""The steps of a sale's day that concern the sale itself: warm-up, start, end, settling, the last audit, the report.

Owns: what each checks before it says that it is done. None of them opens or closes a sale: the clock does that in the
stores; these see to it that it was seen. Read next: `prewarming.py`, `notifying.py`, `scaling.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from doorbuster.domain.audit import AuditReport, Repair, Verdict
from doorbuster.domain.balance import Verdict as BooksVerdict
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SALE_OVER, SaleStatus
from doorbuster.engine.auditing import Auditing, worst
from doorbuster.engine.day_ports import Asked, Detail, NotYet, StepFailed, StepSkipped
from doorbuster.engine.ports import Actor, SaleStore, StockStore
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.reconciling import Reconciler

_TIMELINE: Final = Actor(name="timeline", reason="the last audit of the sale")


class WarmUp:
    """Stock, terms and blocked accounts are in the stock counter, as the ledger has them.

    It only looks. Whoever makes a sale writes its image, and the keeper writes one that is missing; a third writer
    would throw away what the first has just written."""

    def __init__(self, sales: SaleStore, stock: StockStore) -> None:
        self._sales = sales
        self._stock = stock

    async def step(self, asked: Asked) -> Detail:
        image = await self._stock.summary(asked.sale.sale_id)
        sale = await self._sales.get(asked.sale.sale_id) or asked.sale
        if image is None or image.epoch != sale.epoch:
            raise NotYet("the stock counter has no image of the sale yet; the keeper writes one")
        blocked = await self._sales.blocked_count(sale.sale_id)
        detail = {
            "epoch": image.epoch,
            "units": image.available,
            "free": image.stock,
            "blocked_accounts": image.blocked,
        }
        wrong = [
            f"{what}: {there} there, {here} in the ledger"
            for what, there, here in (
                ("units", image.available, sale.quantity_available),
                ("blocked accounts", image.blocked, blocked),
                ("start", image.opens_ms, sale.start_ms),
            )
            if there != here
        ]
        if wrong:
            # The keeper mends the image within a second; a block list only a new one.
            if image.blocked != blocked:
                if asked.attempt == 1:  # a list that is just being written is in the ledger first
                    raise StepFailed(f"the stock counter is not the ledger yet: {'; '.join(wrong)}", detail)
                await self._sales.request_rebuild(sale.sale_id, sale.epoch, "its block list is not the ledger's")
            raise StepFailed(f"the stock counter is not the ledger: {'; '.join(wrong)}", detail)
        return detail


class Start:
    """The sale was seen to open. It is open because the clock says so; this follows."""

    async def step(self, asked: Asked) -> Detail:
        sale = asked.sale
        if sale.status is SaleStatus.SCHEDULED:
            if asked.forced and asked.now_ms < sale.start_ms:
                raise StepSkipped("the sale has not begun; to begin it now use `open`")
            raise NotYet("the ledger's status follows within a second")
        return {"status": sale.status.value, "noticed_after_ms": max(0, asked.now_ms - sale.start_ms)}


class End:
    """The sale was seen to end; `afterwards` lets go what only the sale needed. Of one that was aborted people are told
    (`tell`) at once: refunds may take hours, and telling is said once whoever asks again."""

    def __init__(
        self, afterwards: Callable[[Asked], Awaitable[Detail]], tell: Callable[[Sale], Awaitable[Detail]]
    ) -> None:
        self._afterwards = afterwards
        self._tell = tell

    async def step(self, asked: Asked) -> Detail:
        sale = asked.sale
        if sale.status not in SALE_OVER:
            if asked.forced and asked.now_ms < sale.end_ms:
                raise StepSkipped("the sale has not ended; to end it now use `end`")
            raise NotYet("the ledger's status follows within a second")
        told: Detail = await self._tell(sale) if sale.status is SaleStatus.CANCELLED else {}
        return {
            **told,
            "status": sale.status.value,
            "paid": sale.quantity_paid,
            "held": sale.quantity_sold - sale.quantity_paid,
            "free": sale.quantity_available - sale.quantity_sold,
            **await self._afterwards(asked),
        }


class Settle:
    """Nothing is reserved any more, no unit is on its way back, every refund of an aborted sale is begun. Then those
    who waited for the sale are told how it ended (`tell`). That the money itself is back, the last audit sees."""

    def __init__(self, sales: SaleStore, tell: Callable[[Sale], Awaitable[Detail]]) -> None:
        self._sales = sales
        self._tell = tell

    async def step(self, asked: Asked) -> Detail:
        detail = await settled(self._sales, asked)
        return {**detail, **await self._tell(asked.sale)}


async def settled(sales: SaleStore, asked: Asked) -> Detail:
    """What is left; NotYet while that is anything."""
    sale = asked.sale
    held = sale.quantity_sold - sale.quantity_paid
    detail = {"held": held, "paid": sale.quantity_paid}
    if sale.status not in SALE_OVER:
        raise NotYet("the sale has not ended", detail)
    if held:
        raise NotYet(f"{held} units are reserved and not paid", detail)
    if any(live.sale_id == sale.sale_id for live in await sales.live()):
        raise NotYet("units or money are on their way back", detail)
    return detail


class FinalAudit:
    """The sides of the sale are in step, and the books agree, after everything has come to its end: also money."""

    def __init__(self, sales: SaleStore, auditing: Auditing, reconciler: Reconciler, rebuilder: Rebuilder) -> None:
        self._sales = sales
        self._auditing = auditing
        self._reconciler = reconciler
        self._rebuilder = rebuilder

    async def step(self, asked: Asked) -> Detail:
        await settled(self._sales, asked)
        report = await self._auditing.audit(asked.sale.sale_id, _TIMELINE)
        if isinstance(report, Refusal):
            raise StepFailed(report.detail)
        detail: dict[str, object] = {"verdict": report.verdict.value, "epoch": report.epoch}
        if report.verdict is not Verdict.IN_STEP:
            found = worst(report.drifts) or report.note
            await self._mend(asked.sale, report)
            raise StepFailed(f"the audit says {report.verdict.value}: {found}", detail)
        books = await self._reconciler.reconcile(asked.sale.sale_id, _TIMELINE)
        if isinstance(books, Refusal):
            raise StepFailed(books.detail, detail)
        detail["books"] = books.verdict.value
        if books.verdict is not BooksVerdict.IN_BALANCE:
            raise StepFailed(f"the gateway's book and the payments: {books.verdict.value}; reconcile says more", detail)
        if books.under_way:
            raise NotYet(f"{books.under_way} payments or refunds are under way", detail)
        return detail

    async def _mend(self, sale: Sale, report: AuditReport) -> None:
        """The keeper looks at no sale whose units are all settled, so an image in doubt is written anew from here; the
        next attempt finds it."""
        if report.drifts and all(drift.repair is Repair.REBUILD for drift in report.drifts):
            await self._rebuilder.rebuild(sale, "the last audit")
