"""Draws in memory: implements `engine.line_ports.DrawLedger`.

Owns: who is on a list, and the one way a draw's record grows. Keeps: I10 (the first root and the first order stay).
Seeds are made of the sale's id: repeatable, and secret from nobody. Read next: `domain/draw.py`.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.draw import commitment_of, entry_id_of, numbers_of, rules_text
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.image import LineRow
from doorbuster.engine.line_ports import DrawRecord, Entry, EntryWord
from doorbuster.engine.ports import (
    Actor,
    StoreUnavailable,
)
from doorbuster.reference.ledger import ReferenceLedger

_DRAWER: Final = Actor(name="drawer")


class _Draw(msgspec.Struct):
    """A draw's rows: who entered, and its record."""

    entries: dict[str, Entry]
    record: DrawRecord


class ReferenceDrawLedger:
    """The draws among the sales of this ledger; one of these for one ledger."""

    def __init__(self, ledger: ReferenceLedger) -> None:
        self._ledger = ledger
        self._draws: dict[str, _Draw] = {}

    async def enter(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry]:
        found = self._find(sale_id)
        if found is None:
            return [Entry(EntryWord.NO_SALE)] * len(user_ids)
        entries = [self._enter(*found, user_id) for user_id in user_ids]
        self._count(*found)
        return entries

    def _enter(self, sale: Sale, draw: _Draw, user_id: str) -> Entry:
        now = self._ledger.clock.now_ms()
        if not 0 < len(user_id) <= limits.USER_ID_LENGTH_MAX or user_id in self._ledger.blocked[sale.sale_id]:
            return Entry(EntryWord.BLOCKED)
        if user_id in draw.entries:
            return draw.entries[user_id]
        if self._too_late(sale, draw):
            return Entry(EntryWord.CLOSED)
        if sale.entry_opens_ms is not None and now < sale.entry_opens_ms:
            return Entry(EntryWord.NOT_OPEN)
        entry_id = entry_id_of(draw.record.entry_secret, user_id).hex()
        draw.entries[user_id] = Entry(EntryWord.ENTERED, entry_id, now)
        return draw.entries[user_id]

    async def entered(self, sale_id: str, user_ids: Sequence[str]) -> Sequence[Entry | None]:
        found = self._find(sale_id)
        return [None if found is None else found[1].entries.get(user_id) for user_id in user_ids]

    async def withdraw(self, sale_id: str, user_id: str) -> bool:
        found = self._find(sale_id)
        if found is None or user_id not in found[1].entries:
            return True
        sale, draw = found
        if self._too_late(sale, draw):
            return False
        del draw.entries[user_id]
        self._count(sale, draw)
        return True

    async def record(self, sale_id: str) -> DrawRecord | None:
        found = self._find(sale_id)
        return None if found is None else found[1].record

    async def entry_count(self, sale_id: str) -> int:
        found = self._find(sale_id)
        return 0 if found is None else len(found[1].entries)

    async def close(self, sale_id: str) -> DrawRecord | None:
        found = self._find(sale_id)
        if found is None:
            return None
        sale, draw = found
        if draw.record.closed_ms is None:
            now = self._ledger.clock.now_ms()
            if now < sale.start_ms or sale.status in SALE_OVER:
                return None
            blocked = self._ledger.blocked[sale_id] & draw.entries.keys()
            removed = sorted(draw.entries.pop(user_id).entry_id for user_id in blocked)
            size = len(draw.entries)
            self._ledger.write_sale(sale_id, draw_size=size, number_high=max(size, sale.number_high))
            self._write(draw, closed_ms=now, size=size, removed=removed)
            self._count(sale, draw)
        return draw.record

    async def entry_ids(self, sale_id: str) -> bytes:
        found = self._find(sale_id)
        if found is None or found[1].record.closed_ms is None:
            return b""
        return b"".join(entry_id for entry_id, _ in _listed(found[1]))

    async def store_root(self, sale_id: str, root: bytes) -> DrawRecord:
        found = self._find(sale_id)
        if found is None or found[1].record.closed_ms is None:
            raise StoreUnavailable("the root of a draw was not taken: its list is open, or it is no draw")
        if found[1].record.root is None:
            self._write(found[1], root=root)
        return found[1].record

    async def store_order(
        self, sale_id: str, *, beacon_value: str | None, beacon_note: str, ranks: bytes
    ) -> DrawRecord:
        found = self._find(sale_id)
        if found is None or found[1].record.root is None or len(ranks) != 4 * (found[1].record.size or 0):
            raise StoreUnavailable("the order of a draw was not taken: a step before it is missing, or it is no draw")
        draw = found[1]
        if draw.record.ranks is None:
            now = self._ledger.clock.now_ms()
            self._write(draw, beacon_value=beacon_value, beacon_note=beacon_note, ranks=ranks, drawn_ms=now)
            rows = zip(_listed(draw), numbers_of(ranks), strict=True)
            self._ledger.drawn[sale_id] = [LineRow(user_id, number) for (_, user_id), number in rows]
            # The image knows nothing of it, and who was to write it anew may be gone.
            self._ledger.write_sale(sale_id, drawn_ms=now, rebuild_reason="the draw was held")
            self._ledger.note(sale_id, "draw", _DRAWER)
        return draw.record

    def _find(self, sale_id: str) -> tuple[Sale, _Draw] | None:
        """The sale and its draw, which is there as soon as the sale is."""
        sale = self._ledger.sales.get(sale_id)
        if sale is None or sale.mode is not SaleMode.DRAW:
            return None
        if sale_id not in self._draws:
            self._draws[sale_id] = _Draw(entries={}, record=_promised(sale))
        return sale, self._draws[sale_id]

    def _too_late(self, sale: Sale, draw: _Draw) -> bool:
        started = self._ledger.clock.now_ms() >= sale.start_ms
        return started or draw.record.closed_ms is not None or sale.status in SALE_OVER

    def _count(self, sale: Sale, draw: _Draw) -> None:
        self._ledger.entered[sale.sale_id] = len(draw.entries) if draw.record.closed_ms is None else 0

    @staticmethod
    def _write(draw: _Draw, **changes: object) -> None:
        draw.record = msgspec.structs.replace(draw.record, **changes)


def _promised(sale: Sale) -> DrawRecord:
    seed = hashlib.sha256(f"seed of {sale.sale_id}".encode()).digest()
    rules = rules_text(sale.sale_id, sale.beacon_round)
    return DrawRecord(
        sale_id=sale.sale_id,
        commitment=commitment_of(seed, rules),
        rules=rules,
        seed=seed,
        entry_secret=hashlib.sha256(f"entries of {sale.sale_id}".encode()).digest(),
        closed_ms=None,
        size=None,
        removed=(),
        root=None,
        beacon_value=None,
        beacon_note="",
        drawn_ms=None,
        ranks=None,
    )


def _listed(draw: _Draw) -> list[tuple[bytes, str]]:
    """Entry ids with their buyers, in the order of the list."""
    return sorted((bytes.fromhex(entry.entry_id), user_id) for user_id, entry in draw.entries.items())
