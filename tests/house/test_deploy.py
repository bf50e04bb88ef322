"""The files in `deploy/` speak of metrics and pages that there are, and real processes serve them."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.commands import environment
from doorbuster import telemetry
from doorbuster.adapters.postgres.monitor import PostgresMonitor
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore
from doorbuster.adapters.system import SystemIds
from doorbuster.domain.sale import SaleMode, SaleTerms
from doorbuster.engine.monitoring import Sample
from doorbuster.engine.ports import Actor
from faults.shop import SECRET, free_port
from helpers.waiting import until

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
BOARD = (ROOT / "deploy" / "grafana" / "doorbuster.json").read_text()
SCRAPE = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
_METRIC = re.compile(r"\b(doorbuster_[a-z0-9_]+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)")
_SHOWN = re.compile(r"\{\{\s*(?:\$labels\.(\w+)|(\w+))\s*\}\}")
_PROMETHEUS_OWN = {"instance", "job"}


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


def known() -> dict[str, frozenset[str]]:
    """Labels of every metric by the name that Prometheus sees."""
    return {
        f"{name}_total" if kind == "counter" else name: labels for name, (kind, labels) in telemetry.described().items()
    }


class Use(NamedTuple):
    """A metric as an expression names it, and the labels and values it asks for."""

    metric: str
    labels: frozenset[str]
    values: frozenset[tuple[str, str]]


def uses(expression: str, said: str = "") -> list[Use]:
    """Of one expression; `said` is what is shown with it."""
    asked = {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",") if label.strip()}
    asked |= {label for pair in _SHOWN.findall(said) for label in pair if label} - _PROMETHEUS_OWN
    found: list[Use] = []
    for name, selector in _METRIC.findall(expression):
        values = frozenset(re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', selector))
        found.append(Use(name, frozenset(asked | {label for label, _ in values}), values))
    return found


def all_uses() -> list[Use]:
    board: dict[str, Any] = json.loads(BOARD)
    shown = [(target["expr"], target["legendFormat"]) for panel in board["panels"] for target in panel["targets"]]
    rules = [(re.findall(r"^\s+expr: (.+)$", text, re.MULTILINE)[0], text) for text in RULES.split("- alert:")[1:]]
    return [use for expression, said in (*shown, *rules) for use in uses(expression, said)]


def test_every_metric_and_every_label_in_use_exists() -> None:
    found = all_uses()
    assert len({use.metric for use in found}) > 10
    for use in found:
        assert use.metric in known(), use
        assert use.labels <= known()[use.metric], use


@pytest.mark.parametrize(
    "wrong",
    [
        ("doorbuster_nothing", ""),
        ("sum by (planet) (doorbuster_sale_units)", ""),
        ('doorbuster_sale_units{planet="earth"}', ""),
        ("doorbuster_sale_units", "{{planet}}"),
        ("doorbuster_sale_units > 1", "summary: {{ $labels.planet }}"),
    ],
)
def test_name_that_does_not_exist_would_be_seen(wrong: tuple[str, str]) -> None:
    [use] = uses(*wrong)
    assert use.metric not in known() or not use.labels <= known()[use.metric]


Line = tuple[str, frozenset[tuple[str, str]]]


def missing(served: set[Line]) -> list[Use]:
    """What is used and not served, down to the values of labels."""
    return [
        use
        for use in all_uses()
        if not any(
            name == use.metric and use.values <= pairs and use.labels <= {label for label, _ in pairs}
            for name, pairs in served
        )
    ]


async def scrape(port: int) -> set[Line]:
    """As Prometheus does it: no token, the usual path."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        families = text_string_to_metric_families(await answer.text())
        return {(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples}


async def answering(process: asyncio.subprocess.Process, port: int, *, until_served: str) -> set[Line]:
    async def look() -> set[Line]:
        assert process.returncode is None
        with contextlib.suppress(aiohttp.ClientError):
            found = await scrape(port)
            return found if any(name == until_served for name, _ in found) else set()
        return set()

    return await until(look, within=60, what=f"port {port} serves {until_served}")


@contextlib.asynccontextmanager
async def alone(command: str, settings: Mapping[str, str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """One process, with nobody who started it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doorbuster", command, env=environment(settings), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def test_what_is_used_is_served_by_a_gate_and_a_worker_that_run_alone(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    """At the address that deploy/prometheus/prometheus.yml scrapes, of which the test exchanges the port."""
    scraped = re.findall(r'targets: \["127\.0\.0\.1:(\d+)"\]', SCRAPE)
    assert scraped == re.findall(r"DOORBUSTER_METRICS_PORT=(\d+)", SCRAPE)
    assert not re.search(r"metrics_path|scheme|authorization", SCRAPE)
    settings = {
        "DOORBUSTER_DATABASE_URL": database_url,
        "DOORBUSTER_VALKEY_URL": valkey_url,
        "DOORBUSTER_BUYER_SECRET": SECRET,
        "DOORBUSTER_GATEWAY_URL": "http://127.0.0.1:1",
        "DOORBUSTER_DATA_DIR": str(tmp_path),
    }
    ports = free_port(), free_port()
    database = await connect(database_url)
    try:
        sale_id = await a_line(database)
        gate = {**settings, "DOORBUSTER_PORT": str(free_port()), "DOORBUSTER_METRICS_PORT": str(ports[0])}
        async with alone("gate", gate) as process:
            served = await answering(process, ports[0], until_served="doorbuster_answers_total")
            assert ("doorbuster_sale_alert", pairs(sale_id, rule="drift", severity="critical")) in served
        async with alone("worker", {**settings, "DOORBUSTER_METRICS_PORT": str(ports[1])}) as process:
            served |= await answering(process, ports[1], until_served="doorbuster_agent_passes_total")
    finally:
        await database.close()

    assert missing(served) == []


def test_value_that_nobody_serves_would_be_seen() -> None:
    served = {("doorbuster_sale_sample", pairs("s", figure="p99_ms"))}
    seen = {(use.metric, value) for use in missing(served) for _, value in use.values}
    assert ("doorbuster_sale_sample", "gates_ready") in seen
    assert ("doorbuster_sale_sample", "p99_ms") not in seen


def pairs(sale_id: str, **labels: str) -> frozenset[tuple[str, str]]:
    return frozenset({"sale_id": sale_id, **labels}.items())


async def a_line(database: Database) -> str:
    """A sale with a line, and a sample of it with every figure."""
    sales, sale_id = PostgresSaleStore(database), SystemIds().new_id()
    now = await sales.time_ms()
    terms = SaleTerms(
        product_id="p", title="Lamp", quantity_available=2, price_cents=0, currency="USD",
        start_ms=now - 1_000, end_ms=now + 3_600_000, mode=SaleMode.QUEUE,
    )  # fmt: skip
    await sales.create(sale_id, terms, Actor(name="tester", reason="a test"))
    names = set(Sample.__struct_fields__) - {"at_ms", "status", "rehearsing"}
    figures: dict[str, Any] = dict.fromkeys(names, 1)
    await PostgresMonitor(database).keep(sale_id, Sample(at_ms=now, status="ACTIVE", **figures))
    return sale_id


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
