"""`doorbuster verify draw`: finds and names whatever is not as it was promised."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from doorbuster.cli import verify
from doorbuster.cli.main import app
from doorbuster.cli.verify import checks_of
from doorbuster.domain.draw import BeaconNote, commitment_of, rules_text
from doorbuster.engine.drawing import BeaconAnswer
from draw.world import Answers, beacon, changed, held


def failures(content: bytes, before: bytes | None = None) -> list[str]:
    return [check.name for check in checks_of(content, before) if check.problem]


@pytest.mark.parametrize("users", [0, 1, 2, 3, 5, 63, 64, 65, 129, 1000])
async def test_honest_draw_checks_out(users: int) -> None:
    before, after, _, _ = await held(users, blocked=min(users, 3), beacon_round=9, answers=beacon())

    checks = list(checks_of(after, before))

    assert [check.name for check in checks if check.problem] == []
    assert [check.name for check in checks] == [
        "file",
        "rules",
        "commitment",
        "earlier file",
        "entries",
        "root",
        "beacon",
        "order",
        "fingerprint",
    ]


@pytest.mark.parametrize("beacon_round", [None, 9])
async def test_every_flipped_byte_is_found(beacon_round: int | None) -> None:
    """Or the file still says exactly the same."""
    _, after, _, _ = await held(4, blocked=1, beacon_round=beacon_round, answers=beacon())
    said = json.loads(after)

    for at in range(len(after)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            flipped = after[:at] + bytes([after[at] ^ mask]) + after[at + 1 :]
            if failures(flipped):
                continue
            assert json.loads(flipped) == said, (at, mask, flipped[max(0, at - 30) : at + 30])


async def test_every_missing_byte_is_found() -> None:
    _, after, _, _ = await held(3)

    for at in range(len(after)):
        assert failures(after[:at] + after[at + 1 :]), at


async def example() -> dict[str, Any]:
    _, after, _, _ = await held(6, blocked=1, beacon_round=9, answers=beacon())
    return msgspec.json.decode(after)


def swapped(items: list[Any]) -> list[Any]:
    return [items[1], items[0], *items[2:]]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("another seed", ["commitment", "order"]),
        ("another commitment", ["commitment"]),
        ("another round", ["rules"]),
        ("another value", ["order"]),
        ("a value left out", ["beacon", "order"]),
        ("an invented note", ["beacon"]),
        ("two places changed", ["order"]),
        ("a place twice", ["order"]),
        ("a place too many", ["order"]),
        ("an entry more", ["root", "order"]),
        ("an entry replaced", ["root", "order"]),
        ("entries in disorder", ["entries", "root", "order"]),
        ("an entry twice", ["entries", "root", "order"]),
        ("a removal hidden", ["root"]),
        ("a removed entry kept too", ["entries", "root", "order"]),
        ("another root", ["root", "order"]),
        ("another sale", ["rules"]),
        ("other rules", ["rules", "commitment"]),
        ("another version", ["file"]),
        ("another size", ["file"]),
        ("capital letters", ["file"]),
        ("a field more", ["file"]),
    ],
)
async def test_tampering_is_named(name: str, named: list[str]) -> None:
    said = await example()
    entries, order, removed = said["entries"], said["order"], said["removed"]
    more = sorted([*entries, "f" * 32])
    changes: dict[str, dict[str, Any]] = {
        "another seed": {"seed": "0" * 64},
        "another commitment": {"commitment": "0" * 64},
        "another round": {"beacon": said["beacon"] | {"round": 10}},
        "another value": {"beacon": said["beacon"] | {"value": "0" * 64}},
        "a value left out": {"beacon": said["beacon"] | {"value": None}},
        "an invented note": {"beacon": said["beacon"] | {"note": "the beacon did not answer in time"}},
        "two places changed": {"order": swapped(order)},
        "a place twice": {"order": [order[0], *order[:-1]]},
        "a place too many": {"order": [*order, 0]},
        "an entry more": {"entries": more, "size": 6, "order": [*order, 5]},
        "an entry replaced": {"entries": [*entries[:-1], "f" * 32]},
        "entries in disorder": {"entries": swapped(entries)},
        "an entry twice": {"entries": [entries[0], entries[0], *entries[2:]]},
        "a removal hidden": {"removed": []},
        "a removed entry kept too": {
            "entries": sorted([*entries, removed[0]["entry"]]),
            "size": 6,
            "order": [*order, 5],
        },
        "another root": {"root": "0" * 64},
        "another sale": {"sale_id": "00000000-0000-0000-0000-000000000000"},
        "other rules": {"rules": said["rules"].replace("ascending", "descending", 1)},
        "another version": {"version": 2},
        "another size": {"size": 7},
        "capital letters": {"seed": said["seed"].upper()},
        "a field more": {"extra": 1},
    }

    found = failures(changed(msgspec.json.encode(said), **changes[name]))

    # Few entries may keep their order by chance.
    assert set(named) - {"order"} <= set(found)
    assert set(found) <= {*named, "order", "fingerprint"}
    assert found


async def test_operator_who_makes_all_anew_is_found_by_an_earlier_file() -> None:
    """A whole other draw is consistent in itself: only what was seen before convicts it."""
    before, _, _, sale = await held(5)
    _, _, other, _ = await held(5)
    record = await other.record(sale)
    seed = bytes(32)
    forged = record.rules
    assert commitment_of(seed, forged) != record.commitment
    fake = changed(before, commitment=commitment_of(seed, forged).hex())
    _, after, _, _ = await held(5)

    assert failures(after, before) == []
    assert failures(after, fake) == ["earlier file"]
    assert failures(after, b"nonsense") == ["earlier file"]


async def test_list_that_changed_after_its_root_is_found_by_an_earlier_file() -> None:
    _, after, _, _ = await held(5, blocked=1)
    said = msgspec.json.decode(after)
    closed = {key: said[key] for key in ("version", "sale_id", "commitment", "rules", "size", "root", "removed")}

    assert failures(after, msgspec.json.encode(closed)) == []
    changes: tuple[dict[str, Any], ...] = ({"root": "0" * 64}, {"removed": []})
    for change in changes:
        assert failures(after, msgspec.json.encode(closed | change)) == ["earlier file"]


@pytest.mark.parametrize(
    ("beacon_round", "source", "words"),
    [
        (None, None, "none was promised"),
        (9, Answers(BeaconAnswer(note=BeaconNote.UNUSABLE)), "round 9 was promised and is not there"),
        (9, beacon(), "It came out at 2023-08-23 15:09:51 UTC"),
    ],
    ids=["none", "lost", "there"],
)
async def test_what_the_beacon_proves_is_said(beacon_round: int | None, source: Answers | None, words: str) -> None:
    _, after, _, _ = await held(3, beacon_round=beacon_round, answers=source)

    [check] = [check for check in checks_of(after) if check.name == "beacon"]

    assert words in check.meaning
    assert ("could have known" in check.meaning) is (source is None or beacon_round is None or "not there" in words)


async def test_both_implementations_have_the_same_rules_and_notes() -> None:
    assert hashlib.sha256(rules_text("", None).encode()).hexdigest() == vars(verify)["_RULES_DIGEST"]
    assert set(BeaconNote) == set(vars(verify)["_NOTES"])


def test_verifier_shares_no_code_with_the_engine() -> None:
    text = Path(verify.__file__).read_text()

    assert "from doorbuster" not in text
    assert "import doorbuster" not in text


# ------------------------------------------------------------------------------------------------ the command


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", "draw", *arguments])
    return done.exit_code, done.output


async def test_command_tells_everything(tmp_path: Path) -> None:
    before, after, bench, sale = await held(5, blocked=1)
    early, file = tmp_path / "before.json", tmp_path / "draw.json"
    early.write_bytes(before)
    file.write_bytes(after)
    mine = str(await bench.entry_id(sale, "buyer 3"))

    code, said = run(str(file), "--earlier", str(early), "--entry", mine)

    assert code == 0
    assert "FAILED" not in said
    assert "does not show that entries are different people" in said
    number = json.loads(after)["order"].index(json.loads(after)["entries"].index(mine)) + 1
    assert f"Entry {mine} has number {number} of 4." in said
    removed = json.loads(after)["removed"][0]["entry"]
    assert run(str(file), "--entry", removed)[0] == 1
    assert "is not on the list" in run(str(file), "--entry", "0" * 32)[1]


async def test_command_refuses_what_is_wrong(tmp_path: Path) -> None:
    before, after, _, _ = await held(5)
    early, bad = tmp_path / "before.json", tmp_path / "bad.json"
    early.write_bytes(before)
    bad.write_bytes(changed(after, seed="0" * 64))

    assert run(str(tmp_path / "none.json"))[0] == 2
    code, said = run(str(early))
    assert (code, "not held yet (open)" in said) == (1, True)
    code, said = run(str(bad))
    assert code == 1
    assert "FAILED  commitment" in said.replace("  ", "  ")
    assert "does not check out: commitment" in said
