"""Logs and metrics of a process.

Owns: the names of all metrics and the format of the log. Hot paths add to plain integers here; once a second they are
carried into the metrics library, whose files let any gate answer for all processes of the machine.
"""

import logging
import os
import sys
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from structlog.typing import Processor

from doorbuster.config import Settings

ANSWERS = Counter("doorbuster_answers", "Answers to buyers and operators by code (ok for success).", ["code"])
COMMITTED = Counter("doorbuster_orders_committed", "Holds that went through a commit, whatever its word.")
COMMITS = Counter("doorbuster_commits", "Commit transactions that were answered.")
COMMITS_UNKNOWN = Counter("doorbuster_commits_unknown", "Commits whose answer was lost and that were repeated.")
SHED = Counter("doorbuster_orders_shed", "Holds given back because the commit queue was full.")
GIVEN_UP = Counter("doorbuster_orders_given_up", "Holds whose commit was not answered within the deadline.")
DISTRUSTED = Counter("doorbuster_images_distrusted", "Images of the stock counter this process stopped believing.")
REPORTS_REFUSED = Counter("doorbuster_reports_refused", "Reports of a shop that were refused: money to give back.")
QUEUED = Gauge("doorbuster_commit_queue", "Holds that wait for a commit.", multiprocess_mode="livesum")
DATABASE_CALLS = Gauge(
    "doorbuster_database_calls",
    "Calls to PostgreSQL under way or waiting.",
    multiprocess_mode="livesum",
)
BOARD_AGE = Gauge("doorbuster_board_age_seconds", "Age of the sale rows answered from.", multiprocess_mode="livemax")
CLOCK_TRUSTED = Gauge(
    "doorbuster_clock_trusted", "1 while the offset to the database's clock is known.", multiprocess_mode="livemin"
)
AGENT_PASSES = Counter("doorbuster_agent_passes", "Passes an agent has made.", ["agent"])
AGENT_FAILURES = Counter("doorbuster_agent_failures", "Passes that failed.", ["agent"])
AGENT_DONE = Counter("doorbuster_agent_done", "What agents did, by agent and kind.", ["agent", "kind"])
NEWS = Counter(
    "doorbuster_gateway_events",
    "Webhooks of the payment gateway by outcome: heard, known (delivered before) or refused (forged, too old).",
    ["outcome"],
)
QUARANTINED = Gauge(
    "doorbuster_payments_quarantined",
    "Payments without an end that withhold a unit for longer than they may; a person has to look.",
    multiprocess_mode="livemax",
)
CHARGES_UNDER_WAY = Gauge(
    "doorbuster_charges_under_way", "Charges of stored methods under way.", multiprocess_mode="livesum"
)
CHARGES_WITHOUT_METHOD = Gauge(
    "doorbuster_charges_without_method",
    "Orders to be charged whose buyers have not stored a method.",
    multiprocess_mode="livemax",
)
BREAKER_OPEN = Gauge(
    "doorbuster_gateway_breaker_open",
    "1 while no charge is begun because the payment gateway does not answer.",
    multiprocess_mode="livemax",
)
LISTENERS = Gauge("doorbuster_live_connections", "Buyers who listen to a line.", multiprocess_mode="livesum")
LIVE_MESSAGES = Counter("doorbuster_live_messages", "Places told to buyers who listen.")
WEBHOOK_BACKLOG = Gauge("doorbuster_webhook_backlog", "Events that are not delivered yet.", multiprocess_mode="livemax")
WEBHOOK_OLDEST_AGE = Gauge(
    "doorbuster_webhook_oldest_age_seconds", "Age of the oldest of them.", multiprocess_mode="livemax"
)
WEBHOOK_DEAD = Gauge("doorbuster_webhook_dead", "Events that were given up.", multiprocess_mode="livemax")
WEBHOOK_ATTEMPTS = Counter("doorbuster_webhook_attempts", "Attempts to deliver, by what came of them.", ["result"])


class SaleGauge(NamedTuple):
    """A gauge that no process keeps: it is read from the stores whenever somebody asks."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()


SALE_UNITS = SaleGauge("doorbuster_sale_units", "Units of live sales by where they are.", ("sale_id", "state"))
LINE_LENGTH = SaleGauge("doorbuster_line_length", "Buyers who wait in live sales with a line.", ("sale_id",))
SAMPLE = SaleGauge(
    "doorbuster_sale_sample",
    "The latest sample of a running sale, by figure; what could not be read is not there.",
    ("sale_id", "figure"),
)
ALERT = SaleGauge("doorbuster_sale_alert", "1 while a rule alarms.", ("sale_id", "rule", "severity"))
REHEARSAL_RUNNING = SaleGauge("doorbuster_rehearsal_running", "1 while a crowd of ours makes the traffic.")


class Seen(NamedTuple):
    """One value of such a gauge; `labels` in its order."""

    gauge: SaleGauge
    labels: tuple[str, ...]
    value: float


class Telemetry:
    """Counts of one process. `count` is safe and cheap on any path; `publish` is called once a second."""

    def __init__(self) -> None:
        self._answers: Tally[str] = Tally()
        self._untold: Tally[str] = Tally()
        self._took: Tally[int] = Tally()
        self._carried: dict[str, float] = {}

    @staticmethod
    def expect(codes: Iterable[str]) -> None:
        """A rate needs a 0 to rise from: the first answer with a code would not be seen."""
        for code in codes:
            ANSWERS.labels(code)

    def count(self, code: str) -> None:
        """One answer with this code (`ok` for success)."""
        self._answers[code] += 1

    def took(self, seconds: float) -> None:
        """One answer was made in this time. Kept as the power of two of 64 microseconds above it: what is asked
        of these counts later is whether answers are slow, not by how many microseconds."""
        self._took[int(seconds * 15_625).bit_length()] += 1

    def give_back_traffic(self, codes: Mapping[str, int], took: Mapping[int, int]) -> None:
        """What could not be told is told with the next: errors are what has to be told most when a store is away."""
        self._untold.update(codes)
        self._took.update(took)

    def take_traffic(self) -> tuple[Mapping[str, int], Mapping[int, int]]:
        """Answers by code and by time since the last call."""
        codes, self._untold = self._untold, Tally()
        took, self._took = self._took, Tally()
        return codes, took

    def publish(self) -> None:
        """Carry the integers into the metrics."""
        answers, self._answers = self._answers, Tally()
        self._untold.update(answers)
        for code, number in answers.items():
            ANSWERS.labels(code).inc(number)

    def carry(self, counter: Counter, key: str, total: float) -> None:
        """Bring a counter up to a total that is kept elsewhere."""
        counter.inc(max(0.0, total - self._carried.get(key, 0.0)))
        self._carried[key] = total

    def carry_agents(self, reports: Mapping[str, tuple[int, int, Mapping[str, int]]]) -> None:
        """Bring the agents' counters up to date: name to (passes, failures, done by kind)."""
        for name, (passes, failures, done) in reports.items():
            self.carry(AGENT_PASSES.labels(name), f"passes {name}", passes)
            self.carry(AGENT_FAILURES.labels(name), f"failures {name}", failures)
            for kind, number in done.items():
                if kind != "more":
                    self.carry(AGENT_DONE.labels(name, kind), f"done {name} {kind}", number)


class _SeenCollector(Collector):
    def __init__(self, seen: Sequence[Seen]) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        families: dict[SaleGauge, GaugeMetricFamily] = {}
        for gauge, labels, value in self._seen:
            if gauge not in families:
                families[gauge] = GaugeMetricFamily(gauge.name, gauge.documentation, labels=gauge.labels)
            families[gauge].add_metric(labels, float(value))
        return families.values()


def exposition(seen: Sequence[Seen] = ()) -> bytes:
    """All metrics as Prometheus text: of every process that shares PROMETHEUS_MULTIPROC_DIR, else of this one; and of
    sales what was seen."""
    sales = CollectorRegistry()
    sales.register(_SeenCollector(seen))
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(sales)  # pyright: ignore[reportUnknownMemberType]
        return generate_latest(sales)
    return generate_latest() + generate_latest(sales)


def described() -> Mapping[str, tuple[str, frozenset[str]]]:
    """Kind and labels of all metrics there are, by name; of counters without `_total`."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for metric in list(globals().values()):
        if isinstance(metric, SaleGauge):
            found[metric.name] = ("gauge", frozenset(metric.labels))
        elif isinstance(metric, MetricWrapperBase):
            [of_library] = metric.describe()
            labels: Sequence[str] = vars(metric)["_labelnames"]
            found[of_library.name] = (of_library.type, frozenset(labels))
    return found


def configure_logging(settings: Settings, *, process: str) -> None:
    """One line per event to stderr: JSON for machines, short and colored on a terminal. What libraries log by the
    standard library is such a line, too."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    render: Processor = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*common, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[foreign])
