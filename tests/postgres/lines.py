"""Short ways to set the scene of a line."""

from typing import Any

from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.engine.ports import CommitBatch, CommitWord
from postgres.ledger import Ledger, an_id

COMMIT_GRANTS = "select word, (shown).order_id from commit_holds($1, $2, $3, $4, $5, $6, $7, $8, $9)"


def a_grant(user: str, number: int, *, hold_id: str = "") -> Hold:
    return Hold(
        hold_id=hold_id or an_id(),
        user_id=user,
        quantity=1,
        key=f"line-{number}",
        digest="line",
        since_ms=1,
        number=number,
    )


class Line:
    """A ledger's lines, and one sale with one."""

    def __init__(self, ledger: Ledger, sale: Sale) -> None:
        self.ledger = ledger
        self.sale = sale
        self.lines = PostgresLineLedger(ledger.database)

    async def now(self) -> Sale:
        return await self.ledger.now(self.sale)

    async def granted(self, user: str, number: int) -> Order:
        batch = CommitBatch(sale_id=self.sale.sale_id, epoch=1, tick=1, holds=[a_grant(user, number)])
        [answer] = await self.ledger.orders.commit(batch)
        assert answer.word is CommitWord.COMMITTED
        assert answer.order is not None
        return answer.order

    async def unseen_for_long(self, *orders: Order) -> None:
        """Let the claim window of these orders be over."""
        await self.ledger.sql.execute(
            "update sale_orders set reserved_at = clock_timestamp() - interval '1 hour' where order_id = any($1)",
            [order.order_id for order in orders],
        )


async def line_of(ledger: Ledger, *, numbers: int = 100, **changes: Any) -> Line:
    """A sale with a line in which so many numbers may be issued, nine units, half a minute to be seen."""
    terms: dict[str, Any] = {"mode": SaleMode.QUEUE, "quantity_available": 9, "claim_window_seconds": 30}
    line = Line(ledger, await ledger.sale(**terms | changes))
    assert await line.lines.reserve_numbers(line.sale.sale_id, numbers, epoch=1) == (0, numbers)
    return line
