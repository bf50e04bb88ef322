"""Every key name in Valkey, in one place.

Owns: the names and the hash tag. The braces are literal: all keys of a sale live in one slot, so one function can
change them in one step. No key has a time to live, and the server must not evict (`settings.py` checks it).
Read next: `functions/prelude.lua`, then `functions/take.lua`.
"""

import binascii
from functools import lru_cache
from typing import Final, Literal

import msgspec

Name = Literal[
    "meta",
    "stock",
    "holds",
    "claims",
    "keys",
    "pending",
    "blocked",
    "build",
    "queue",
    "granting",
    "grants",
    "spent",
    "news",
]

NAMES: Final[tuple[Name, ...]] = (
    "meta",  # hash: epoch state opens ends limit available held tick; written last when an image is published;
    # with a line also standby next high moves ended news mark
    "stock",  # string: free units
    "holds",  # hash: hold id -> packed hold
    "claims",  # hash: buyer -> units held or bought
    "keys",  # hash: buyer US idempotency key -> hold id US digest
    "pending",  # sorted set: hold ids not yet confirmed, by the time they were taken
    "blocked",  # set: buyers who may not take part
    "build",  # string: epoch of the image being built
    "queue",  # sorted set: buyers who wait, by their numbers; it outlives an image
    "granting",  # sorted set: buyers whose unit is taken and whose order is not settled, by their numbers
    "grants",  # hash: such a buyer -> hold id US time
    "spent",  # hash: buyer -> highest number that waits no longer US the order's id, or nothing
    "news",  # list: the latest changes of the line, packed
)
_SLOTS: Final = 16_384
_SALES_CACHED: Final = 4_096


class SaleKeys(msgspec.Struct, frozen=True):
    """The key names of one sale and the cluster slot they share."""

    slot: int
    names: dict[Name, bytes]

    def some(self, *names: Name) -> tuple[bytes, ...]:
        return tuple(self.names[name] for name in names)


@lru_cache(maxsize=_SALES_CACHED)
def sale_keys(sale_id: str) -> SaleKeys:
    """The keys of this sale. Refuses ids that would break the hash tag."""
    if not sale_id or "{" in sale_id or "}" in sale_id:
        message = f"sale id {sale_id!r} cannot be a hash tag"
        raise ValueError(message)
    tag = sale_id.encode()
    return SaleKeys(
        slot=binascii.crc_hqx(tag, 0) % _SLOTS,
        names={name: b"sale:{%b}:%b" % (tag, name.encode()) for name in NAMES},
    )
