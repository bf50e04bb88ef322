"""A ledger of draws under test: short ways to set a scene, and everything that can be seen of it."""

from typing import Any

from conformance.ledger_bench import ACTOR, MINUTE, LedgerBench
from conformance.ledgers import Ledger
from doorbuster.domain.draw import RemovalReason, RemovedEntry, root_of
from doorbuster.domain.draw import draw as draw_ranks
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.image import LineRow
from doorbuster.engine.line_ports import DrawLedger, DrawRecord, Entry, EntryWord

BEFORE_MS = 10 * MINUTE


async def inline(work: Any, /, *args: Any) -> Any:
    """An offload that computes here and now."""
    return work(*args)


class DrawBench(LedgerBench):
    """One ledger with its draws, in a time of its own."""

    def __init__(self, ledger: Ledger, draws: DrawLedger) -> None:
        super().__init__(ledger)
        self.draws = draws

    def drawing(self, beacon: Any = None) -> Drawing:
        return Drawing(self.draws, beacon, inline)

    # ------------------------------------------------------------------------------------------------ the scene

    async def open_draw(self, *users: str, **changes: Any) -> Sale:
        """A draw that starts in ten minutes; these have entered."""
        start = self.now_ms() + BEFORE_MS
        terms = self.terms(**{"mode": SaleMode.DRAW, "start_ms": start, **changes})
        sale = await self.sales.create(self.ids.new_id(), terms, ACTOR)
        if users:
            await self.enter(sale, *users)
        return sale

    async def enter(self, sale: Sale, *users: str) -> list[Entry]:
        entries = list(await self.draws.enter(sale.sale_id, users))
        assert {entry.word for entry in entries} == {EntryWord.ENTERED}
        return entries

    async def entry_words(self, sale: Sale, *users: str) -> list[EntryWord]:
        return [entry.word for entry in await self.draws.enter(sale.sale_id, users)]

    async def start(self) -> None:
        """To T-0 exactly, of a draw just made."""
        await self.ledger.advance_ms(BEFORE_MS)

    async def closed(self, sale: Sale) -> DrawRecord:
        await self.start()
        record = await self.draws.close(sale.sale_id)
        assert record is not None
        return record

    async def rooted(self, sale: Sale) -> DrawRecord:
        record = await self.closed(sale)
        removed = [RemovedEntry(entry_id, RemovalReason.BLOCKED) for entry_id in record.removed]
        entries = await self.draws.entry_ids(sale.sale_id)
        return await self.draws.store_root(sale.sale_id, root_of(entries, removed))

    async def ranks(self, record: DrawRecord, value: str = "") -> bytes:
        assert record.root is not None
        entries = await self.draws.entry_ids(record.sale_id)
        return draw_ranks(entries, record.seed, record.root, bytes.fromhex(value))

    async def drawn(self, sale: Sale) -> DrawRecord:
        record = await self.rooted(sale)
        ranks = await self.ranks(record)
        return await self.draws.store_order(sale.sale_id, beacon_value=None, beacon_note="", ranks=ranks)

    # ------------------------------------------------------------------------------------------------ what is seen

    async def record(self, sale: Sale) -> DrawRecord:
        record = await self.draws.record(sale.sale_id)
        assert record is not None
        return record

    async def entry_ids(self, sale: Sale) -> list[str]:
        text = (await self.draws.entry_ids(sale.sale_id)).hex()
        return [text[at : at + 32] for at in range(0, len(text), 32)]

    async def entry_id(self, sale: Sale, user: str) -> str | None:
        [entry] = await self.draws.entered(sale.sale_id, [user])
        return None if entry is None else entry.entry_id

    async def drawn_line(self, sale: Sale) -> list[LineRow]:
        """What an image gets of the draw, by number."""
        rows = [row for part in await self.image_rows(sale, chunk=3) for row in part.line]
        return sorted(rows, key=lambda row: row.number)
