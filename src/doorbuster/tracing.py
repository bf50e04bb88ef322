"""Traces of a process: which requests and calls are followed, by OpenTelemetry where it is installed and wanted.

Owns: sampling and the names of spans. Keeps: without a collector in the settings nothing of OpenTelemetry is loaded,
and a request pays for one comparison. A span says routes, statuses and statements with their placeholders; never a
path, a header, a body or a value, so no token or address of anybody is in it.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from doorbuster.config import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

Attributes: TypeAlias = Mapping[str, str | int]

PER_SECOND_MAX: Final = 100
"""Traces that one process begins in a second, whatever its callers ask for: a crowd must not flood the collector."""
_EXPORT_S: Final = 2.0
"""How long a collector that does not answer is waited for, at the end of the process too."""
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NOTHING: Final = nullcontext(None)


class Tracing:
    """`random` gives numbers in [0, 1), `monotonic` seconds."""

    def __init__(
        self,
        exporter: "SpanExporter",
        *,
        sample: float,
        process: str,
        random: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        name, _, instance = process.partition(" ")
        resource = Resource.create({"service.name": f"doorbuster-{name}", "service.instance.id": instance or name})
        self._provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_attribute_length=300))
        self._provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=_EXPORT_S * 1000))
        self._tracer = self._provider.get_tracer("doorbuster")
        self._sample = sample
        self._random = random
        self._monotonic = monotonic
        self._second = 0
        self._begun = 0

    def request(self, name: str, traceparent: bytes | None) -> "AbstractContextManager[Span | None]":
        """A whole request: where the caller's trace says that it is sampled, and else one in so many."""
        parent = None
        if traceparent is not None and _TRACEPARENT.fullmatch(text := traceparent.decode("latin-1")):
            parent = self._propagator.extract({"traceparent": text})
            wanted = self._trace.get_current_span(parent).get_span_context().trace_flags.sampled
        else:
            wanted = self._random() < self._sample
        if not wanted or not self._may_begin():
            return _NOTHING
        return self._tracer.start_as_current_span(name, context=parent, kind=self._trace.SpanKind.SERVER)

    def whole(
        self, name: str, attributes: Attributes | None = None, *, always: bool = False
    ) -> "AbstractContextManager[Span | None]":
        """Work that nobody's request waits for; one in so many, or `always` what is rare."""
        if not always and (self._random() >= self._sample or not self._may_begin()):
            return _NOTHING
        return self._tracer.start_as_current_span(name, attributes=attributes)

    def part(
        self, name: str, attributes: Attributes | None = None, *, alone: bool = False
    ) -> "AbstractContextManager[Span | None]":
        """A call to another system within what is traced now. With `alone` it may be a trace of its own."""
        if self._trace.get_current_span().is_recording():
            kind = self._trace.SpanKind.CLIENT
            return self._tracer.start_as_current_span(name, kind=kind, attributes=attributes)
        return self.whole(name, attributes) if alone else _NOTHING

    def follow(self, name: str, answer: "asyncio.Future[Any]") -> None:
        """A part that is over when the future is: of what travels in a batch that others began."""
        if self._trace.get_current_span().is_recording():
            span = self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT)
            answer.add_done_callback(lambda _: span.end())

    def fail(self, span: "Span", words: str) -> None:
        span.set_status(self._trace.StatusCode.ERROR, words)

    def flush(self) -> None:
        self._provider.force_flush(int(_EXPORT_S * 1000))

    def close(self) -> None:
        """Send what is left; waits for the collector no longer than it may."""
        self._provider.shutdown()

    def _may_begin(self) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._begun = second, 0
        self._begun += 1
        return self._begun <= PER_SECOND_MAX


class _Process:
    """What this process has; None: it traces nothing."""

    tracing: Tracing | None = None


def now() -> Tracing | None:
    """The tracing of this process. Hot paths ask once and go on if there is none."""
    return _Process.tracing


def part(
    name: str, attributes: Attributes | None = None, *, alone: bool = False
) -> "AbstractContextManager[Span | None]":
    """As `Tracing.part`; nothing at all where there is no tracing."""
    tracing = _Process.tracing
    return _NOTHING if tracing is None else tracing.part(name, attributes, alone=alone)


def whole(
    name: str, attributes: Attributes | None = None, *, always: bool = False
) -> "AbstractContextManager[Span | None]":
    """As `Tracing.whole`; nothing at all where there is no tracing."""
    tracing = _Process.tracing
    return _NOTHING if tracing is None else tracing.whole(name, attributes, always=always)


def use(tracing: Tracing | None) -> None:
    """From now on in this process."""
    _Process.tracing = tracing


def exporter_of(settings: Settings) -> "SpanExporter | None":
    """Where traces go; None if nowhere. ValueError if it is no address, or OpenTelemetry is not installed."""
    if not settings.traces_url:
        return None
    parts = urlsplit(settings.traces_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("DOORBUSTER_TRACES_URL is no address like http://collector:4318")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError as problem:
        raise ValueError(
            "DOORBUSTER_TRACES_URL is set, but OpenTelemetry is not installed: pip install 'doorbuster[otel]'"
        ) from problem
    return OTLPSpanExporter(settings.traces_url.rstrip("/") + "/v1/traces", timeout=_EXPORT_S)
