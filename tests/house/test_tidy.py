"""The house rules judge good and bad samples rightly; each bad sample is the good one with one thing wrong."""

from pathlib import Path

import pytest

from tidy import House

PROMISES = "# Promises\n\n| id | promise | kept in | shown by |\n|---|---|---|---|\n"
GOOD = {
    "docs/promises.md": PROMISES + "| I1 | No oversell. | `a.py` | `tests/test_a.py::test_sells_out` |\n",
    "src/doorbuster/a.py": "def sell(free):\n    return free - 1  # I1\n",
    "tests/test_a.py": "def test_sells_out():\n    pass\n",
}


def build(root: Path, files: dict[str, str]) -> list[str]:
    """Write the files and return the rules they break, as `rule path:line`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [f"{problem.rule} {problem.path}:{problem.line}" for problem in House(root).problems()]


def long_function(lines: int) -> str:
    return "# I1\ndef sell():\n" + "    x = 1\n" * lines


BAD = {
    "wall clock": ("src/doorbuster/engine/b.py", "now = time.time()\n", "clock"),
    "wall clock by datetime": ("src/doorbuster/engine/b.py", "now = datetime.now(UTC)\n", "clock"),
    "chance": ("src/doorbuster/engine/b.py", "x = 1\ny = random.randint(1, 2)\n", "chance"),
    "chance by uuid": ("src/doorbuster/engine/b.py", "y = uuid4()\n", "chance"),
    "sleeping test": ("tests/test_b.py", "await asyncio.sleep(1)\n", "sleep"),
    "debt": ("src/doorbuster/b.lua", "-- TO" + "DO\n", "debt"),
    "stub": ("src/doorbuster/b.py", "raise NotImplemented" + "Error\n", "debt"),
    "index": ("requirements/x.txt", "--extra-index" + "-url x\n", "index"),
    "machine path": ("docs/b.md", "# B\n\nsee /ho" + "me/jo/x\n", "machine"),
    "swallowed accident": ("src/doorbuster/b.py", "try:\n    f()\nexcept Exception:\n    pass\n", "except"),
    "swallowed anything": ("src/doorbuster/b.py", "try:\n    f()\nexcept:\n    pass\n", "except"),
    "swallowed in a list": ("src/doorbuster/b.py", "try:\n    f()\nexcept (OSError, Exception):\n    pass\n", "except"),
    "long file": ("src/doorbuster/b.py", "x = 1\n" * 401, "file size"),
    "long function": ("src/doorbuster/b.py", long_function(61), "function size"),
    "two titles": ("docs/b.md", "# B\n\n# C\n", "title"),
    "no title": ("docs/b.md", "text\n", "title"),
    "dead link": ("docs/b.md", "# B\n\n[x](gone.md)\n", "link"),
    "unknown promise": ("src/doorbuster/b.py", "x = 1  # I" + "77\n", "promise"),
}


def test_good_house_has_no_problems(tmp_path: Path) -> None:
    assert build(tmp_path, GOOD) == []


@pytest.mark.parametrize("name", BAD)
def test_broken_rule_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    path, text, rule = BAD[name]

    found = build(tmp_path, GOOD | {path: text})

    assert len(found) == 1
    assert found[0].startswith(f"{rule} {path}:")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/doorbuster/adapters/system.py", "now = time.time()\n"),
        ("src/doorbuster/simulation/b.py", "chance = random.Random(7)\nx = self.random.choice([1])\n"),
        ("src/doorbuster/agents/b.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
        ("src/doorbuster/engine/b.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
        ("tests/test_b.py", "await asyncio.sleep(0)\n"),
        ("docs/b.md", "# B\n\n```\n# not a title\n[x](gone.md)\n```\n[promises](promises.md#table)\n"),
        ("src/doorbuster/b.py", "x = 1\n" * 400),
        ("src/doorbuster/b.py", long_function(60)),
    ],
)
def test_allowed_use_is_no_problem(tmp_path: Path, path: str, text: str) -> None:
    assert build(tmp_path, GOOD | {path: text}) == []


def test_promise_that_no_line_keeps_is_a_problem(tmp_path: Path) -> None:
    files = GOOD | {"src/doorbuster/a.py": "def sell(free):\n    return free - 1\n"}

    assert build(tmp_path, files) == ["promise docs/promises.md:1"]


def test_promise_shown_by_a_missing_test_is_a_problem(tmp_path: Path) -> None:
    files = GOOD | {"tests/test_a.py": "def test_renamed():\n    pass\n"}

    assert build(tmp_path, files) == ["promise docs/promises.md:1"]


def test_promise_marked_not_yet_needs_no_line(tmp_path: Path) -> None:
    row = "| I10 | Line order. | not yet | not yet |\n"

    assert build(tmp_path, GOOD | {"docs/promises.md": GOOD["docs/promises.md"] + row}) == []


def test_allowance_admits_exactly_its_size(tmp_path: Path) -> None:
    files = GOOD | {"src/doorbuster/b.py": "x = 1\n" * 450, "tools/tidy.toml": '[files]\n"src/doorbuster/b.py" = 450\n'}

    assert build(tmp_path, files) == []


@pytest.mark.parametrize("lines", [449, 451])
def test_allowance_of_another_size_is_a_problem(tmp_path: Path, lines: int) -> None:
    text = '[files]\n"src/doorbuster/b.py" = 450\n'

    found = build(tmp_path, GOOD | {"src/doorbuster/b.py": "x = 1\n" * lines, "tools/tidy.toml": text})

    assert found == ["file size src/doorbuster/b.py:1"]


def test_file_over_the_ceiling_has_no_allowance(tmp_path: Path) -> None:
    files = GOOD | {"src/doorbuster/b.py": "x = 1\n" * 601, "tools/tidy.toml": '[files]\n"src/doorbuster/b.py" = 601\n'}

    assert build(tmp_path, files) == ["file size src/doorbuster/b.py:1"]


def test_allowance_for_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    files = GOOD | {"tools/tidy.toml": '[functions]\n"src/doorbuster/gone.py::f" = 70\n'}

    assert build(tmp_path, files) == ["exception tools/tidy.toml:1"]
