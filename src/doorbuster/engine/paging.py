"""Calls the person on duty, once for each matter, until somebody was reached; and says when it is over.

Owns: what a matter is (its key), and how often it is called about. A page is stored before it is sent, so a worker that
dies loses none. Read next: `adapters/paging.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from doorbuster.engine.day_ports import NotSent, PageCall, Pager
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

log = structlog.get_logger(__name__)

AGAIN_MS: Final = 15 * 60_000
"""Somebody who was reached and has not mended it is called again after this."""
MISSED_MS: Final = 15_000
_LEASE_MS: Final = 60_000
_BATCH: Final = 10
"""Pages of one pass. Each is claimed when it is sent: one that hangs holds up none that another worker could send."""


class PageStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def open(self, call: PageCall) -> bool:
        """False: the matter is open already."""
        ...

    async def resolve(self, key: str, text: str) -> bool: ...
    async def claim(self, *, lease_ms: int, limit: int) -> Sequence[PageCall]: ...
    async def matters(self) -> Sequence[PageCall]:
        """Those that are open."""
        ...

    async def reached(self, call: PageCall, ways: Sequence[str], *, again_ms: int) -> None: ...
    async def missed(self, key: str, *, again_ms: int) -> None: ...
    async def ways(self, key: str) -> Sequence[str]:
        """By which ways somebody was reached about this matter."""
        ...


class OnCall:
    """`call` and `resolve` never raise: who has trouble gets none from telling of it."""

    def __init__(self, store: PageStore, pager: Pager) -> None:
        self._store = store
        self._pager = pager
        self._unstored: dict[str, PageCall] = {}
        """Told while the ledger was away."""

    async def call(self, call: PageCall) -> Sequence[str]:
        """Open the matter and send what is to be sent. Returns the ways by which somebody was reached about it."""
        sent: dict[str, Sequence[str]] = {}
        try:
            if await self._store.open(call):
                log.warning("paging the person on duty", key=call.key, title=call.title, text=call.text)
            self._unstored.pop(call.key, None)
            await self._send_due(sent)
            return await self._store.ways(call.key)
        except (StoreUnavailable, OutcomeUnknown):
            return sent[call.key] if call.key in sent else await self._call_unstored(call)

    async def _call_unstored(self, call: PageCall) -> Sequence[str]:
        """The ledger is away, which is when somebody has to be called most: once, as far as this process knows."""
        log.warning("a page is not stored", key=call.key, title=call.title)
        if call.key in self._unstored or not self._pager.configured:
            return ()
        try:
            ways = await self._pager.page(call)
        except NotSent as problem:
            log.warning("nobody was reached", key=call.key, title=call.title, problem=str(problem))
            return ()
        self._unstored[call.key] = call
        return ways

    async def resolve(self, key: str, text: str = "") -> None:
        """The matter is over; who was called is told. Nothing happens if it was not open."""
        told = self._unstored.pop(key, None)  # the next time is a matter of its own
        if told is not None:
            try:
                await self._pager.page(msgspec.structs.replace(told, resolved=True, text=text or told.text))
            except NotSent as problem:
                log.warning("nobody was told of the end", key=key, problem=str(problem))
        try:
            if await self._store.resolve(key, text):
                log.info("a matter is over", key=key)
                await self.run_once()
        except (StoreUnavailable, OutcomeUnknown) as problem:
            log.warning("the end of a matter is not stored", key=key, problem=str(problem))

    async def matters(self) -> Sequence[PageCall]:
        """Those that are open. May raise StoreUnavailable or OutcomeUnknown."""
        return await self._store.matters()

    async def run_once(self) -> Mapping[str, int]:
        """Send what is due. Pages that reach nobody are tried again."""
        if not self._pager.configured:
            return {}
        return await self._send_due({})

    async def _send_due(self, sent: dict[str, Sequence[str]]) -> Mapping[str, int]:
        """`sent` is told which were, by which ways: also when the store fails afterwards."""
        counts = {"paged": 0, "missed": 0}
        for _ in range(_BATCH if self._pager.configured else 0):
            claimed = await self._store.claim(lease_ms=_LEASE_MS, limit=1)
            if not claimed:
                break
            [call] = claimed
            try:
                sent[call.key] = await self._pager.page(call)
            except NotSent as problem:
                log.warning("nobody was reached", key=call.key, title=call.title, problem=str(problem))
                await self._store.missed(call.key, again_ms=MISSED_MS)
                counts["missed"] += 1
            else:
                await self._store.reached(call, sent[call.key], again_ms=AGAIN_MS)
                counts["paged"] += 1
        return counts
