"""The rules as code: known answers, and laws that hold for any list."""

import hashlib
import hmac
import json
import random
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.draw_bench import DrawBench
from doorbuster.cli.verify import checks_of
from doorbuster.domain.draw import (
    LEAF_ENTRIES,
    RemovedEntry,
    commitment_of,
    draw,
    fingerprint_of,
    keyed_part,
    numbers_of,
    order_of,
    ranks_of,
    root_of,
    rules_text,
    tree_hash,
)

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "draw.md"

RFC_9162_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The tree that implementations of Certificate Transparency are tested with, and its root after each leaf."""
RFC_9162_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def entries(count: int, seed: int = 0) -> bytes:
    """A list of so many ids."""
    return b"".join(sorted(random.Random(seed).randbytes(16) for _ in range(count)))


@pytest.mark.parametrize("size", range(1, 9))
def test_tree_is_that_of_certificate_transparency(size: int) -> None:
    assert tree_hash(RFC_9162_LEAVES[:size]).hex() == RFC_9162_ROOTS[size - 1]


def test_empty_tree_is_the_hash_of_nothing() -> None:
    assert tree_hash([]) == hashlib.sha256().digest()


def recursive(leaves: list[bytes]) -> bytes:
    """As RFC 6962 writes it."""
    if len(leaves) <= 1:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + recursive(leaves[:split]) + recursive(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_tree_by_levels_is_the_tree_by_recursion(leaves: list[bytes]) -> None:
    assert tree_hash(leaves) == recursive(leaves)


@given(st.integers(0, 3 * LEAF_ENTRIES), st.data())
def test_root_changes_with_every_entry(count: int, data: st.DataObject) -> None:
    ids = entries(count)
    removed = [RemovedEntry("0" * 32, "blocked")]
    root = root_of(ids)

    assert root_of(ids + b"\xff" * 16) != root
    assert root_of(ids, removed) != root
    if count:
        at = data.draw(st.integers(0, count - 1)) * 16
        assert root_of(ids[:at] + ids[at + 16 :]) != root
        assert root_of(ids[:at] + bytes([ids[at] ^ 1]) + ids[at + 1 :]) != root


@given(st.integers(0, 200), st.binary(min_size=32, max_size=32), st.sampled_from([b"", bytes(32)]))
def test_order_is_that_of_the_keys(count: int, seed: bytes, value: bytes) -> None:
    """By the library's HMAC, and one entry at a time."""
    ids = entries(count)
    root = root_of(ids)
    each = [ids[at : at + 16] for at in range(0, len(ids), 16)]

    ranks = draw(ids, seed, root, value)

    keyed = sorted(range(count), key=lambda index: hmac.digest(seed, root + value + each[index], "sha256"))
    assert order_of(ranks) == keyed
    assert sorted(numbers_of(ranks)) == list(range(1, count + 1))


@given(st.integers(1, 60), st.lists(st.integers(0, 60), max_size=5))
def test_order_does_not_depend_on_the_parts(count: int, cuts: list[int]) -> None:
    ids, seed, root = entries(count), bytes(32), bytes(32)
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]

    parts = [keyed_part(ids[16 * first : 16 * last], first, seed, root) for first, last in pairwise(bounds)]

    assert ranks_of(parts) == draw(ids, seed, root, b"")


def test_rules_are_canonical_json() -> None:
    for beacon_round in (None, 1, 2**53):
        text = rules_text("018f0000-0000-7000-8000-000000000001", beacon_round)
        said = json.loads(text)
        assert json.dumps(said, separators=(",", ":")) == text
        assert (said["version"], said["beacon_round"]) == (1, beacon_round)


async def test_both_ledgers_promise_the_same_words(bench: DrawBench) -> None:
    for beacon_round in (None, 1, 2**53):
        sale = await bench.open_draw(beacon_round=beacon_round)
        record = await bench.record(sale)
        assert record.rules == rules_text(sale.sale_id, beacon_round)
        assert record.commitment == commitment_of(record.seed, record.rules)


# ------------------------------------------------------------------------------------------------ golden vectors


def test_guide_has_the_rules_word_by_word() -> None:
    [block] = re.findall(r"```json rules\n(.*?)\n```", GUIDE.read_text(), re.DOTALL)

    assert json.loads(block) == json.loads(rules_text("018f0000-0000-7000-8000-000000000001", 1000))


def test_vectors_of_the_guide_are_right() -> None:
    [block] = re.findall(r"```json vectors\n(.*?)\n```", GUIDE.read_text(), re.DOTALL)
    vector = json.loads(block)
    seed, value = bytes.fromhex(vector["seed"]), bytes.fromhex(vector["beacon_value"])
    ids = bytes.fromhex("".join(vector["entries"]))
    removed = [RemovedEntry(row["entry"], row["reason"]) for row in vector["removed"]]
    rules = rules_text(vector["sale_id"], vector["beacon_round"])

    assert hashlib.sha256(rules.encode()).hexdigest() == vector["rules_sha256"]
    assert commitment_of(seed, rules).hex() == vector["commitment"]
    root = root_of(ids, removed)
    assert root.hex() == vector["root"]
    assert root_of(b"").hex() == vector["root_of_nothing"]
    keyed = keyed_part(ids, 0, seed, root + value)
    keys = [keyed[at : at + 32].hex() for at in range(0, len(keyed), 36)]
    assert keys == vector["keys_in_order"]
    assert order_of(draw(ids, seed, root, value)) == vector["order"]
    assert order_of(draw(ids, seed, root, b"")) == vector["order_without_beacon"]
    fingerprint = fingerprint_of(commitment_of(seed, rules), root, value, draw(ids, seed, root, value))
    assert fingerprint.hex() == vector["fingerprint"]


def test_verifier_agrees_with_the_vectors() -> None:
    """The guide alone is enough to make a file that the other implementation takes."""
    [block] = re.findall(r"```json vectors\n(.*?)\n```", GUIDE.read_text(), re.DOTALL)
    vector = json.loads(block)
    shared = ("sale_id", "commitment", "root", "seed", "removed", "entries", "order", "fingerprint")
    published = {name: vector[name] for name in shared} | {
        "version": 1,
        "state": "drawn",
        "rules": rules_text(vector["sale_id"], vector["beacon_round"]),
        "size": len(vector["entries"]),
        "beacon": {"round": vector["beacon_round"], "value": vector["beacon_value"], "note": ""},
    }

    assert [check for check in checks_of(json.dumps(published).encode()) if check.problem] == []
