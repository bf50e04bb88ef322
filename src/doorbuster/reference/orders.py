"""Orders in memory: implements `engine.ports.OrderStore`.

Owns: the precedence of the words of a commit. Keeps: I1, I5, I6, I10, I11, I12, I13; the lines are marked.
Read next: `ledger.py`.
"""

from collections.abc import Sequence

from doorbuster.domain import limits
from doorbuster.domain.chain import LogKind
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import PAYMENT_ATTEMPT_MS
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SALE_OVER, OrderStatus, SaleStatus
from doorbuster.engine.ports import Actor, CommitBatch, Committed, CommitWord, Page, PendingRelease
from doorbuster.reference.ledger import ReferenceLedger


class ReferenceOrderStore:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger

    # ------------------------------------------------------------------------------------------------ committing

    async def commit(self, batch: CommitBatch) -> Sequence[Committed]:
        sale = self._ledger.sales.get(batch.sale_id)
        if sale is None:
            return [Committed(word=CommitWord.OVER) for _ in batch.holds]
        answers = [self._commit_one(batch, hold) for hold in batch.holds]
        tick = max(sale.tick_seen, batch.tick) if sale.epoch == batch.epoch else sale.tick_seen
        self._ledger.write_sale(batch.sale_id, tick_seen=tick)  # in any case: the barrier of R6
        return answers

    def _commit_one(self, batch: CommitBatch, hold: Hold) -> Committed:
        sale = self._ledger.sales[batch.sale_id]
        known = self._ledger.orders.get(hold.hold_id)
        if known is not None:
            dead = known.idempotency_key is None or known.sale_id != sale.sale_id
            return Committed(word=CommitWord.TOMBSTONED if dead else CommitWord.COMMITTED, order=known)
        keyed = self._by_key(sale.sale_id, hold.user_id, hold.key)
        if keyed is not None:  # I5
            same = keyed.body_digest == hold.digest
            return Committed(word=CommitWord.SEEN if same else CommitWord.MISMATCH, order=keyed)
        word = self._refusal(sale, batch, hold)
        return Committed(word=word) if word else Committed(word=CommitWord.COMMITTED, order=self._reserve(sale, hold))

    def _refusal(self, sale: Sale, batch: CommitBatch, hold: Hold) -> CommitWord | None:
        now = self._ledger.clock.now_ms()
        if sale.epoch != batch.epoch:  # I12
            return CommitWord.STALE_EPOCH
        if sale.status is SaleStatus.PAUSED:
            return CommitWord.PAUSED
        if sale.status in SALE_OVER or now >= sale.end_ms:
            return CommitWord.OVER
        if now < sale.start_ms:
            return CommitWord.NOT_STARTED
        if hold.user_id in self._ledger.blocked[sale.sale_id]:
            return CommitWord.BLOCKED
        units = self._ledger.allowances[sale.sale_id][hold.user_id] + hold.quantity
        if hold.quantity < 1 or units > sale.per_user_limit:  # I6
            return CommitWord.LIMIT
        lapsed = self._ledger.lapsed[sale.sale_id][hold.user_id]
        if sale.max_lapsed_holds is not None and lapsed >= sale.max_lapsed_holds:
            return CommitWord.LAPSED
        if not 1 <= len(hold.user_id) <= limits.USER_ID_LENGTH_MAX:  # a row that cannot be stored is given back
            return CommitWord.LIMIT
        if (sale.sale_id, hold.number) in self._ledger.numbers:  # I10: somebody else's, or its key had found it
            return CommitWord.LIMIT
        if 0 < hold.number <= sale.ended_number:  # Q6
            return CommitWord.LIMIT
        if hold.number > sale.number_high:  # Q2: never set aside, so the image has what the ledger has not
            return CommitWord.NO_STOCK
        if sale.quantity_sold + hold.quantity > sale.quantity_available:  # I1
            return CommitWord.NO_STOCK
        return None

    def _reserve(self, sale: Sale, hold: Hold) -> Order:
        now = self._ledger.clock.now_ms()
        order = Order(
            order_id=hold.hold_id,
            sale_id=sale.sale_id,
            user_id=hold.user_id,
            quantity=hold.quantity,
            amount_cents=hold.quantity * sale.price_cents,
            currency=sale.currency,
            status=OrderStatus.RESERVED,
            reserved_ms=now,
            expires_ms=now + sale.checkout_ttl_seconds * 1000,  # I11
            idempotency_key=hold.key,
            body_digest=hold.digest,
            line_number=hold.number or None,
        )
        if hold.number:
            self._ledger.numbers[sale.sale_id, hold.number] = order.order_id
        self._ledger.orders[order.order_id] = order
        self._ledger.keys[sale.sale_id, order.user_id, hold.key] = order.order_id
        self._ledger.allowances[sale.sale_id][order.user_id] += order.quantity
        self._ledger.append_log(sale.sale_id, LogKind.RESERVED, order.quantity, order_id=order.order_id)
        sold = sale.quantity_sold + order.quantity
        status = SaleStatus.SOLD_OUT if sold == sale.quantity_available else SaleStatus.ACTIVE
        mark = max(sale.granted_mark, hold.number)  # Q4
        self._ledger.write_sale(sale.sale_id, quantity_sold=sold, status=status, granted_mark=mark)
        return order

    async def tombstone(self, sale_id: str, holds: Sequence[Hold]) -> Sequence[str]:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return []
        exist = [hold.hold_id for hold in holds if hold.hold_id in self._ledger.orders]
        for hold in holds:
            if hold.hold_id not in self._ledger.orders:  # I12: whoever is first is the only one
                units = max(hold.quantity, 1)  # even a hold that could never be an order has to die
                dead = Order(
                    order_id=hold.hold_id,
                    sale_id=sale_id,
                    user_id=hold.user_id,
                    quantity=units,
                    amount_cents=units * sale.price_cents,
                    currency=sale.currency,
                    status=OrderStatus.CANCELLED,
                    reserved_ms=hold.since_ms,
                    expires_ms=hold.since_ms,
                    closed_ms=self._ledger.clock.now_ms(),
                )
                self._ledger.orders[dead.order_id] = dead
                self._ledger.add_release(sale_id, dead, forget_key=True)
        return exist

    # ------------------------------------------------------------------------------------------------ ending

    async def cancel(self, order_id: str, *, user_id: str | None, actor: Actor) -> Order | Refusal:
        order = self._ledger.orders.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            return Refusal(Code.NOT_FOUND, "there is no such order")
        if order.status is OrderStatus.CANCELLED:
            return order
        if order.status is not OrderStatus.RESERVED:
            return Refusal(Code.ORDER_CLOSED, f"the order is {order.status}")
        if self._ledger.payment_open(order):
            return Refusal(Code.CONFLICT, "a payment of this order is under way")
        self._ledger.close([order], OrderStatus.CANCELLED, actor)
        self._ledger.note(order.sale_id, "cancel", actor)
        return self._ledger.orders[order_id]

    async def cancel_all(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.status is not SaleStatus.CANCELLED:
            return 0
        closable = [order for order in self._ledger.orders_of(sale_id) if self._ledger.may_close(order)]
        cancelled = self._ledger.close(closable[:limit], OrderStatus.CANCELLED, actor)
        self._ledger.note(sale_id, "cancel reserved", actor)
        return cancelled

    async def expire_due(self, *, limit: int) -> int:
        now = self._ledger.clock.now_ms()
        self._extend_paying(now)
        due = [order for order in self._closable() if order.expires_ms <= now]  # I11
        return self._ledger.close(due[:limit], OrderStatus.EXPIRED)

    def _extend_paying(self, now_ms: int) -> None:
        """One extension for a hold whose payment is open when its time is over (P1)."""
        for order in list(self._ledger.orders.values()):
            due = order.status is OrderStatus.RESERVED and order.expires_ms <= now_ms
            if due and self._ledger.payment_open(order) and not self._ledger.extended[order.order_id]:
                self._ledger.extended[order.order_id] = PAYMENT_ATTEMPT_MS // 1000
                self._ledger.write_order(order, expires_ms=now_ms + PAYMENT_ATTEMPT_MS)

    async def next_expiry_ms(self) -> int | None:
        return min((order.expires_ms for order in self._closable()), default=None)

    def _closable(self) -> list[Order]:
        """Orders that could be ended, by sale and by when they are due."""
        found = [order for order in self._ledger.orders.values() if self._ledger.may_close(order)]
        return sorted(found, key=lambda order: (order.sale_id, order.expires_ms, order.order_id))

    async def pending_releases(self, *, limit: int) -> Sequence[PendingRelease]:
        return list(self._ledger.releases.values())[:limit]

    async def releases_done(self, release_ids: Sequence[int]) -> None:
        for release_id in release_ids:
            self._ledger.releases.pop(release_id, None)

    # ------------------------------------------------------------------------------------------------ reading

    async def get(self, order_id: str) -> Order | None:
        return self._ledger.orders.get(order_id)

    async def by_key(self, sale_id: str, user_id: str, key: str) -> Order | None:
        return self._by_key(sale_id, user_id, key)

    def _by_key(self, sale_id: str, user_id: str, key: str) -> Order | None:
        order_id = self._ledger.keys.get((sale_id, user_id, key))
        return None if order_id is None else self._ledger.orders[order_id]

    async def page(self, sale_id: str, *, status: OrderStatus | None, cursor: str | None, limit: int) -> Page:
        """By order id, which is the order they were made in. `cursor` is the last id of the page before."""
        wanted = self._ledger.orders_of(sale_id, *([status] if status else []))
        rest = [order for order in wanted if cursor is None or order.order_id > cursor]
        return Page(orders=rest[:limit], next_cursor=rest[limit - 1].order_id if len(rest) > limit else None)

    async def live_hold_ids(self, sale_id: str) -> set[str]:
        return {order.order_id for order in self._ledger.orders_of(sale_id) if self._ledger.owns_units(order)}

    async def closing_hold_ids(self, sale_id: str, hold_ids: Sequence[str]) -> dict[str, str]:
        releasing = {row.hold_id for row in self._ledger.releases_of(sale_id)}
        states: dict[str, str] = {}
        for hold_id in hold_ids:
            order = self._ledger.orders.get(hold_id)
            if order is not None and order.sale_id == sale_id:
                closed = "releasing" if hold_id in releasing else "closed"
                states[hold_id] = "live" if self._ledger.owns_units(order) else closed
        return states
