"""Checks the rules of the house that no linter knows; `make check` runs it.

Owns: sizes, the promise ids, the bans with what to use instead, the shape of the documents. Exceptions stand by name
in `tidy.toml`; each is the exact present size, so it may only shrink. Standard library only.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE_LINES, FILE_CEILING, BODY_CEILING = 400, 600, 60
PLACES = ("src", "tests", "bench", "tools", "docs", "requirements", "deploy", ".ci")
KINDS = {".py", ".lua", ".sql", ".md", ".toml", ".txt", ".in", ".js", ".css", ".html", ""}
SIZED = {".py", ".lua", ".sql", ".js", ".css"}
NOT_OURS = {"__pycache__", ".venv", "node_modules", "results"}


class Problem(NamedTuple):
    """One broken rule: where, which, and what to do about it."""

    path: str
    line: int
    rule: str
    message: str


class Ban(NamedTuple):
    """A text that must not appear in files whose path matches `where`, and what to write instead."""

    rule: str
    pattern: re.Pattern[str]
    where: re.Pattern[str]
    instead: str


def _ban(rule: str, pattern: str, where: str, instead: str) -> Ban:
    return Ban(rule, re.compile(pattern), re.compile(where), instead)


SOURCE = r"^src/doorbuster/(?!adapters/system\.py).*\.py$"
SAMPLES = ("tools/tidy.py", "tests/house/test_tidy.py")
"""The bans themselves, and samples of what they find."""
TEXTS = r"\.(?:py|lua|sql|md)$"
BANS = (
    _ban("clock", r"\btime\.time(?:_ns)?\(|\bdatetime\.(?:now|utcnow|today)\(", SOURCE, "a Clock passed in"),
    _ban("chance", r"(?<![\w.])random\.(?!Random\b)\w+|\buuid[14]\(|\bos\.urandom\(", SOURCE, "Ids passed in"),
    _ban("sleep", r"\b(?:asyncio|time|anyio)\.sleep\((?!0\))", r"^tests/.*\.py$", "a signal or the poll helper"),
    _ban("debt", r"\b(?:TODO|FIXME|NotImplementedError)\b", TEXTS, "finish it, or leave it out"),
    _ban("index", r"--(?:extra-)?index-url|https?://[^\s\"']+/simple\b", "", "no address"),
    _ban("machine", r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/", "", "a path inside the project"),
)


class House:
    """One checkout, read once."""

    def __init__(self, root: Path) -> None:
        config = root / "tools" / "tidy.toml"
        allowed = tomllib.loads(config.read_text()) if config.exists() else {}
        self.files: dict[str, int] = allowed.get("files", {})
        self.functions: dict[str, int] = allowed.get("functions", {})
        self.bans: dict[str, list[str]] = allowed.get("bans", {})
        self.root = root
        self.texts = {path.relative_to(root).as_posix(): path.read_text() for path in sorted(_files(root))}

    def problems(self) -> Iterator[Problem]:
        for path, text in self.texts.items():
            yield from self._bans(path, text)
            if Path(path).suffix in SIZED:
                yield from self._file_size(path, text)
            if path.endswith(".py"):
                yield from self._python(path, text)
            if path.endswith(".md"):
                yield from self._markdown(path, text)
        yield from self._promises()
        for name in sorted({*self.files, *(key.split("::")[0] for key in self.functions), *self.bans}):
            if name not in self.texts:
                yield Problem("tools/tidy.toml", 1, "exception", f"{name} is gone; remove its line")

    def _bans(self, path: str, text: str) -> Iterator[Problem]:
        for ban in () if path in SAMPLES else BANS:
            if ban.where.search(path) and ban.rule not in self.bans.get(path, []):
                for match in ban.pattern.finditer(text):
                    yield Problem(path, _line(text, match), ban.rule, f"{match[0]!r}; instead: {ban.instead}")

    def _file_size(self, path: str, text: str) -> Iterator[Problem]:
        lines = len(text.splitlines())
        yield from _ratchet(Problem(path, 1, "file size", f"{lines} lines"), lines, FILE_LINES, self.files.get(path))
        if lines > FILE_CEILING:
            yield Problem(path, 1, "file size", f"{lines} lines; nothing may pass {FILE_CEILING}")

    def _python(self, path: str, text: str) -> Iterator[Problem]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _body_lines(node)
                found = Problem(path, node.lineno, "function size", f"{node.name} has {lines} lines")
                yield from _ratchet(found, lines, BODY_CEILING, self.functions.get(f"{path}::{node.name}"))
            if isinstance(node, ast.ExceptHandler) and not path.startswith("src/doorbuster/agents/"):
                swallowed = _catches_all(node) and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                if swallowed and "except" not in self.bans.get(path, []):
                    yield Problem(path, node.lineno, "except", "catches everything; name what is expected, or re-raise")

    def _markdown(self, path: str, text: str) -> Iterator[Problem]:
        prose = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
        titles = re.findall(r"^# .+", prose, re.MULTILINE)
        if len(titles) != 1 or not prose.lstrip().startswith("# "):
            yield Problem(path, 1, "title", f"{len(titles)} titles; a page has one, on top")
        for match in re.finditer(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose):
            target = match[1]
            if "://" not in target and not ((self.root / path).parent / target).exists():
                yield Problem(path, _line(prose, match), "link", f"{target} does not exist")

    def _promises(self) -> Iterator[Problem]:
        page = "docs/promises.md"
        rows = dict(re.findall(r"^\| (I\d+) \| (.*)$", self.texts.get(page, ""), re.MULTILINE))
        cited: set[str] = set()
        for path, text in self.texts.items():
            if path in SAMPLES or not re.match(r"(?:src|tests|bench|docs)/", path):
                continue
            for match in re.finditer(r"\bI\d{1,2}\b", text):
                if path.startswith("src/"):
                    cited.add(match[0])
                if match[0] not in rows:
                    yield Problem(path, _line(text, match), "promise", f"{match[0]} is not in {page}")
        for promise, row in rows.items():
            if promise not in cited and "not yet" not in row.lower():
                yield Problem(page, 1, "promise", f"no line of src/ cites {promise}")
            for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
                if f"def {name}(" not in self.texts.get(file, ""):
                    yield Problem(page, 1, "promise", f"{promise}: {file} has no {name}")


def _files(root: Path) -> Iterator[Path]:
    yield from (path for path in root.glob("*") if path.is_file() and path.suffix in {".md", ".toml"})
    yield from (path for path in (root / "Makefile", root / ".gitignore") if path.exists())
    for place in PLACES:
        for path in (root / place).rglob("*"):
            if path.is_file() and path.suffix in KINDS and not NOT_OURS & set(path.relative_to(root).parts):
                yield path


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _ratchet(found: Problem, size: int, limit: int, allowed: int | None) -> Iterator[Problem]:
    if allowed is None and size > limit:
        yield found._replace(message=f"{found.message}, more than {limit}")
    elif allowed is not None and size != allowed:
        wish = "lower" if size < allowed else "do not raise"
        yield found._replace(message=f"{found.message}, tools/tidy.toml says {allowed}: {wish} it")


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _catches_all(node: ast.ExceptHandler) -> bool:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )


def main() -> int:
    """Print every problem; the exit code says whether there is one."""
    house = House(Path(__file__).resolve().parent.parent)
    problems = list(house.problems())
    for problem in problems:
        print(f"{problem.path}:{problem.line}: [{problem.rule}] {problem.message}")
    print(f"tidy: {len(house.texts)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
