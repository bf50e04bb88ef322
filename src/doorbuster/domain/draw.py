"""The draw: how an order comes from a secret seed, a closed list and a public random value.

Owns: version 1 of the rules, as text and as code. Keeps: I10 (the order of a draw is a function of what was published;
nobody chooses it). PostgreSQL makes the same text and the same commitment when a draw is created, and
`doorbuster verify draw` has an implementation of its own; tests hold the three together.
Knows nothing of buyers: an entry is 16 bytes. Read next: `engine/drawing.py`, then `docs/guides/draw.md`.
"""

import hashlib
import sys
from array import array
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

VERSION: Final = 1
ENTRY_BYTES: Final = 16
HASH_BYTES: Final = 32
LEAF_ENTRIES: Final = 64
"""Entries in one leaf of the tree: a million of them are hashed in a tenth of a second instead of three seconds."""

_RULES: Final = (
    '{"version":1,"sale_id":"%s","beacon_round":%s,'
    '"commitment":"SHA-256 of the 32 bytes of the seed followed by this text in UTF-8. || joins bytes below.",'
    '"entries":"An entry id is 16 bytes. The list holds every id that was entered before the start and not removed,'
    ' each once, ascending as bytes. Every removed id is published with a reason.",'
    '"root":"MTH is the Merkle tree hash of RFC 6962, section 2.1: the empty list gives SHA-256 of nothing, a leaf'
    " SHA-256(0x00 || leaf), a node SHA-256(0x01 || left || right). E is MTH over the list cut into leaves of 64 ids,"
    " the last one shorter. R is MTH over the removed, ascending by id, each leaf an id || its reason in UTF-8."
    ' root = SHA-256(0x01 || E || R).",'
    '"beacon":"If beacon_round is a number, the beacon value is the 32 bytes of randomness of that round of drand'
    " quicknet, chain hash 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971, fetched after the root"
    ' was fixed.",'
    '"order":"The key of an entry is HMAC-SHA256 under the seed of root || beacon value || entry id. The entries'
    ' ascending by key as bytes have the numbers 1, 2, 3 and so on; equal keys ascending by id.",'
    '"fallback":"If beacon_round is null the beacon value is empty. If the value of the round cannot be had in time'
    " it is empty too, and the publication says so: then nobody outside can rule out that the order was known before"
    ' the list was closed."}'
)
"""The chain is part of the rules: a round number alone would let somebody choose among chains."""


class RemovalReason(StrEnum):
    """Why an entry was taken off the list when it was closed."""

    BLOCKED = "blocked"  # the shop had blocked the account


class BeaconNote(StrEnum):
    """Why a round that was promised is not in the draw. A closed list: a published draw has no free text in it."""

    NOT_CONFIGURED = "no beacon is configured"
    UNREACHABLE = "the beacon did not answer in time"
    UNUSABLE = "the beacon gave no usable value in time"


class RemovedEntry(msgspec.Struct, frozen=True, array_like=True):
    """`entry_id` is 32 hex digits."""

    entry_id: str
    reason: str


def rules_text(sale_id: str, beacon_round: int | None) -> str:
    """The rules a draw is held by, complete enough to be programmed from. Nothing in it can change later."""
    return _RULES % (sale_id, "null" if beacon_round is None else beacon_round)


def commitment_of(seed: bytes, rules: str) -> bytes:
    """What is published when the draw is created: afterwards neither the seed nor a word of the rules can change."""
    return hashlib.sha256(seed + rules.encode()).digest()


def entry_id_of(entry_secret: bytes, user_id: str) -> bytes:
    """A buyer's id in the published list. Without the secret it cannot be traced to anybody, or guessed."""
    return hashlib.sha256(entry_secret + user_id.encode()).digest()[:ENTRY_BYTES]


def tree_hash(leaves: Iterable[bytes]) -> bytes:
    """RFC 6962's Merkle tree hash. Pairing neighbors level by level, with an odd last one carried up as it is, gives
    the same tree as its recursion by powers of two."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        above = [_node(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = above + level[len(above) * 2 :]
    return level[0]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(entries: bytes, removed: Sequence[RemovedEntry] = ()) -> bytes:
    """What is published when the list is closed. `entries` are the ids one after the other, ascending; from here on
    nobody can add an entry, take one off, or change who was removed and why."""
    step = LEAF_ENTRIES * ENTRY_BYTES
    listed = tree_hash(entries[at : at + step] for at in range(0, len(entries), step))
    gone = tree_hash(bytes.fromhex(row.entry_id) + row.reason.encode() for row in removed)
    return _node(listed, gone)


_RECORD: Final = HASH_BYTES + 4
_PAD: Final = 64


def keyed_part(entries: bytes, first: int, seed: bytes, message: bytes) -> bytes:
    """The entries of one part of the list by their keys: records of key and index (4 bytes, big-endian), sorted.

    `first` is the index of the part's first entry; `message` is root and beacon value. The two halves of the HMAC
    (RFC 2104) are hashed once as far as all entries share them, which leaves two blocks for each.
    """
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in seed.ljust(_PAD, b"\0")) + message).copy
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in seed.ljust(_PAD, b"\0"))).copy
    records: list[bytes] = []
    for index, at in enumerate(range(0, len(entries), ENTRY_BYTES), first):
        mine = inner()
        mine.update(entries[at : at + ENTRY_BYTES])
        key = outer()
        key.update(mine.digest())
        records.append(key.digest() + index.to_bytes(4, "big"))
    records.sort()
    return b"".join(records)


def ranks_of(parts: Sequence[bytes]) -> bytes:
    """The number each entry was drawn to, in the order of the list: 4 bytes each, little-endian. `parts` are those of
    `keyed_part`, together the whole list."""
    records = [part[at : at + _RECORD] for part in parts for at in range(0, len(part), _RECORD)]
    records.sort()  # runs that are sorted already are only merged
    ranks = array("I", bytes(4 * len(records)))
    for number, record in enumerate(records, 1):
        ranks[int.from_bytes(record[HASH_BYTES:], "big")] = number
    return little_endian(ranks).tobytes()


def draw(entries: bytes, seed: bytes, root: bytes, beacon_value: bytes) -> bytes:
    """The ranks of a whole list at once."""
    return ranks_of([keyed_part(entries, 0, seed, root + beacon_value)])


def numbers_of(ranks: bytes) -> "array[int]":
    """Ranks as numbers."""
    numbers = array("I")
    numbers.frombytes(ranks)
    return little_endian(numbers)


def order_of(ranks: bytes) -> list[int]:
    """The draw the other way round: the index of the entry with number 1, with number 2, and so on."""
    order = [0] * (len(ranks) // 4)
    for index, number in enumerate(numbers_of(ranks)):
        order[number - 1] = index
    return order


def fingerprint_of(commitment: bytes, root: bytes, beacon_value: bytes, ranks: bytes) -> bytes:
    """A published draw in 32 bytes, to be compared by eye or over the phone. It proves nothing of its own: the keys
    do, except that of a few entries many seeds and values give the same order."""
    return hashlib.sha256(commitment + root + beacon_value + ranks).digest()


def little_endian(numbers: "array[int]") -> "array[int]":
    """The same numbers with their bytes as they are stored, whatever the machine."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
