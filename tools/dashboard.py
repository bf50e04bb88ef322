"""Writes `deploy/grafana/doorbuster.json`: a dashboard that any Grafana imports.

Owns: which panels there are. A test holds the committed file to what this makes, and its metrics to those that exist.
    python tools/dashboard.py
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "deploy" / "grafana" / "doorbuster.json"

_ANSWERS = "sum(rate(doorbuster_answers_total[30s]))"
_UNAVAILABLE = 'sum(rate(doorbuster_answers_total{code="unavailable"}[30s]))'

PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Units", "short", (("sum by (state) (doorbuster_sale_units)", "{{state}}"),)),
    ("Buyers in line", "short", (("doorbuster_line_length", "{{sale_id}}"),)),
    ("Answers by code", "reqps", (("sum by (code) (rate(doorbuster_answers_total[30s]))", "{{code}}"),)),
    ("Orders and commits", "ops", (
        ("sum(rate(doorbuster_orders_committed_total[30s]))", "orders"),
        ("sum(rate(doorbuster_commits_total[30s]))", "transactions"),
    )),
    ("p99 to answer", "ms", (('max(doorbuster_sale_sample{figure="p99_ms"})', "p99"),)),
    ("Errors", "percentunit", (
        (f"{_UNAVAILABLE} / {_ANSWERS}", "errors"),
    )),
    ("Holds that wait for a commit", "short", (("doorbuster_commit_queue", "waiting"),)),
    ("Lag of units that come back", "ms", (
        ('doorbuster_sale_sample{figure="expiry_lag_ms"}', "expiry"),
        ('doorbuster_sale_sample{figure="recirculation_lag_ms"}', "recirculation"),
    )),
    ("Valkey's memory", "bytes", (('max(doorbuster_sale_sample{figure="valkey_memory_bytes"})', "used"),)),
    ("Gates ready", "short", (('max(doorbuster_sale_sample{figure="gates_ready"})', "ready"),)),
    ("Listeners", "short", (("doorbuster_live_connections", "connections"),)),
    ("Alerts", "short", (("doorbuster_sale_alert == 1", "{{rule}}"),)),
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
