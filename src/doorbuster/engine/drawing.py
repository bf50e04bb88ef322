"""Holds a draw at T-0 and publishes what it was made of.

Owns: the four steps (close the list, publish its root, ask the beacon, store the order) and the bundle that anyone can
check. Every step is stored before the next begins, each stays as it was stored first, and the order follows from what
is stored: so a crash anywhere costs a repeat, and two workers at once agree. Keeps: I10.
Read next: `domain/draw.py`; the guide for shops and buyers is docs/guides/draw.md.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from doorbuster.domain import draw
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale
from doorbuster.engine.line_ports import DrawLedger, DrawRecord
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_NO_BEACON = "no beacon is configured: whoever knew the seed could have chosen among lists of entries"


class BeaconFailed(Exception):
    """The beacon did not give the value of the round in time; the words say why."""


class Beacon(Protocol):
    """A public source of randomness whose rounds are numbered in advance."""

    async def value(self, round_number: int) -> str:
        """The value of this round. Raises BeaconFailed within its deadline."""
        ...


Offload = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments where it does not keep the event loop; `asyncio.to_thread` is one."""


class Drawing:
    """One per process. May raise StoreUnavailable or OutcomeUnknown: repeat."""

    def __init__(self, draws: DrawLedger, beacon: Beacon | None, offload: Offload) -> None:
        self._draws = draws
        self._beacon = beacon
        self._offload = offload
        self._bundles: dict[str, bytes] = {}

    async def run_once(self, sale: Sale) -> bool:
        """Bring the draw of this sale to its end, wherever it stopped before. False before T-0."""
        record = await self._draws.close(sale.sale_id)
        if record is None:
            return False
        if record.drawn_ms is not None:
            return True
        entries = draw.split_entries(await self._draws.entry_ids(sale.sale_id))
        if record.root is None:
            record = await self._draws.store_root(sale.sale_id, await self._offload(draw.root_of, entries))
        assert record.root is not None, "what was stored is there"
        value, note = await self._beacon_value(sale)
        order = await self._offload(draw.order_of, record.seed, record.root, value or "", entries)
        ranks = draw.ranks_of(order).tobytes()
        await self._draws.store_order(sale.sale_id, beacon_value=value, beacon_note=note, ranks=ranks)
        return True

    async def _beacon_value(self, sale: Sale) -> tuple[str | None, str]:
        """The value and no note, or no value and the reason. A sale does not wait for a beacon that is down."""
        if sale.beacon_round is None:
            return None, ""
        if self._beacon is None:
            return None, _NO_BEACON
        try:
            return await self._beacon.value(sale.beacon_round), ""
        except BeaconFailed as problem:
            return None, f"the beacon gave no value ({problem}): {_NO_BEACON.partition(': ')[2]}"

    async def bundle(self, sale_id: str) -> bytes | Refusal:
        """Everything published so far, as JSON; of a draw that was held, all that `doorbuster verify draw` needs."""
        known = self._bundles.get(sale_id)
        if known is not None:
            return known
        try:
            record = await self._draws.record(sale_id)
            if record is None:
                return Refusal(Code.NOT_FOUND, "there is no draw of this id")
            entries = await self._draws.entry_ids(sale_id) if record.drawn_ms is not None else b""
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
        text: bytes = await self._offload(bundle_of, record, entries)
        if record.drawn_ms is not None:
            self._bundles = {sale_id: text}
        return text


def bundle_of(record: DrawRecord, entries: bytes) -> bytes:
    """The published part of a record. The seed is in it only once the order is (I10)."""
    published: dict[str, object] = {
        "sale_id": record.sale_id,
        "state": "drawn" if record.drawn_ms is not None else "closed" if record.closed_ms is not None else "open",
        "commitment": record.commitment.hex(),
        "rules": record.rules,
    }
    if record.closed_ms is not None:
        published["size"] = record.size
        published["removed"] = [{"entry": entry, "reason": "blocked"} for entry in record.removed]
    if record.root is not None:
        published["root"] = record.root.hex()
    if record.drawn_ms is not None and record.ranks is not None:
        ranks = memoryview(record.ranks).cast("I")
        order = [0] * len(ranks)
        for index, number in enumerate(ranks):
            order[number - 1] = index
        published["seed"] = record.seed.hex()
        published["beacon"] = {"value": record.beacon_value, "note": record.beacon_note}
        published["entries"] = [entry.hex() for entry in draw.split_entries(entries)]
        published["order"] = order
    return msgspec.json.encode(published)
