"""The routes about the gate itself: health, metrics, documentation."""

from doorbuster.api.docs_page import page
from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.services import Services
from doorbuster.api.shapes import Health

_DOCS_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class SystemRoutes:
    """`openapi` is the document as it will be served; it is set once the table of routes is complete."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.openapi: dict[str, object] = {}
        self.draining = False

    async def live(self, request: Request) -> Reply:
        """The process runs. Says nothing about the stores: restarting a gate does not mend a store."""
        del request
        return json_reply(200, Health("live", []))

    async def ready(self, request: Request) -> Reply:
        """Whether a load balancer should send traffic here."""
        del request
        problems = ["the gate is stopping"] if self.draining else await self._services.ready()
        if problems:
            return json_reply(503, Health("not ready", problems), ((b"retry-after", b"1"),))
        return json_reply(200, Health("ready", []))

    async def metrics(self, request: Request) -> Reply:
        del request
        return Reply(200, await self._services.metrics(), b"text/plain; version=0.0.4; charset=utf-8")

    async def document(self, request: Request) -> Reply:
        del request
        return json_reply(200, self.openapi)

    async def docs(self, request: Request) -> Reply:
        """The same document for people: one page, no script, nothing loaded from anywhere."""
        del request
        headers = (
            (b"content-security-policy", _DOCS_POLICY),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        )
        return Reply(200, page(self.openapi).encode(), b"text/html; charset=utf-8", headers)
