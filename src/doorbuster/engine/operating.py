"""The operator's verbs: create, change, open, pause, resume, end, abort, rebuild, block.

Owns: what a verb means for both stores, and in which order they learn of it. Keeps: I1 (a cut takes units from the
stock counter before the ledger lowers its bound), I13. Every verb is idempotent and recorded with who and why.
The ledger is moved first wherever that can only make the counter refuse too little or too much for a moment: the
keeper brings the image into step within a second, and the ledger's guard holds meanwhile.
"""

from collections.abc import Mapping, Sequence

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleTerms, change_refused, problems_of, terms_of
from doorbuster.domain.transitions import SALE_OVER, SaleStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.ports import (
    KEEPER,
    Actor,
    Clock,
    Ids,
    OrderStore,
    OutcomeUnknown,
    SaleStore,
    StockStore,
    StoreUnavailable,
)
from doorbuster.engine.rebuilding import Rebuilder, image_terms
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import Releaser


class BlocklistResult(msgspec.Struct, frozen=True, kw_only=True):
    added: int
    removed: int
    total: int


class Operating:
    """Answers the sale as it is after the verb, or why not. May raise StoreUnavailable or OutcomeUnknown from the
    ledger: repeat the verb."""

    def __init__(
        self,
        *,
        sales: SaleStore,
        orders: OrderStore,
        stock: StockStore,
        board: SaleBoard,
        rebuilder: Rebuilder,
        releaser: Releaser,
        refunding: Refunding,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._sales = sales
        self._orders = orders
        self._stock = stock
        self._board = board
        self._rebuilder = rebuilder
        self._releaser = releaser
        self._refunding = refunding
        self._clock = clock
        self._ids = ids

    async def create(self, terms: SaleTerms, actor: Actor) -> Sale | Refusal:
        """A new sale, its image published before this returns where the stock counter answers; else the worker
        publishes it as soon as it does."""
        problems = problems_of(terms, now_ms=self._clock.now_ms())
        if problems:
            return Refusal(Code.INVALID_REQUEST, "; ".join(problems))
        sale = await self._sales.create(self._ids.new_id(), terms, actor)
        await self._build(sale, "first image")
        return await self._reread(sale)

    async def read(self, sale_id: str) -> Sale | Refusal:
        sale = await self._sales.get(sale_id)
        return sale or _no_sale()

    async def list_sales(self, *, cursor: str | None, limit: int) -> tuple[Sequence[Sale], str | None]:
        """Newest first."""
        return await self._sales.list_sales(cursor=cursor, limit=limit)

    async def change(
        self, sale_id: str, changes: Mapping[str, object], actor: Actor, *, expected_quantity: int | None = None
    ) -> Sale | Refusal:
        """Replace some of the terms; `changes` maps names of SaleTerms to new values of the right type. The ledger
        compares what is read here with its row under lock, so `expected_quantity` holds there too."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            return _no_sale()
        if expected_quantity is not None and expected_quantity != sale.quantity_available:
            return Refusal(Code.CONFLICT, f"it is {sale.quantity_available} units now; read the sale and decide again")
        terms = msgspec.structs.replace(terms_of(sale), **changes)
        if terms == terms_of(sale):
            return sale
        now = self._clock.now_ms()
        refused = change_refused(sale, terms, now_ms=now)
        if refused is not None:
            return Refusal(Code.CONFLICT, refused)
        problems = problems_of(terms, now_ms=now)
        if problems:
            return Refusal(Code.INVALID_REQUEST, "; ".join(problems))
        if terms.quantity_available < sale.quantity_available:
            return await self._cut(sale, terms, actor)
        changed = await self._sales.change(sale_id, terms, sale, actor)
        if isinstance(changed, Sale):
            await self._publish(changed)
        return changed

    async def _cut(self, sale: Sale, terms: SaleTerms, actor: Actor) -> Sale | Refusal:
        """Fewer units. The counter gives them up first, so no buyer is promised a unit the ledger will refuse (I1)."""
        wanted, before = terms.quantity_available, sale.quantity_available
        taken = False
        try:
            image = await self._stock.summary(sale.sale_id)
            if image is not None and image.epoch == sale.epoch:
                taken = await self._stock.set_available(sale.sale_id, wanted, epoch=sale.epoch)
                if not taken:
                    return await self._not_cut(sale, before - wanted)
        except (StoreUnavailable, OutcomeUnknown):
            pass  # the ledger's guard decides alone; the image is written anew when the counter is back
        changed = await self._sales.change(sale.sale_id, terms, sale, actor)
        if isinstance(changed, Sale):
            await self._publish(changed)
        elif taken:
            await self._quietly_set_available(sale.sale_id, before, sale.epoch)
        return changed

    async def _not_cut(self, sale: Sale, units: int) -> Refusal:
        """Why the counter did not give them up: they are held, or its image is being written anew."""
        image = await self._stock.summary(sale.sale_id)
        if image is None or image.epoch != sale.epoch or image.stock >= units:
            return Refusal(Code.UNAVAILABLE, "the stock counter is being written anew; nothing was changed", 1000)
        return Refusal(Code.CONFLICT, f"only {image.stock} units are free; {units} cannot be withdrawn")

    async def open(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        """Start now, whatever the start time was. An ACTIVE sale stays as it is."""
        return await self._move(sale_id, SaleStatus.ACTIVE, actor, only_from=SaleStatus.SCHEDULED, start_now=True)

    async def pause(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        """Nothing is reserved until `resume`; holds, payments and expiry go on."""
        return await self._move(sale_id, SaleStatus.PAUSED, actor)

    async def resume(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        return await self._move(sale_id, SaleStatus.ACTIVE, actor, only_from=SaleStatus.PAUSED)

    async def end(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        """No new reservations; buyers who hold a unit may still pay until their hold ends."""
        return await self._move(sale_id, SaleStatus.ENDED, actor)

    async def abort(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        """End at once, cancel everything that is reserved and give back everything that was paid. The worker goes on
        with what is left if this stops half-way; a payment that is under way ends without money, or with a refund."""
        moved = await self._move(sale_id, SaleStatus.CANCELLED, actor)
        if isinstance(moved, Sale):
            while await self._orders.cancel_all(sale_id, actor=actor, limit=limits.EXPIRY_BATCH):
                pass
            await self._refunding.refund_aborted(sale_id, actor)
            await self._relay()
            return await self._reread(moved)
        return moved

    async def warm_up(self, sale_id: str, actor: Actor) -> Sale | Refusal:
        """See to it that the image is there. Nothing is done to an image that is."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            return _no_sale()
        if sale.status in SALE_OVER:
            return Refusal(Code.CONFLICT, f"the sale is {sale.status.value}")
        try:
            image = await self._stock.summary(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the stock counter does not answer", 1000)
        if image is None:
            await self._build(sale, actor.reason or "warm-up", actor.name)
        return await self._reread(sale)

    async def rebuild(self, sale_id: str, actor: Actor, *, expected_epoch: int | None = None) -> Sale | Refusal:
        """Throw the image away and write it anew; takes are refused as unavailable for that moment. Nothing happens if
        that was done since `expected_epoch`."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            return _no_sale()
        if expected_epoch is not None and sale.epoch > expected_epoch:
            return sale
        if expected_epoch is not None and sale.epoch < expected_epoch:
            return Refusal(Code.CONFLICT, f"the sale's epoch is {sale.epoch}; read the sale and decide again")
        if sale.status in SALE_OVER:
            return Refusal(Code.CONFLICT, f"the sale is {sale.status.value}; it needs no image")
        try:
            await self._rebuilder.rebuild(sale, actor.reason or "asked for", actor.name)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the stock counter does not answer; the worker will rebuild it", 1000)
        return await self._reread(sale)

    async def set_blocklist(self, sale_id: str, user_ids: Sequence[str], actor: Actor) -> BlocklistResult | Refusal:
        """Replace the list of accounts that may not take part. Orders they already have are not touched."""
        sale = await self._sales.get(sale_id)
        if sale is None:
            return _no_sale()
        if sale.status in SALE_OVER:
            return Refusal(Code.CONFLICT, f"the sale is {sale.status.value}")
        wanted = list(dict.fromkeys(user_ids))
        added, removed = await self._sales.set_blocked(sale_id, wanted, actor)
        if not await self._spread_blocklist(sale, added, removed):
            # Half a list in the counter, of this call or of one before that was cut off: only a new image is sure to
            # have all of it. The ledger refuses meanwhile.
            current = await self._sales.get(sale_id) or sale
            await self._sales.request_rebuild(sale_id, current.epoch, "the block list reached the counter in part")
        return BlocklistResult(added=len(added), removed=len(removed), total=len(wanted))

    async def _spread_blocklist(self, sale: Sale, added: Sequence[str], removed: Sequence[str]) -> bool:
        try:
            for users, tell in ((added, self._stock.block), (removed, self._stock.unblock)):
                for start in range(0, len(users), limits.BLOCKLIST_CHUNK):
                    part = users[start : start + limits.BLOCKLIST_CHUNK]
                    if not await tell(sale.sale_id, part, epoch=sale.epoch):
                        return False
            image = await self._stock.summary(sale.sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return False
        return image is not None and image.blocked == await self._sales.blocked_count(sale.sale_id)

    async def _move(
        self,
        sale_id: str,
        to: SaleStatus,
        actor: Actor,
        *,
        only_from: SaleStatus | None = None,
        start_now: bool = False,
    ) -> Sale | Refusal:
        sale = await self._sales.get(sale_id)
        if sale is None:
            return _no_sale()
        already = sale.status is to or (to is SaleStatus.ACTIVE and sale.status is SaleStatus.SOLD_OUT)
        if already:
            return sale
        if only_from is not None and sale.status is not only_from:
            return Refusal(Code.CONFLICT, f"the sale is {sale.status.value}, not {only_from.value}")
        moved = await self._sales.move(sale_id, to, actor, start_now=start_now)
        if isinstance(moved, Sale):
            await self._publish(moved)
        return moved

    async def _publish(self, sale: Sale) -> None:
        """Tell the image what the ledger has just decided; where it does not answer, the keeper does it later."""
        self._board.put(sale)
        try:
            await self._stock.set_terms(sale.sale_id, image_terms(sale), epoch=sale.epoch)
            await self._stock.set_available(sale.sale_id, sale.quantity_available, epoch=sale.epoch)
        except (StoreUnavailable, OutcomeUnknown):
            return

    async def _quietly_set_available(self, sale_id: str, available: int, epoch: int) -> None:
        try:
            await self._stock.set_available(sale_id, available, epoch=epoch)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the keeper sees two different numbers and sets the ledger's

    async def _build(self, sale: Sale, reason: str, by: str = KEEPER) -> None:
        try:
            await self._rebuilder.rebuild(sale, reason, by)
        except (StoreUnavailable, OutcomeUnknown):
            return  # the keeper builds it when the stock counter answers

    async def _relay(self) -> None:
        try:
            while (await self._releaser.run_once()).done:
                pass
        except (StoreUnavailable, OutcomeUnknown):
            return

    async def _reread(self, sale: Sale) -> Sale:
        current = await self._sales.get(sale.sale_id) or sale
        self._board.put(current)
        return current


def _no_sale() -> Refusal:
    return Refusal(Code.NOT_FOUND, "there is no such sale")
