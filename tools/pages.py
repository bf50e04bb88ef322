"""Writes the parts of the documentation that are made from the code: state diagrams, refusals, commands.

Owns: the text between `<!-- made from the code: NAME -->` and `<!-- end -->`. `make pages` writes it, a test fails when
it is stale.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from typer.main import get_command

from doorbuster.cli.main import app
from doorbuster.domain.outcomes import RULES
from doorbuster.domain.transitions import ORDER_ARROWS, PAYMENT_ARROWS, SALE_ARROWS

ROOT: Final = Path(__file__).resolve().parent.parent
BLOCK: Final = re.compile(r"(<!-- made from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

S = TypeVar("S", bound=StrEnum)


def diagram(arrows: Mapping[S, frozenset[S]]) -> str:
    """A Mermaid state diagram; the first state is the one everything starts in, states without arrows are ends."""
    states = list(arrows)
    lines = [f"    [*] --> {states[0]}"]
    lines += [f"    {before} --> {after}" for before in states for after in states if after in arrows[before]]
    lines += [f"    {state} --> [*]" for state in states if not arrows[state]]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


def outcomes() -> str:
    """Every refusal in its order of precedence."""
    rows = ["| code | status | says | again? | what to do |", "|---|---|---|---|---|"]
    rows += [
        f"| `{code.value}` | {rule.status} | {rule.title} | {rule.retry} | {rule.advice} |"
        for code, rule in RULES.items()
    ]
    return "\n".join(rows) + "\n"


def commands() -> str:
    """Every command with its options, as `--help` knows them."""
    lines: list[str] = []
    for path, command in _commands("doorbuster", get_command(app)):
        arguments = "".join(f" {parameter.name.upper()}" for parameter in _parameters(command, "argument"))
        lines += [f"### `{path}{arguments}`", "", command.help or "", ""]
        options = _parameters(command, "option")
        if options:
            lines += ["| option | means |", "|---|---|"]
            lines += [f"| `{' '.join(option.opts)}` | {option.help}{_default(option)} |" for option in options]
            lines.append("")
    return "\n".join(lines)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _commands(f"{path} {name}", inner)


def _parameters(command: Any, kind: str) -> list[Any]:
    return [found for found in command.params if found.param_type_name == kind and found.name != "help"]


def _default(option: Any) -> str:
    return "" if option.required or option.default in (None, False, "") else f" [{option.default}]"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "sale": lambda: diagram(SALE_ARROWS),
    "order": lambda: diagram(ORDER_ARROWS),
    "payment": lambda: diagram(PAYMENT_ARROWS),
    "outcomes": outcomes,
    "commands": commands,
}


def renewed(page: str) -> str:
    """The page with every made part as the code has it now."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{PARTS[block[2]]()}\n{block[3]}", page)


def stale() -> dict[Path, str]:
    """Pages whose made parts differ from the code, with what they should be."""
    pages = {path: path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
    return {path: renewed(text) for path, text in pages.items() if renewed(text) != text}


def main() -> int:
    """Write what is stale."""
    for path, text in stale().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
