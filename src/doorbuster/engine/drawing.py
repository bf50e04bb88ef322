"""Holds a draw, and publishes what is needed to check it.

Owns: the steps from T-0 to a stored order, and the published file. Keeps: I10. The steps are close, root, beacon and
order; each is stored before the next begins and the first one stored stays, so anybody may repeat any of them: a crash
between two loses nothing, and two at once agree. The root is public before a beacon value is asked for; the seed is
public with the order and not before.
Read next: `domain/draw.py`; `docs/guides/draw.md` for what all this proves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import msgspec

from doorbuster.domain.draw import (
    ENTRY_BYTES,
    BeaconNote,
    RemovalReason,
    RemovedEntry,
    fingerprint_of,
    keyed_part,
    order_of,
    ranks_of,
    root_of,
)
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale
from doorbuster.engine.line_ports import DrawLedger, DrawRecord
from doorbuster.engine.ports import InvariantViolation

_T = TypeVar("_T")
_PART_ENTRIES: Final = 50_000
"""Less is not worth a trip to another processor."""
_PARTS_MAX: Final = 8
_BUNDLES_KEPT: Final = 2
"""Published files kept in memory: 40 MB for a million entries."""


class BeaconAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is hex digits, empty if there is none; then `wait` says whether to ask again, and `note` why it is not
    to be had."""

    value: str = ""
    wait: bool = False
    note: str = ""


class Beacon(Protocol):
    """A public source of values that nobody can know in advance."""

    async def value(self, round_number: int) -> BeaconAnswer:
        """The value of this round, within a second or two; patience is counted here: once it is used up for a round,
        `wait` is false. Never raises for what the other side does."""
        ...


class Offload(Protocol):
    """Runs a pure function elsewhere, or here: a thread, a process, or inline in a simulated world."""

    def __call__(self, work: Callable[..., _T], /, *args: Any) -> Awaitable[_T]: ...


class BundleState(StrEnum):
    OPEN = "open"  # entries are taken: commitment and rules
    CLOSED = "closed"  # and the root, as soon as it is computed
    DRAWN = "drawn"  # and everything else


class BundleBeacon(msgspec.Struct, frozen=True, kw_only=True):
    """`note` says why a round that was promised has no value here; empty if it has one or none was promised."""

    round: int | None
    value: str | None
    note: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    entry: str
    reason: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The published file: a contract, described in docs/guides/draw.md. Bytes are hex digits in lower case."""

    version: int
    sale_id: str
    state: BundleState
    commitment: str
    rules: str
    size: int
    """Entries on the list; while it is open, so far."""
    root: str | None = None
    removed: Sequence[Removed] | None = None
    seed: str | None = None
    beacon: BundleBeacon | None = None
    entries: msgspec.Raw = msgspec.Raw()
    """A list of ids, ascending."""
    order: msgspec.Raw = msgspec.Raw()
    """A list: the place in `entries`, from 0, of who has number 1, number 2, and so on."""
    fingerprint: str | None = None


class Drawing:
    """One per process. May raise StoreUnavailable or OutcomeUnknown: call again."""

    def __init__(self, draws: DrawLedger, beacon: Beacon | None, offload: Offload) -> None:
        self._draws = draws
        self._beacon = beacon
        self._offload = offload
        self._bundles: dict[str, bytes] = {}
        self._bundling = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------ drawing

    async def run_once(self, sale: Sale) -> bool:
        """Take the draw as far as it goes now. True once the order is stored, whoever stored it; False before T-0,
        and while the beacon's round may still come."""
        record = await self._draws.record(sale.sale_id)
        if record is not None and record.closed_ms is None:
            record = await self._draws.close(sale.sale_id)
        if record is None:
            return False
        if record.ranks is not None:
            return True
        entries: bytes | None = None
        if record.root is None:
            entries = await self._listed(record)
            record = await self._draws.store_root(sale.sale_id, await self._root(record, entries))
        # Only now: a value that was known before the root was fixed would prove nothing.
        beacon = await self._ask_beacon(record)
        if beacon.wait:
            return False
        if entries is None:
            entries = await self._listed(record)
            if await self._root(record, entries) != record.root:
                raise InvariantViolation(f"the list of draw {sale.sale_id} is not the one whose root was published")
        await self._draws.store_order(
            sale.sale_id,
            beacon_value=beacon.value or None,
            beacon_note=beacon.note,
            ranks=await self._ranks(record, entries, bytes.fromhex(beacon.value)),
        )
        return True

    async def _listed(self, record: DrawRecord) -> bytes:
        entries = await self._draws.entry_ids(record.sale_id)
        if len(entries) != ENTRY_BYTES * (record.size or 0):
            raise InvariantViolation(f"draw {record.sale_id} was closed with {record.size} entries; it has others now")
        return entries

    async def _root(self, record: DrawRecord, entries: bytes) -> bytes:
        removed = [RemovedEntry(entry_id, RemovalReason.BLOCKED) for entry_id in record.removed]
        return await self._offload(root_of, entries, removed)

    async def _ask_beacon(self, record: DrawRecord) -> BeaconAnswer:
        promised = _promised_round(record)
        if promised is None:
            return BeaconAnswer()
        if self._beacon is None:
            return BeaconAnswer(note=BeaconNote.NOT_CONFIGURED)
        return await self._beacon.value(promised)

    async def _ranks(self, record: DrawRecord, entries: bytes, beacon_value: bytes) -> bytes:
        """In parts, so that an offload with several processors uses them."""
        count = len(entries) // ENTRY_BYTES
        parts = max(1, min(_PARTS_MAX, count // _PART_ENTRIES))
        step = -(-count // parts) or 1
        message = (record.root or b"") + beacon_value
        keyed = await asyncio.gather(
            *(
                self._offload(
                    keyed_part, entries[first * ENTRY_BYTES : (first + step) * ENTRY_BYTES], first, record.seed, message
                )
                for first in range(0, count, step)
            )
        )
        return await self._offload(ranks_of, keyed)

    # ------------------------------------------------------------------------------------------------ publishing

    async def bundle(self, sale_id: str) -> bytes | Refusal:
        """The published file as it is now, JSON. That of a draw that was held never changes and is kept."""
        kept = self._bundles.get(sale_id)
        if kept is not None:
            return kept
        record = await self._draws.record(sale_id)
        if record is None:
            return Refusal(Code.NOT_FOUND, "there is no such draw")
        if record.ranks is None:
            return await self._unfinished(record)
        async with self._bundling:  # a crowd that asks at once is answered with one piece of work
            if sale_id not in self._bundles:
                made = await self._finished(record, record.ranks)
                while len(self._bundles) >= _BUNDLES_KEPT:
                    self._bundles.pop(next(iter(self._bundles)))
                self._bundles[sale_id] = made
            return self._bundles[sale_id]

    async def _unfinished(self, record: DrawRecord) -> bytes:
        """Nothing of the seed (I10)."""
        closed = record.closed_ms is not None
        bundle = Bundle(
            version=1,
            sale_id=record.sale_id,
            state=BundleState.CLOSED if closed else BundleState.OPEN,
            commitment=record.commitment.hex(),
            rules=record.rules,
            size=record.size or 0 if closed else await self._draws.entry_count(record.sale_id),
            root=None if record.root is None else record.root.hex(),
            removed=_removed(record) if closed else None,
        )
        return msgspec.json.encode(bundle)

    async def _finished(self, record: DrawRecord, ranks: bytes) -> bytes:
        entries = await self._draws.entry_ids(record.sale_id)
        return await self._offload(_published, record, entries, ranks)


def _published(record: DrawRecord, entries: bytes, ranks: bytes) -> bytes:
    text = entries.hex()
    ids = [text[at : at + 2 * ENTRY_BYTES] for at in range(0, len(text), 2 * ENTRY_BYTES)]
    bundle = Bundle(
        version=1,
        sale_id=record.sale_id,
        state=BundleState.DRAWN,
        commitment=record.commitment.hex(),
        rules=record.rules,
        size=len(ids),
        root=(record.root or b"").hex(),
        removed=_removed(record),
        seed=record.seed.hex(),
        beacon=BundleBeacon(round=_promised_round(record), value=record.beacon_value, note=record.beacon_note),
        entries=msgspec.Raw(msgspec.json.encode(ids)),
        order=msgspec.Raw(msgspec.json.encode(order_of(ranks))),
        fingerprint=fingerprint_of(
            record.commitment, record.root or b"", bytes.fromhex(record.beacon_value or ""), ranks
        ).hex(),
    )
    return msgspec.json.encode(bundle)


def _removed(record: DrawRecord) -> list[Removed]:
    return [Removed(entry=entry_id, reason=RemovalReason.BLOCKED) for entry_id in record.removed]


class _Rules(msgspec.Struct):
    beacon_round: int | None


def _promised_round(record: DrawRecord) -> int | None:
    """From the rules, which were committed to, not from the sale."""
    return msgspec.json.decode(record.rules, type=_Rules).beacon_round
