"""Gates and pages in memory: implements `engine.scaling.Fleet` and `engine.paging.PageStore`.

Owns: rows in dictionaries. Read next: `engine/scaling.py`, `engine/paging.py`.
"""

from collections.abc import Sequence

import msgspec

from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.ports import Clock
from doorbuster.engine.scaling import STALE_MS, GateBeat


class ReferenceFleet:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[str, GateBeat] = {}

    async def beat(self, beat: GateBeat) -> None:
        now, known = self._clock.now_ms(), self._beats.get(beat.gate_id)
        started = now if known is None else known.started_ms
        self._beats[beat.gate_id] = msgspec.structs.replace(beat, started_ms=started, beat_ms=now)

    async def leave(self, gate_id: str) -> None:
        self._beats.pop(gate_id, None)

    async def gates(self) -> Sequence[GateBeat]:
        alive = (beat for beat in self._beats.values() if beat.beat_ms > self._clock.now_ms() - STALE_MS)
        return sorted(alive, key=lambda beat: (beat.started_ms, beat.gate_id))


class _Page(msgspec.Struct):
    call: PageCall
    next_ms: int | None
    paged: bool = False
    resolved: bool = False
    reached: tuple[str, ...] = ()


class ReferencePages:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pages: dict[str, _Page] = {}

    async def open(self, call: PageCall) -> bool:
        known = self._pages.get(call.key)
        if known is not None and not known.resolved:
            return False
        self._pages[call.key] = _Page(call=call, next_ms=self._clock.now_ms())
        return True

    async def resolve(self, key: str, text: str) -> bool:
        page = self._pages.get(key)
        if page is None or page.resolved:
            return False
        page.resolved = True
        page.call = msgspec.structs.replace(page.call, resolved=True, text=text or page.call.text)
        page.next_ms = self._clock.now_ms() if page.paged else None
        return True

    async def claim(self, *, lease_ms: int, limit: int) -> Sequence[PageCall]:
        now = self._clock.now_ms()
        due = [page for page in self._pages.values() if page.next_ms is not None and page.next_ms <= now][:limit]
        for page in due:
            page.next_ms = now + lease_ms
        return [page.call for page in due]

    async def matters(self) -> Sequence[PageCall]:
        return [page.call for page in self._pages.values() if not page.resolved]

    async def reached(self, call: PageCall, ways: Sequence[str], *, again_ms: int) -> None:
        page = self._pages[call.key]
        page.paged, page.reached = True, tuple(ways)
        page.next_ms = self._clock.now_ms() + again_ms
        if page.resolved:
            page.next_ms = None if call.resolved else self._clock.now_ms()

    async def missed(self, key: str, *, again_ms: int) -> None:
        self._pages[key].next_ms = self._clock.now_ms() + again_ms

    async def ways(self, key: str) -> Sequence[str]:
        page = self._pages.get(key)
        return () if page is None else page.reached
