"""The ledger's own account of itself, in memory: implements `engine.ports.AuditStore`.

Owns: how the facts are summed up from the rows. Keeps: I15 (the log is replayed, every hash computed again).
Read next: `domain/audit.py`, which judges them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport, LedgerFacts
from doorbuster.domain.chain import LogRow, Replayer
from doorbuster.domain.order import Order
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Actor
from doorbuster.reference.ledger import ReferenceLedger

_CHUNK = 2_000


class ReferenceAuditStore:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger

    async def facts(self, sale_id: str) -> LedgerFacts | None:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return None
        orders = self._ledger.orders_of(sale_id)
        live = [order for order in orders if self._ledger.owns_units(order)]
        replayer = Replayer(sale_id)
        replayer.add(self._ledger.log[sale_id])
        return LedgerFacts(
            sale=sale,
            orders_by_status={status.value: _count(orders, status) for status in OrderStatus},
            units_reserved=_units(live, OrderStatus.RESERVED),
            units_paid=_units(live, OrderStatus.PAID),
            eligibility_units=self._ledger.allowances[sale_id].total(),
            eligibility_wrong=self._wrong_allowances(sale_id, live, sale.per_user_limit),
            releases_pending=sum(1 for _ in self._ledger.releases_of(sale_id)),
            replay=replayer.state,
        )

    def _wrong_allowances(self, sale_id: str, live: Sequence[Order], limit: int) -> tuple[str, ...]:
        owned: Counter[str] = Counter()
        for order in live:
            owned[order.user_id] += order.quantity
        allowed = self._ledger.allowances[sale_id]
        wrong = [user for user in {*owned, *allowed} if owned[user] != allowed[user] or owned[user] > limit]
        return tuple(sorted(wrong)[: limits.AUDIT_ROWS_NAMED_MAX])

    async def log_rows(self, sale_id: str, *, after_seq: int = 0) -> AsyncIterator[Sequence[LogRow]]:
        rows = [row for row in self._ledger.log[sale_id] if row.seq > after_seq]
        for start in range(0, len(rows), _CHUNK):
            yield rows[start : start + _CHUNK]

    async def record(self, report: AuditReport, actor: Actor) -> None:
        self._ledger.audits[report.sale_id] = report
        self._ledger.note(report.sale_id, "audit", actor)

    async def latest(self, sale_id: str) -> AuditReport | None:
        return self._ledger.audits.get(sale_id)


def _count(orders: Sequence[Order], status: OrderStatus) -> int:
    return sum(order.status is status for order in orders)


def _units(orders: Sequence[Order], status: OrderStatus) -> int:
    return sum(order.quantity for order in orders if order.status is status)
