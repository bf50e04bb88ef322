"""A collector on loopback that understands what an exporter sends, and nothing else of OpenTelemetry."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collected:
    """One span as it arrived."""

    def __init__(self, service: str, span: Any) -> None:
        self.service = service
        self.name: str = span.name
        self.trace: str = span.trace_id.hex()
        self.id: str = span.span_id.hex()
        self.parent: str = span.parent_span_id.hex()
        self.failed: bool = span.status.code == 2
        self.attributes: dict[str, str | int] = {
            one.key: one.value.string_value or one.value.int_value for one in span.attributes
        }


class Collector:
    def __init__(self) -> None:
        self.spans: list[Collected] = []
        self.raw = b""
        self.url = ""

    def named(self, name: str) -> list[Collected]:
        return [span for span in self.spans if span.name == name]

    def under(self, parent: Collected) -> list[Collected]:
        """All that is below a span, however deep."""
        found = [span for span in self.spans if span.parent == parent.id]
        return found + [deeper for span in found for deeper in self.under(span)]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        message: Any = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Collected(names["service.name"], span) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def a_collector() -> AsyncGenerator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield collector
    finally:
        await runner.cleanup()
