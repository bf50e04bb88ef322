"""Takes entries for a draw, until its list is closed at T-0.

Owns: what a buyer is told before there is an order. Keeps: I10 (one entry per account, stored before it is told).
There is time before T-0, so every entry is a row in PostgreSQL and the draw survives anything (protocol, section 2).
Read next: `drawing.py`, which closes the list and draws.
"""

from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.place import Place
from doorbuster.domain.sale import Sale
from doorbuster.engine.describing import Describer
from doorbuster.engine.gathering import Gathering
from doorbuster.engine.line_ports import DrawLedger, Entry, EntryWord
from doorbuster.engine.ports import Clock, Ids

_WAITING_MAX = 50_000
"""Entries that wait for a commit in one gate: two or three seconds of them. Full: 503, and the buyer repeats."""
_DRAWING_RETRY_MS = 1_000
"""A draw of a million entries is held in seconds, a usual one in a tenth of one."""


class Entering:
    """One per gate. May raise StoreUnavailable or OutcomeUnknown: a repeat is safe and gives the same entry."""

    def __init__(self, draws: DrawLedger, describer: Describer, clock: Clock, ids: Ids) -> None:
        self._draws = draws
        self._describer = describer
        self._clock = clock
        self._ids = ids
        self._entries: Gathering[str, Entry] = Gathering(
            draws.enter, batch_max=limits.DRAW_ENTRY_BATCH, waiting_max=_WAITING_MAX
        )
        self._looks: Gathering[str, Entry | None] = Gathering(
            draws.entered, batch_max=limits.DRAW_ENTRY_BATCH, waiting_max=_WAITING_MAX
        )

    async def enter(self, sale: Sale, user_id: str) -> Place | Refusal:
        """Put this buyer on the list, once."""
        entry = await self._entries.ask(sale.sale_id, user_id)
        match entry.word:
            case EntryWord.ENTERED:
                return self._describer.entered(sale, entry)
            case EntryWord.NOT_OPEN:
                return self._not_open(sale)
            case EntryWord.BLOCKED:
                return Refusal(Code.BLOCKED, "this account may not take part in this sale")
            case EntryWord.CLOSED:
                return self._drawing("the draw is being held; ask again to join behind those who entered")
            case EntryWord.NO_SALE:
                return Refusal(Code.NOT_FOUND, "there is no such sale")

    async def place(self, sale: Sale, user_id: str) -> Place | Refusal:
        entry = await self._looks.ask(sale.sale_id, user_id)
        if entry is None:
            return Refusal(Code.NOT_FOUND, "this buyer has not entered")
        return self._describer.entered(sale, entry)

    async def withdraw(self, sale: Sale, user_id: str) -> Place | Refusal:
        """Take the entry back; entering again later is as good, because the order is drawn."""
        if await self._looks.ask(sale.sale_id, user_id) is None:
            return Refusal(Code.NOT_FOUND, "this buyer has not entered")
        if await self._draws.withdraw(sale.sale_id, user_id):
            return self._describer.left(sale)
        return self._drawing("the draw is being held; ask again to leave the line")

    def _not_open(self, sale: Sale) -> Refusal:
        opens_ms = sale.entry_opens_ms if sale.entry_opens_ms is not None else sale.created_ms
        wait_ms = max(1, opens_ms - self._clock.now_ms())
        return Refusal(
            Code.NOT_STARTED,
            f"entries are taken in {wait_ms / 1000:.1f} s; all that come before the start are equal",
            wait_ms + int(2_000 * self._ids.jitter()),
        )

    def _drawing(self, detail: str) -> Refusal:
        return Refusal(Code.UNAVAILABLE, detail, int(_DRAWING_RETRY_MS * (1 + self._ids.jitter())))
