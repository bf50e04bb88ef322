"""The files in `deploy/` speak of metrics and pages that there are."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from doorbuster import telemetry

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
BOARD = (ROOT / "deploy" / "grafana" / "doorbuster.json").read_text()
_NAME = re.compile(r"\bdoorbuster_[a-z0-9_]+")
_SELECTOR = re.compile(r"\b(doorbuster_[a-z0-9_]+)\{([^}]*)\}")


def metrics() -> dict[str, MetricWrapperBase]:
    """By the name that Prometheus sees."""
    found: dict[str, MetricWrapperBase] = {}
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            described: Any = metric.describe()
            name: str = described[0].name
            found[f"{name}_total" if isinstance(metric, Counter) else name] = metric
    return found


def expressions() -> list[str]:
    board: dict[str, Any] = json.loads(BOARD)
    return [
        *re.findall(r"^\s+expr: (.+)$", RULES, re.MULTILINE),
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
    ]


def test_dashboard_is_what_the_tool_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(ROOT / "tools"), *sys.path])
    import dashboard

    assert dashboard.text() == BOARD, "run python tools/dashboard.py"


def test_every_metric_in_use_exists() -> None:
    used = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert len(used) > 10
    assert used <= metrics().keys()


def test_every_label_in_use_exists() -> None:
    known = metrics()
    for expression in expressions():
        for name, selector in _SELECTOR.findall(expression):
            labels = set(re.findall(r"(\w+)\s*=", selector))
            metric: Any = known[name]
            assert labels <= set(metric._labelnames), expression


def test_expressions_are_balanced() -> None:
    for expression in expressions():
        for pair in ("()", "{}", "[]"):
            assert expression.count(pair[0]) == expression.count(pair[1]), expression


def test_every_rule_leads_to_a_page_that_exists() -> None:
    links = re.findall(r"runbook: (\S+)", RULES)
    assert len(links) == RULES.count("- alert:")
    for link in links:
        page, _, section = link.partition("#")
        titles = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not section or section in anchors, link
