"""Writes `deploy/grafana/doorbuster.json`: a dashboard that any Grafana imports.

Owns: which panels there are. A test holds the committed file to what this makes, and its metrics to those that exist.
    python tools/dashboard.py
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "deploy" / "grafana" / "doorbuster.json"

_RATE = "[$__rate_interval]"
_ANSWERS = f"sum(rate(doorbuster_answers_total{_RATE}))"
_UNAVAILABLE = f'sum(rate(doorbuster_answers_total{{code="unavailable"}}{_RATE}))'


def _sample(figure: str) -> str:
    """Every machine tells of all sales: the sale counts once."""
    return f'max by (sale_id) (doorbuster_sale_sample{{figure="{figure}"}})'


def _of_all(figure: str) -> str:
    """What is the same in the sample of every sale."""
    return f'max(doorbuster_sale_sample{{figure="{figure}"}})'


PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Units", "short", (("sum by (state) (max by (sale_id, state) (doorbuster_sale_units))", "{{state}}"),)),
    ("Buyers in line", "short", (("max by (sale_id) (doorbuster_line_length)", "{{sale_id}}"),)),
    ("Answers by code", "reqps", ((f"sum by (code) (rate(doorbuster_answers_total{_RATE}))", "{{code}}"),)),
    ("Orders and commits", "ops", (
        (f"sum(rate(doorbuster_orders_committed_total{_RATE}))", "orders"),
        (f"sum(rate(doorbuster_commits_total{_RATE}))", "transactions"),
    )),
    ("Units granted", "ops", ((_sample("granted_per_s"), "{{sale_id}}"),)),
    ("Decisions", "ops", ((_of_all("decisions_per_s"), "decisions"),)),
    ("p99 to answer", "ms", ((_of_all("p99_ms"), "p99"),)),
    ("Errors", "percentunit", (
        (f"{_UNAVAILABLE} / {_ANSWERS}", "errors"),
    )),
    ("Holds that wait for a commit", "short", (("sum(doorbuster_commit_queue)", "waiting"),)),
    ("Lag of units that come back", "ms", (
        (_sample("expiry_lag_ms"), "expiry {{sale_id}}"),
        (_sample("recirculation_lag_ms"), "recirculation {{sale_id}}"),
    )),
    ("Valkey's memory", "bytes", ((_of_all("valkey_memory_bytes"), "used"),)),
    ("PostgreSQL", "percentunit", (
        (_of_all("database_pool_share"), "calls by a process's connections"),
        (_of_all("database_connections_share"), "connections by max_connections"),
    )),
    ("Gates ready", "short", ((_of_all("gates_ready"), "ready"),)),
    ("Listeners", "short", (("sum(doorbuster_live_connections)", "connections"),)),
    ("Alerts", "short", (("max by (sale_id, rule) (doorbuster_sale_alert) == 1", "{{rule}} {{sale_id}}"),)),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole document. Its data source is chosen when it is imported."""
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    panels: list[dict[str, Any]] = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [
                {"refId": chr(65 + at), "expr": expression, "legendFormat": legend, "datasource": source}
                for at, (expression, legend) in enumerate(targets)
            ],
        }
        for number, (title, unit, targets) in enumerate(PANELS)
    ]
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": "Doorbuster",
        "uid": "doorbuster",
        "tags": ["doorbuster"],
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": panels,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
