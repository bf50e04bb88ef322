"""Events of gateways in memory: implements `engine.news.NewsStore` over reference payments.

Owns: that an event is new once. Read next: `payments.py`.
"""

from doorbuster.domain.payment import Attempt, Operation, gateway_key
from doorbuster.engine.news import Noted
from doorbuster.engine.payment_ports import News
from doorbuster.reference.payments import ReferencePaymentStore


class ReferenceNewsStore:
    def __init__(self, payments: ReferencePaymentStore) -> None:
        self._payments = payments
        self._deliveries: dict[str, int] = {}

    async def note(self, news: News) -> Noted:
        self._deliveries[news.event_id] = self._deliveries.get(news.event_id, 0) + 1
        fresh = self._deliveries[news.event_id] == 1
        attempt = await self._about(news.key)
        if fresh and attempt is not None:
            self._payments.look_at.add(attempt.payment_id)
        return Noted(fresh=fresh, attempt=attempt)

    async def _about(self, key: str) -> Attempt | None:
        for row in self._payments.rows.values():
            if key and gateway_key(row, Operation.AUTHORIZE) == key:
                found = await self._payments.attempts(row.order.order_id)
                return next(attempt for attempt in found if attempt.payment_id == row.payment_id)
        return None
