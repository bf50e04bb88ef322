"""The function library: its headers, its bounds, and two releases side by side."""

import re

import pytest
from tests.valkey.images import EPOCH, NOW, SALE, Raw, ask, image, publish, words

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.functions import SPECS
from doorbuster.adapters.valkey.keys import NAMES, sale_keys
from doorbuster.adapters.valkey.library import (
    LIBRARY_NAME,
    LIBRARY_VERSION,
    function_files,
    function_name,
    library_text,
)
from doorbuster.adapters.valkey.line_functions import Spec
from doorbuster.adapters.valkey.records import SEPARATOR
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.domain import limits
from doorbuster.engine.line_ports import LineWord
from doorbuster.engine.ports import TakeWord

SECTIONS = ("Keys", "Arguments", "Rows", "Columns", "Replies", "Invariants", "Cost")
FORBIDDEN = ("TIME", "KEYS", "SCAN", "HSCAN", "SSCAN", "ZSCAN", "SMEMBERS", "HGETALL", "EXPIRE", "PEXPIRE", "RANDOMKEY")


def header(text: str) -> dict[str, list[str]]:
    """The first word of every entry, by section; `purpose` has the first line."""
    lines = [line.removeprefix("--") for line in text.split("\n\n", maxsplit=1)[0].splitlines()]
    found: dict[str, list[str]] = {"purpose": [lines[0].strip()]}
    section = "purpose"
    for line in lines[1:]:
        if title := re.fullmatch(r" (\w+):", line):
            section = title[1]
            found[section] = []
        elif entry := re.match(r"   (\w\S*)", line):
            found[section].append(entry[1])
    return found


def body(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))


@pytest.mark.parametrize("name", function_files())
def test_header_says_what_python_sends(name: str) -> None:
    found = header(function_files()[name])

    assert found["purpose"][0].startswith(f"{name}: ")
    spec = Spec(
        keys=tuple(key for key in NAMES if key in found["Keys"]),
        arguments=tuple(found.get("Arguments", ())),
        rows=tuple(found.get("Rows", ())),
        columns=tuple(found.get("Columns", ())),
        replies=tuple(found["Replies"]),
    )
    assert list(spec.keys) == found["Keys"]
    assert spec == SPECS[name]


def test_every_function_is_known_to_python() -> None:
    assert set(function_files()) == set(SPECS)


@pytest.mark.parametrize("name", function_files())
def test_header_has_its_sections_in_order(name: str) -> None:
    found = [section for section in header(function_files()[name]) if section != "purpose"]

    assert found == [section for section in SECTIONS if section in found]
    assert {"Keys", "Replies", "Invariants", "Cost"} <= set(found)


@pytest.mark.parametrize("name", function_files())
def test_keys_are_bound_to_names_in_header_order(name: str) -> None:
    text = function_files()[name]

    bound = re.findall(r"local ((?:\w+_key(?:,\s+)?)+) = unpack\(keys\)", text)

    assert [" ".join(names.split()) for names in bound] == [", ".join(f"{key}_key" for key in header(text)["Keys"])]
    assert not re.search(r"(?<!\.)\bkeys\[|KEYS", body(text))


@pytest.mark.parametrize("name", function_files())
def test_function_reads_no_clock_and_walks_no_collection(name: str) -> None:
    called = set(re.findall(r"redis\.p?call\('([A-Z]+)'", body(function_files()[name])))

    assert called.isdisjoint(FORBIDDEN)


@pytest.mark.parametrize("name", function_files())
def test_every_reply_word_stands_in_its_header(name: str) -> None:
    text = function_files()[name]

    said = set(re.findall(r"(?:return|reply =) \{\s*'(\w+)'", text))

    assert said | ({"no_image", "other_epoch"} if "problem }" in text else set()) >= set(header(text)["Replies"])
    assert said <= set(header(text)["Replies"])


def test_header_of_take_has_every_word_for_an_ask() -> None:
    text = function_files()["take"].split("\n\n")[0]

    assert all(re.search(rf"\b{word}\b", text) for word in TakeWord)


def test_header_of_ask_has_every_word_for_an_ask() -> None:
    text = function_files()["ask"].split("\n\n")[0]

    assert all(re.search(rf"\b{word}\b", text) for word in LineWord)


def test_bounds_of_both_sides_are_equal() -> None:
    text = library_text()

    assert f"local ROWS_MAX = {functions.ROWS_MAX}" in text
    assert limits.TAKE_BATCH_MAX <= functions.ROWS_MAX
    assert f"local NEWS_KEPT = {limits.NEWS_KEPT}" in text
    assert f"local US = '\\{ord(SEPARATOR)}'" in text


def test_every_function_carries_the_version() -> None:
    assert library_text().startswith(f"#!lua name={LIBRARY_NAME}\n")
    assert function_name("take") == f"{LIBRARY_NAME}_take"


async def test_server_knows_every_function(store: ValkeyStockStore, raw: Raw) -> None:
    await store.load_library()

    listed = await raw.do("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY_NAME)

    assert all(function_name(name) in str(listed) for name in SPECS)


async def test_lost_library_is_loaded_by_the_next_call(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store)
    await raw.do("FUNCTION", "FLUSH")

    assert await words(store, ask(1)) == [TakeWord.HELD]


async def test_old_and_new_release_decide_about_one_stock(store: ValkeyStockStore, raw: Raw) -> None:
    await publish(store, image(stock=2))
    newer = library_text().replace(LIBRARY_NAME, "doorbuster_v999")
    newer = newer.replace(f"local VERSION = {LIBRARY_VERSION}", "local VERSION = 999")
    await raw.do("FUNCTION", "LOAD", newer)
    arguments = functions.take_arguments([ask(1)], now_ms=NOW, epoch_min=EPOCH)
    keys = sale_keys(SALE).some(*SPECS["take"].keys)

    new_reply = await raw.do("FCALL", "doorbuster_v999_take", len(keys), *keys, *arguments)
    old_words = await words(store, ask(1), ask(2), ask(3))

    assert isinstance(new_reply, list)
    assert new_reply[-1] == b"held"
    assert old_words == [TakeWord.SEEN, TakeWord.HELD, TakeWord.NO_STOCK]
    await raw.do("FUNCTION", "DELETE", "doorbuster_v999")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("take", (EPOCH,)),
        ("take", (EPOCH, NOW, "hold")),
        ("take", (EPOCH, NOW, "hold", "ann", "x", "ann\x1fk", "d")),
        ("take", (EPOCH, NOW, "hold", "ann", "0", "ann\x1fk", "d")),
        ("take", (EPOCH, NOW, "hold", "ann", "1.5", "ann\x1fk", "d")),
        ("take", ("x", NOW, "hold", "ann", "1", "ann\x1fk", "d")),
        ("confirm", (EPOCH,)),
        ("confirm", (EPOCH, *range(1_001))),
        ("release", (EPOCH, "hold", "ann")),
        ("set_available", (EPOCH, -1)),
        ("set_available", (EPOCH, "x")),
        ("set_terms", (EPOCH, "shut", 1, 2, 3)),
        ("set_terms", (EPOCH, "over", 1, 2)),
        ("block", (EPOCH,)),
        ("unblock", ("x", "ann")),
        ("begin_image", ("x",)),
        ("begin_image", (0,)),
        ("set_terms", (EPOCH, "over", 1, 2, 3)),
        ("write_image", (EPOCH, 1, 1, 0, 0, "hold", "ann", 1, NOW, "k", "d")),
        ("publish_image", (EPOCH, "selling", 1, 2, 3, -1, 4, -5, 6, 7, -1, 0, 0, 0)),
        ("publish_image", (EPOCH, "selling", 1, 2, 3, -1, 4, 5, 6, 7, "x", 0, 0, 0)),
        ("publish_image", (EPOCH, "selling", 1, 2, 3)),
        ("ask", (EPOCH, NOW, 0)),
        ("ask", (EPOCH, NOW, 0, "ann", 1, 0)),
        ("ask", (EPOCH, NOW, "x", "ann", 1, 0, 0)),
        ("leave", (EPOCH, "ann")),
        ("leave", (EPOCH, "ann", "x")),
        ("grant", (EPOCH,)),
        ("grant", (EPOCH, NOW, *range(1_001))),
        ("settle", (EPOCH, 1, 1)),
        ("settle", (EPOCH, 1, 1, "ann", 1)),
        ("settle", (EPOCH, "x", 1, "ann", 1, "hold")),
        ("news", (0,)),
        ("news", ("x", EPOCH)),
        ("issue", (EPOCH, "x")),
        ("end_line", (EPOCH, "x")),
    ],
)
async def test_malformed_call_changes_nothing(
    store: ValkeyStockStore, raw: Raw, name: str, arguments: tuple[str | int, ...]
) -> None:
    await publish(store)
    before = await raw.everything()

    with pytest.raises(Exception, match=f"^BADCALL {name}"):
        await raw.do(*functions.head(SALE, name), *arguments)

    assert await raw.everything() == before
