"""A ledger's side of reconciliations in memory, for tests whose ledger is in memory."""

from collections.abc import AsyncIterator, Sequence

from doorbuster.domain.balance import Break, Reconciliation
from doorbuster.domain.payment import Attempt, Operation, gateway_key
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.ports import Actor
from doorbuster.reference.payments import ReferencePaymentStore


class MemoryBalance:
    """Implements `engine.money_ports.BalanceStore`."""

    def __init__(self, payments: ReferencePaymentStore) -> None:
        self._payments = payments
        self.found: list[Reconciliation] = []
        self.noted: list[Break] = []

    async def attempts_of(self, sale_id: str, gateway: str) -> AsyncIterator[Sequence[Attempt]]:
        rows = [await self._shown(row) for row in self._payments.rows.values()]
        yield [row for row in rows if row.order.sale_id == sale_id and row.gateway == gateway]

    async def by_keys(self, keys: Sequence[str]) -> Sequence[Attempt]:
        rows = [await self._shown(row) for row in self._payments.rows.values()]
        return [row for row in rows if gateway_key(row, Operation.AUTHORIZE) in set(keys)]

    async def paid(self, sale_id: str) -> tuple[int, int]:
        rows = [await self._shown(row) for row in self._payments.rows.values()]
        paid = [
            row.amount_cents
            for row in rows
            if row.order.sale_id == sale_id
            and row.state is PaymentState.CAPTURED
            and row.order.status is OrderStatus.PAID
        ]
        return len(paid), sum(paid)

    async def record(self, found: Reconciliation, actor: Actor) -> None:
        del actor
        self.found.append(found)

    async def note(self, sale_id: str, gateway: str, found: Break) -> None:
        del sale_id, gateway
        self.noted.append(found)

    async def latest(self, sale_id: str) -> Reconciliation | None:
        return next((found for found in reversed(self.found) if found.sale_id == sale_id), None)

    async def wanting(self, gateway: str, before_ms: int) -> Sequence[str]:
        del gateway, before_ms
        return sorted({row.order.sale_id for row in self._payments.rows.values()})

    async def quarantined(self) -> int:
        return 0

    async def _shown(self, row: Attempt) -> Attempt:
        found = await self._payments.attempts(row.order.order_id)
        return next(attempt for attempt in found if attempt.payment_id == row.payment_id)
