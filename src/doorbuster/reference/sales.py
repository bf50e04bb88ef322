"""Sales in memory: implements `engine.ports.SaleStore`.

Owns: what moves a sale and what refuses to. Keeps: I1 (a cut below what is sold), I12 (the epoch is raised by
compare-and-set), I13 (statuses move along the arrows), I14, I15. Read next: `ledger.py`.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

import msgspec

from doorbuster.domain.chain import LogKind, first_head
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleTerms, status_at, terms_of
from doorbuster.domain.transitions import SALE_ARROWS, SALE_OVER, SaleStatus
from doorbuster.engine.image import ImageChunk, LineRow, SpentRow
from doorbuster.engine.ports import (
    KEEPER,
    Actor,
)
from doorbuster.reference.ledger import ReferenceLedger

_CLOCK = Actor(name="clock")
_T = TypeVar("_T")


class ReferenceSaleStore:
    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger

    # ------------------------------------------------------------------------------------------------ reading

    async def get(self, sale_id: str) -> Sale | None:
        return self._ledger.sales.get(sale_id)

    async def list_sales(self, *, cursor: str | None, limit: int) -> tuple[Sequence[Sale], str | None]:
        """Newest first. `cursor` is the last id of the page before."""
        newest = sorted(self._ledger.sales.values(), key=lambda sale: sale.sale_id, reverse=True)
        rest = [sale for sale in newest if cursor is None or sale.sale_id < cursor]
        return rest[:limit], rest[limit - 1].sale_id if len(rest) > limit else None

    async def live(self) -> Sequence[Sale]:
        releasing = {row.sale_id for row in self._ledger.releases.values()}
        return [
            sale
            for _, sale in sorted(self._ledger.sales.items())
            if sale.status not in SALE_OVER
            or sale.quantity_sold > sale.quantity_paid
            or (sale.status is SaleStatus.CANCELLED and sale.quantity_paid > 0)  # refunds to come
            or sale.sale_id in releasing
        ]

    async def time_ms(self) -> int:
        return self._ledger.clock.now_ms()

    # ------------------------------------------------------------------------------------------------ steering

    async def create(self, sale_id: str, terms: SaleTerms, actor: Actor, *, now_ms: int | None = None) -> Sale:
        """Idempotent: a second call with the same id returns the sale of the first."""
        if sale_id in self._ledger.sales:
            return self._ledger.sales[sale_id]
        now = self._ledger.clock.now_ms() if now_ms is None else now_ms
        self._ledger.add_sale(
            Sale(
                **msgspec.structs.asdict(terms),
                sale_id=sale_id,
                status=SaleStatus.SCHEDULED,
                quantity_sold=0,
                quantity_paid=0,
                epoch=0,
                tick_seen=0,
                image_run_id="",
                rebuild_reason="",
                log_size=0,
                log_head=first_head(sale_id),
                created_ms=now,
                updated_ms=now,
            )
        )
        self._ledger.append_log(sale_id, LogKind.CREATED, terms.quantity_available)
        self._ledger.note(sale_id, "create", actor)
        return self._ledger.sales[sale_id]

    async def change(self, sale_id: str, terms: SaleTerms, expected: Sale, actor: Actor) -> Sale | Refusal:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return _no_sale()
        if sale.status in SALE_OVER:
            return Refusal(Code.CONFLICT, f"the sale is {sale.status}")
        if terms_of(sale) != terms_of(expected) or _as_sold(sale.status) != _as_sold(expected.status):
            return Refusal(Code.CONFLICT, "the sale was changed meanwhile; read it and decide again")
        if terms.quantity_available < sale.quantity_sold:  # I1
            return Refusal(Code.CONFLICT, f"{sale.quantity_sold} units are reserved or paid")
        if terms.quantity_available != sale.quantity_available:  # I15
            self._ledger.append_log(sale_id, LogKind.STOCK, terms.quantity_available - sale.quantity_available)
        self._ledger.note(sale_id, "change", actor)
        self._ledger.write_sale(sale_id, **msgspec.structs.asdict(terms))
        status = self._by_stock(sale_id) if sale.status in (SaleStatus.ACTIVE, SaleStatus.SOLD_OUT) else sale.status
        return self._ledger.write_sale(sale_id, status=status)

    async def move(self, sale_id: str, to: SaleStatus, actor: Actor, *, start_now: bool = False) -> Sale | Refusal:
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return _no_sale()
        now = self._ledger.clock.now_ms()
        present = status_at(sale, now)
        # Which of ACTIVE and SOLD_OUT it is, is decided by the stock (I14).
        target = self._by_stock(sale_id) if to in (SaleStatus.ACTIVE, SaleStatus.SOLD_OUT) else to
        if to is SaleStatus.SOLD_OUT and target is not to:
            return Refusal(Code.CONFLICT, "units are free")
        if present is not target and to not in SALE_ARROWS[present]:  # I13
            return Refusal(Code.CONFLICT, f"the sale is {present}; from there it cannot become {to}")
        starts = start_now and now < sale.start_ms
        if sale.status is target and not starts:
            return sale
        self._ledger.note(sale_id, "move", actor, {"from": sale.status.value, "to": target.value})
        return self._ledger.write_sale(sale_id, status=target, start_ms=now if starts else sale.start_ms)

    async def follow_clock(self) -> Sequence[Sale]:
        moved: list[Sale] = []
        for sale_id, sale in sorted(self._ledger.sales.items()):
            status = status_at(sale, self._ledger.clock.now_ms())
            if status is not sale.status:
                moved.append(self._ledger.write_sale(sale_id, status=status))
                self._ledger.note(sale_id, "move", _CLOCK, {"from": sale.status.value, "to": status.value})
        return moved

    def _by_stock(self, sale_id: str) -> SaleStatus:
        sale = self._ledger.sales[sale_id]
        return SaleStatus.SOLD_OUT if sale.quantity_sold == sale.quantity_available else SaleStatus.ACTIVE

    async def set_blocked(
        self, sale_id: str, user_ids: Sequence[str], actor: Actor
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Both lists in the order of their texts. Of a sale that is not there, nobody is added and nobody removed."""
        if sale_id not in self._ledger.sales:
            return [], []
        before, after = self._ledger.blocked[sale_id], set(user_ids)
        if before != after:
            counts = {"added": len(after - before), "removed": len(before - after)}
            self._ledger.note(sale_id, "blocklist", actor, counts)
        self._ledger.blocked[sale_id] = after
        return sorted(after - before), sorted(before - after)

    async def blocked_count(self, sale_id: str) -> int:
        return len(self._ledger.blocked[sale_id])

    # ------------------------------------------------------------------------------------------------ the image

    async def raise_epoch(self, sale_id: str, seen: int, reason: str, by: str = KEEPER) -> int | None:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.epoch != seen:  # I12
            return None
        # Releases that wait are dropped: an image is written from what is read after this, and there the units they
        # speak of are free already (A6).
        for row in list(self._ledger.releases_of(sale_id)):
            del self._ledger.releases[row.release_id]
        self._ledger.append_log(sale_id, LogKind.EPOCH, 0, epoch=seen + 1)
        self._ledger.write_sale(sale_id, epoch=seen + 1, tick_seen=0, image_run_id="", rebuild_reason=reason)
        self._ledger.note(sale_id, "rebuild", Actor(name=by, reason=reason), {"epoch": seen + 1})
        return seen + 1

    async def request_rebuild(self, sale_id: str, epoch: int, reason: str) -> bool:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.epoch != epoch:
            return False
        self._ledger.write_sale(sale_id, rebuild_reason=reason)
        return True

    async def image_published(self, sale_id: str, epoch: int, run_id: str) -> bool:
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.epoch != epoch:
            return False
        self._ledger.write_sale(sale_id, image_run_id=run_id, rebuild_reason="")
        return True

    async def image_rows(self, sale_id: str, chunk: int) -> AsyncIterator[ImageChunk]:
        orders = self._ledger.orders_of(sale_id)
        live = [_hold_of(order) for order in orders if self._ledger.owns_units(order)]
        closed = [
            _hold_of(order)
            for order in orders
            if order.idempotency_key is not None and not self._ledger.owns_units(order)
        ]
        blocked = sorted(self._ledger.blocked[sale_id])
        chunks = [
            *(ImageChunk(holds=part) for part in _parts(live, chunk)),
            *(ImageChunk(closed_keys=part) for part in _parts(closed, chunk)),
            *(ImageChunk(blocked=part) for part in _parts(blocked, chunk)),
            *(ImageChunk(spent=part) for part in _parts(self._spent(sale_id), chunk)),
            *(ImageChunk(line=part) for part in _parts(self._waiting(sale_id), chunk)),
        ]
        for part in chunks:  # all read by now: one snapshot
            yield part

    def _waiting(self, sale_id: str) -> list[LineRow]:
        """Who waits by a draw: beyond what is ended, and not more than may."""
        sale = self._ledger.sales.get(sale_id)
        if sale is None:
            return []
        last = sale.number_high if sale.standby_limit is None else sale.quantity_available + sale.standby_limit
        return [row for row in self._ledger.drawn.get(sale_id, ()) if sale.ended_number < row.number <= last]

    def _spent(self, sale_id: str) -> list[SpentRow]:
        """The highest number of every buyer who waits no longer; granted and given up at once, it was granted."""
        spent = {user: SpentRow(user, number, "") for user, number in self._ledger.left[sale_id].items()}
        for order in self._ledger.orders_of(sale_id):
            if order.line_number is not None:
                known = spent.get(order.user_id)
                if known is None or known.number <= order.line_number:
                    spent[order.user_id] = SpentRow(order.user_id, order.line_number, order.order_id)
        return [row for _, row in sorted(spent.items())]


def _parts(rows: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _hold_of(order: Order) -> Hold:
    return Hold(
        hold_id=order.order_id,
        user_id=order.user_id,
        quantity=order.quantity,
        key=order.idempotency_key or "",
        digest=order.body_digest,
        since_ms=order.reserved_ms,
    )


def _as_sold(status: SaleStatus) -> SaleStatus:
    """ACTIVE and SOLD_OUT as one: the last unit sold or come back is no change of the sale."""
    return SaleStatus.ACTIVE if status is SaleStatus.SOLD_OUT else status


def _no_sale() -> Refusal:
    return Refusal(Code.NOT_FOUND, "there is no such sale")
