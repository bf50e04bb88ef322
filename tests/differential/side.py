"""One of the two shops that are driven by the same commands, and all that can be seen of it."""

from collections.abc import Sequence

import msgspec

from conformance.ledgers import Ledger
from differential.view import USERS
from doorbuster.domain.order import Hold
from doorbuster.domain.sale import Sale
from doorbuster.engine.image import ImageSummary
from doorbuster.engine.ports import (
    StockStore,
)
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.releasing import OrphanSweep, Releaser

FOR_EVER = 10**15


class Side:
    """A ledger and a stock counter, with the use cases that write both."""

    def __init__(self, name: str, ledger: Ledger, stock: StockStore) -> None:
        self.name = name
        self.ledger = ledger
        self.stock = stock
        self.rebuilder = Rebuilder(ledger.sales, stock)
        self.releaser = Releaser(ledger.sales, ledger.orders, stock)
        self.sweep = OrphanSweep(ledger.orders, stock)

    def plain(self, sale: Sale) -> Sale:
        """Without the name of the server, which is each side's own."""
        return msgspec.structs.replace(sale, image_run_id="a server" if sale.image_run_id else "")

    async def state(self, sale_ids: Sequence[str]) -> dict[str, object]:
        """Everything that a step can have changed; equal on both sides after every one."""
        releases = await self.ledger.orders.pending_releases(limit=10_000)
        seen: dict[str, object] = {
            "releases": sorted((row.hold_id, row.sale_id, row.user_id, row.epoch, row.forget_key) for row in releases),
        }
        for sale_id in sale_ids:
            seen |= {f"{name} of {sale_id}": value for name, value in (await self._sale(sale_id)).items()}
        return seen

    async def _sale(self, sale_id: str) -> dict[str, object]:
        sale = await self.ledger.sales.get(sale_id)
        summary = await self.stock.summary(sale_id)
        page = await self.ledger.orders.page(sale_id, status=None, cursor=None, limit=10_000)
        holds = await self._holds(sale_id)
        return {
            "sale": sale and self.plain(sale),
            "orders": list(page.orders),
            "image": summary and _without_server(summary),
            "holds": holds,
            "claims": await self.stock.claims(sale_id, USERS),
            "pending": list(await self.stock.pending_before(sale_id, FOR_EVER, 10_000)),
        }

    async def _holds(self, sale_id: str) -> dict[str, Hold]:
        chunks = [chunk async for chunk in self.stock.holds(sale_id)]
        return {hold.hold_id: hold for chunk in chunks for hold in chunk}

    async def accounts(self, sale_ids: Sequence[str]) -> dict[str, object]:
        """The dearer things: the log row by row, the facts of an audit, what an image would be made of."""
        seen: dict[str, object] = {
            "next expiry": await self.ledger.orders.next_expiry_ms(),
            "live": [sale.sale_id for sale in await self.ledger.sales.live()],
        }
        for sale_id in sale_ids:
            rows = [rows async for rows in self.ledger.audits.log_rows(sale_id)]
            facts = await self.ledger.audits.facts(sale_id)
            page = await self.ledger.orders.page(sale_id, status=None, cursor=None, limit=10_000)
            chunks = [chunk async for chunk in self.ledger.sales.image_rows(sale_id, 100)]
            seen |= {
                f"attempts of {sale_id}": [
                    await self.ledger.payments.attempts(order.order_id) for order in page.orders if order.payment
                ],
                f"live ids of {sale_id}": await self.ledger.orders.live_hold_ids(sale_id),
                f"log of {sale_id}": [row for chunk in rows for row in chunk],
                f"facts of {sale_id}": facts and msgspec.structs.replace(facts, sale=self.plain(facts.sale)),
                f"live rows of {sale_id}": sorted(hold.hold_id for chunk in chunks for hold in chunk.holds),
                f"key rows of {sale_id}": sorted(hold.hold_id for chunk in chunks for hold in chunk.closed_keys),
                f"blocked of {sale_id}": sorted(user for chunk in chunks for user in chunk.blocked),
            }
        return seen


def _without_server(summary: ImageSummary) -> ImageSummary:
    return msgspec.structs.replace(summary, run_id="")
