"""`doorbuster verify`: checks what a shop has published, offline, on anybody's machine.

Owns: a second implementation of the rules of a draw, written from their text (docs/guides/draw.md) and sharing no code
with the engine, so that one mistake is not made twice. Keeps: I10, from outside.
Every check says what it proves and what it does not. Exit codes: 0 all checks hold, 1 one does not, 2 no such file.
"""

import hashlib
import json
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

verify_app = typer.Typer(help="Check what a shop has published.", no_args_is_help=True)

_RULES_DIGEST: Final = "d06ebc82348249ff3625aabbc21acb0193f63edc80d26baf0349d184c8b4706c"
"""SHA-256 of the rules of version 1 with "" for the sale and null for the round: the words this was made from."""
_CHAIN_BEGAN_S: Final = 1_692_803_367
_CHAIN_PERIOD_S: Final = 3
"""Round 1 of drand's quicknet, and the time from each to the next."""
_NOTES: Final = frozenset(
    {
        "no beacon is configured",
        "the beacon did not answer in time",
        "the beacon gave no usable value in time",
    }
)
_REASONS: Final = frozenset({"blocked"})
_LEAF_IDS: Final = 64


class Beacon(msgspec.Struct, forbid_unknown_fields=True):
    round: int | None
    value: str | None
    note: str


class Removed(msgspec.Struct, forbid_unknown_fields=True):
    entry: str
    reason: str


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """The file of a draw that was held: every field is checked, and there are no others."""

    version: int
    sale_id: str
    state: str
    commitment: str
    rules: str
    size: int
    root: str
    removed: list[Removed]
    seed: str
    beacon: Beacon
    entries: list[str]
    order: list[int]
    fingerprint: str


class Earlier(msgspec.Struct):
    """What one could see before: while the list was open, or before the order was there."""

    sale_id: str
    commitment: str
    rules: str
    root: str | None = None
    removed: list[Removed] | None = None


class Check(msgspec.Struct, frozen=True):
    """`problem` is empty if it holds; `meaning` says what that proves, or does not."""

    name: str
    problem: str
    meaning: str = ""


@verify_app.command()
def draw(
    file: Annotated[Path, typer.Argument(help="The published file: GET /v1/sales/{sale_id}/draw.")],
    earlier: Annotated[
        Path | None, typer.Option(help="The same address saved before the start: nothing promised may have changed.")
    ] = None,
    entry: Annotated[str | None, typer.Option(help="Print the number of this entry.")] = None,
) -> None:
    """Compute a draw again from its published file. Needs no network and trusts nobody."""
    content = _read(file)
    before = None if earlier is None else _read(earlier)
    checks = list(checks_of(content, before))
    for check in checks:
        print(f"{'FAILED' if check.problem else 'ok':6}  {check.name}: {check.problem or check.meaning}")
    failed = [check.name for check in checks if check.problem]
    if failed:
        print(f"\nThis draw does not check out: {', '.join(failed)}.")
        raise typer.Exit(1)
    published = msgspec.json.decode(content, type=Published)
    print(
        f"\nThe order of these {published.size:,} entries follows from what was promised."
        "\nThis does not show that entries are different people, or that nobody was kept from entering."
    )
    if entry is not None:
        raise typer.Exit(_tell_number(published, entry))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        print(f"doorbuster: {file} cannot be read: {problem.strerror}", file=sys.stderr)
        raise typer.Exit(2) from problem


def _tell_number(published: Published, entry: str) -> int:
    """The exit code."""
    for number, index in enumerate(published.order, 1):
        if published.entries[index] == entry.lower():
            print(f"\nEntry {entry} has number {number:,} of {published.size:,}.")
            return 0
    for removed in published.removed:
        if removed.entry == entry.lower():
            print(f"\nEntry {entry} was removed before the draw: {removed.reason}.")
            return 1
    print(f"\nEntry {entry} is not on the list. If you were given it as yours, ask the shop: it should be.")
    return 1


# ---------------------------------------------------------------------------------------------------- checks


def checks_of(content: bytes, before: bytes | None = None) -> Iterator[Check]:
    """All checks in order; after the first one that fails only those that still make sense."""
    try:
        published = msgspec.json.decode(content, type=Published)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        yield Check("file", _not_final(content) or f"it is not the file of a draw that was held: {problem}")
        return
    form = _form_problem(published)
    yield Check("file", form, "complete, and nothing in it that is not checked below")
    if form:
        return
    yield _rules(published)
    yield _commitment(published)
    if before is not None:
        yield _unchanged(published, before)
    yield _entries(published)
    root = _root(published.entries, published.removed)
    yield Check(
        "root",
        "" if root.hex() == published.root else f"the list and the removals give {root.hex()}, not {published.root}",
        "list and removals are those the root stands for; they were fixed when you could first see the root",
    )
    yield _beacon(published.beacon)
    yield _order(published)
    yield _fingerprint(published)


def _not_final(content: bytes) -> str:
    """A word for those who come too early."""
    try:
        state = json.loads(content)["state"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    if state in ("open", "closed"):
        return f"the draw is not held yet ({state}); keep this file, and give it as --earlier with the final one"
    return ""


def _form_problem(published: Published) -> str:
    """What is malformed, down to the case of a hex digit, so that no two files say the same."""
    for name, text, length in (
        ("commitment", published.commitment, 64),
        ("root", published.root, 64),
        ("seed", published.seed, 64),
        ("fingerprint", published.fingerprint, 64),
        *(() if published.beacon.value is None else (("beacon value", published.beacon.value, 64),)),
    ):
        if not _is_hex(text, length):
            return f"the {name} is not {length} hex digits in lower case"
    if published.version != 1:
        return f"version {published.version} is not known to this program"
    if published.state != "drawn":
        return f"its state is {published.state!r}, not 'drawn'"
    if published.size != len(published.entries):
        return f"size says {published.size}, but there are {len(published.entries)} entries"
    bad = next((text for text in published.entries if len(text) != 32), None)
    if bad is not None or not _is_hex("".join(published.entries), 32 * published.size):
        bad = bad or next(text for text in published.entries if not _is_hex(text, 32))
        return f"entry {bad!r} is not 32 hex digits in lower case"
    for removed in published.removed:
        if not _is_hex(removed.entry, 32) or removed.reason not in _REASONS:
            return f"removed entry {removed.entry!r} with reason {removed.reason!r} is malformed"
    return ""


_HEX: Final = re.compile("[0-9a-f]*")


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and _HEX.fullmatch(text) is not None


def _rules(published: Published) -> Check:
    """The text is that of version 1, for this sale and the stated round."""
    said: dict[str, Any] = {}
    try:
        said = json.loads(published.rules)
        neutral = said | {"sale_id": "", "beacon_round": None}
        text = json.dumps(neutral, separators=(",", ":"))
        known = json.dumps(said, separators=(",", ":")) == published.rules
        known = known and hashlib.sha256(text.encode()).hexdigest() == _RULES_DIGEST
    except (ValueError, TypeError, RecursionError):
        known = False
    if not known:
        problem = "not the rules of version 1, which this program checks"
    elif said["sale_id"] != published.sale_id:
        problem = f"they are of sale {said['sale_id']}, the file is of {published.sale_id}"
    elif said["beacon_round"] != published.beacon.round:
        problem = f"they promise round {said['beacon_round']}, the file says {published.beacon.round}"
    else:
        problem = ""
    return Check("rules", problem, "version 1, for this sale: what follows is computed by their words")


def _commitment(published: Published) -> Check:
    found = hashlib.sha256(bytes.fromhex(published.seed) + published.rules.encode()).hexdigest()
    return Check(
        "commitment",
        "" if found == published.commitment else f"seed and rules give {found}, not {published.commitment}",
        "seed and rules are those the commitment stands for. That proves something if you saw the commitment before "
        "the start (--earlier)",
    )


def _unchanged(published: Published, before: bytes) -> Check:
    """Against what was seen at the time; without it the operator could have made up everything afterwards."""
    name = "earlier file"
    try:
        seen = msgspec.json.decode(before, type=Earlier)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        return Check(name, f"it is not a published file: {problem}")
    changed = [
        field for field in ("sale_id", "commitment", "rules") if getattr(seen, field) != getattr(published, field)
    ]
    if seen.root is not None and seen.root != published.root:
        changed.append("root")
    if seen.removed is not None and seen.removed != published.removed:
        changed.append("removed")
    if changed:
        return Check(name, f"{', '.join(changed)} changed since")
    fixed = "seed, rules and list" if seen.root is not None else "seed and rules"
    return Check(name, "", f"{fixed} were fixed when you saved it")


def _entries(published: Published) -> Check:
    problem = ""
    for kind, ids in (("entries", published.entries), ("removed entries", [row.entry for row in published.removed])):
        for left, right in pairwise(ids):
            if left >= right:
                word = "is there twice" if left == right else "is not in its place"
                problem = problem or f"of the {kind}, {right} {word}"
    both = set(published.entries) & {row.entry for row in published.removed} if published.removed else set[str]()
    if both:
        problem = problem or f"{min(both)} is both on the list and removed"
    return Check(
        "entries",
        problem,
        f"{published.size:,}, each once, and {len(published.removed):,} removed with a reason; yours? (--entry)",
    )


def _beacon(beacon: Beacon) -> Check:
    """What the file says of it; whether the value is the beacon's, one has to look up there."""
    if beacon.round is None:
        problem = "" if beacon.value is None and beacon.note == "" else "none was promised, but the file has one"
        return Check("beacon", problem, f"none was promised. {_WITHOUT}")
    if beacon.value is None:
        problem = (
            "" if beacon.note in _NOTES else f"round {beacon.round} is missing, and the note is none of those known"
        )
        return Check(
            "beacon", problem, f"round {beacon.round} was promised and is not there: {beacon.note}. {_WITHOUT}"
        )
    if beacon.note:
        return Check("beacon", "there is a value, and a note that there is none")
    return Check(
        "beacon",
        "",
        f"round {beacon.round} of drand's quicknet, here {beacon.value}: look it up at any drand server. It came "
        f"out at {_published_at(beacon.round)}; if the root was public by then, nobody knew the order any sooner",
    )


_WITHOUT: Final = (
    "So the shop, which knew the seed, could have known the order while entries were taken, and have chosen among lists"
)


def _published_at(number: int) -> str:
    try:
        at = datetime.fromtimestamp(_CHAIN_BEGAN_S + (number - 1) * _CHAIN_PERIOD_S, UTC)
    except (ValueError, OverflowError, OSError):
        return "a time beyond the calendar"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


# ---------------------------------------------------------------------------------------------------- computing


def _root(entries: Sequence[str], removed: Sequence[Removed]) -> bytes:
    cut = range(0, len(entries), _LEAF_IDS)
    leaves = [bytes.fromhex("".join(entries[at : at + _LEAF_IDS])) for at in cut]
    gone = [bytes.fromhex(row.entry) + row.reason.encode() for row in removed]
    return hashlib.sha256(b"\x01" + _merkle(leaves) + _merkle(gone)).digest()


def _merkle(leaves: Sequence[bytes]) -> bytes:
    """As RFC 6962 defines it, by recursion: the left part is the largest power of two that is smaller."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _merkle(leaves[:split]) + _merkle(leaves[split:])).digest()


def _order(published: Published) -> Check:
    """Every key is computed, and has to be higher than the one before."""
    meaning = "the keys of all entries, computed again, give exactly this order"
    size = published.size
    if len(published.order) != size:
        return Check("order", f"it has {len(published.order)} places for {size} entries")
    seen = bytearray(size)
    for index in published.order:
        if not 0 <= index < size or seen[index]:
            return Check("order", f"entry {index} is {'in it twice' if 0 <= index < size else 'not there'}")
        seen[index] = 1
    beacon = bytes.fromhex(published.beacon.value or "")
    keys = _keys(bytes.fromhex(published.seed), bytes.fromhex(published.root) + beacon, published.entries)
    before = b""
    for number, index in enumerate(published.order, 1):
        if keys[index] <= before:
            wrong = f"{published.entries[index]} (number {number:,}) has a lower key than the one before it"
            return Check("order", wrong)
        before = keys[index]
    return Check("order", "", meaning)


def _fingerprint(published: Published) -> Check:
    """Of few entries many values give the same order: this ties the value in the file to the rest of it."""
    ranks = array("I", bytes(4 * published.size))
    for number, index in enumerate(published.order, 1):
        if 0 <= index < published.size:
            ranks[index] = number
    if sys.byteorder == "big":
        ranks.byteswap()
    said = published.commitment + published.root + (published.beacon.value or "")
    found = hashlib.sha256(bytes.fromhex(said) + ranks.tobytes()).hexdigest()
    return Check(
        "fingerprint",
        "" if found == published.fingerprint else f"the file gives {found}, not {published.fingerprint}",
        f"{found}; whoever else has it has the same draw",
    )


def _keys(seed: bytes, message: bytes, entries: Sequence[str]) -> list[bytes]:
    """HMAC-SHA256 (RFC 2104) of message and entry under the seed; its two pads are hashed once for all."""
    outer = hashlib.sha256((int.from_bytes(seed + bytes(32), "big") ^ int("5c" * 64, 16)).to_bytes(64, "big"))
    inner = hashlib.sha256((int.from_bytes(seed + bytes(32), "big") ^ int("36" * 64, 16)).to_bytes(64, "big"))
    inner.update(message)
    keys: list[bytes] = []
    for entry in entries:
        first = inner.copy()
        first.update(bytes.fromhex(entry))
        second = outer.copy()
        second.update(first.digest())
        keys.append(second.digest())
    return keys
