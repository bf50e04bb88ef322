"""The reference pages say what the code has: nothing missing, nothing that is gone."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

import pages
from doorbuster import telemetry
from doorbuster.api.app import create_app
from doorbuster.config import Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables by the word in code style that they begin with, cells without that style."""
    text = (REFERENCE / page).read_text()
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[1:] for row, line in zip(cells, text.splitlines(), strict=True) if line.startswith("| `")}


def test_parts_made_from_the_code_are_up_to_date() -> None:
    assert list(pages.stale()) == [], "run `make pages`"


def test_every_setting_is_documented_with_its_default() -> None:
    defaults = Settings.model_construct()
    expected = {f"DOORBUSTER_{name.upper()}": str(getattr(defaults, name)) for name in Settings.model_fields}

    documented = {name: row[0].replace("empty", "") for name, row in rows("settings.md").items()}

    assert documented == expected


def test_every_metric_is_documented_with_its_labels() -> None:
    documented = {name: (row[0], frozenset(re.findall(r"\w+", row[1]))) for name, row in rows("metrics.md").items()}

    assert documented == telemetry.described()


class Nothing:
    """Stands where services would be: the table of routes is looked at, nothing is called."""

    def __getattr__(self, name: str) -> "Nothing":
        return self


def test_every_route_is_documented() -> None:
    nothing: Any = Nothing()
    settings = Settings.model_construct(buyer_secret=SecretStr("s" * 32))
    table = create_app(nothing, settings, nothing, nothing).dispatch.table

    text = (REFERENCE / "http.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]*)`", text, re.MULTILINE))

    assert documented == {f"{route.method} {route.path}" for route in table.routes}
