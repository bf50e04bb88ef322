"""Which requests are traced, and what a trace never says."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from doorbuster import tracing
from doorbuster.config import load_settings
from doorbuster.tracing import PER_SECOND_MAX, Tracing, exporter_of

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-1] + b"0"


class World:
    """Chance and time as a test wants them."""

    def __init__(self, sample: float) -> None:
        self.chance = 0.5
        self.now = 1.0
        self.exporter = InMemorySpanExporter()
        self.traces = Tracing(
            self.exporter,
            sample=sample,
            process="gate 1",
            random=lambda: self.chance,
            monotonic=lambda: self.now,
        )

    def request(self, traceparent: bytes | None = None) -> bool:
        with self.traces.request("GET /x", traceparent) as span:
            return span is not None

    @property
    def names(self) -> list[str]:
        self.traces.flush()
        return [span.name for span in self.exporter.get_finished_spans()]


@pytest.fixture
def world() -> Iterator[World]:
    made = World(0.1)
    yield made
    tracing.use(None)
    made.traces.close()


def test_chance_decides_for_those_who_say_nothing(world: World) -> None:
    assert not world.request()
    world.chance = 0.05
    assert world.request()


def test_caller_s_decision_is_followed(world: World) -> None:
    assert world.request(SAMPLED)
    world.chance = 0.0
    assert not world.request(NOT_SAMPLED)
    world.traces.flush()
    [span] = world.exporter.get_finished_spans()
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == SAMPLED.decode().split("-")[1]
    assert f"{span.parent.span_id:016x}" == SAMPLED.decode().split("-")[2]


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"01", b"\xff" * 55, SAMPLED + b"x", SAMPLED.upper(), b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"],
)
def test_header_that_is_none_decides_nothing(world: World, nonsense: bytes) -> None:
    assert not world.request(nonsense)


def test_crowd_that_asks_to_be_traced_does_not_flood_the_collector(world: World) -> None:
    assert sum(world.request(SAMPLED) for _ in range(3 * PER_SECOND_MAX)) == PER_SECOND_MAX
    world.now += 1
    assert world.request(SAMPLED)


def test_part_belongs_to_what_is_traced_and_to_nothing_that_is_over(world: World) -> None:
    tracing.use(world.traces)
    with tracing.part("before"), world.traces.request("GET /x", SAMPLED) as span, tracing.part("within"):
        assert span is not None
    with world.traces.request("GET /y", None), tracing.part("not sampled"):
        pass
    world.chance = 0.0
    with tracing.part("a call of a worker", alone=True):
        pass

    assert sorted(world.names) == ["GET /x", "a call of a worker", "within"]


def test_without_tracing_nothing_is_there() -> None:
    with tracing.part("x") as span:
        assert span is None
    with tracing.whole("x", always=True) as span:
        assert span is None
    assert exporter_of(load_settings()) is None


def test_opentelemetry_is_loaded_only_where_it_is_wanted() -> None:
    code = (
        "import sys, doorbuster.bootstrap.gate, doorbuster.bootstrap.worker; print('opentelemetry' in str(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("url", ["collector:4318", "grpc://collector:4317", "http://", "nonsense"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_TRACES_URL"):
        exporter_of(load_settings(traces_url=url))


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"doorbuster\[otel\]"):
        exporter_of(load_settings(traces_url="http://127.0.0.1:1"))
