"""Reads orders and gives them back before they are paid.

Owns: who may see or cancel an order. Keeps: I13 (only RESERVED is cancelled), I3 (the unit goes on sale again at once).
"""

import asyncio

from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Actor, OrderStore, OutcomeUnknown, Page, StoreUnavailable
from doorbuster.engine.releasing import Releaser


class Ordering:
    """Someone else's order is NOT_FOUND: whether it exists is nobody's business. `user_id` None is the operator."""

    def __init__(self, orders: OrderStore, releaser: Releaser) -> None:
        self._orders = orders
        self._releaser = releaser
        self._relays: set[asyncio.Task[None]] = set()

    async def read(self, order_id: str, user_id: str | None) -> Order | Refusal:
        try:
            order = await self._orders.get(order_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
        if order is None or (user_id is not None and order.user_id != user_id):
            return Refusal(Code.NOT_FOUND, "there is no such order")
        return order

    async def cancel(self, order_id: str, user_id: str | None, actor: Actor) -> Order | Refusal:
        """Give the order's units back. Idempotent. The worker would carry the release to the stock counter anyway;
        doing it at once puts the unit on sale without waiting for the worker's next turn."""
        try:
            order = await self._orders.cancel(order_id, user_id=user_id, actor=actor)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        if isinstance(order, Order):
            task = asyncio.get_running_loop().create_task(self._releaser.run_quietly())
            self._relays.add(task)
            task.add_done_callback(self._relays.discard)
        return order

    async def page(self, sale_id: str, *, status: OrderStatus | None, cursor: str | None, limit: int) -> Page | Refusal:
        """Orders of a sale in the order they were made."""
        try:
            return await self._orders.page(sale_id, status=status, cursor=cursor, limit=limit)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
