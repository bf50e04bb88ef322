"""The table of routes: what may be called, by whom, with what, and every way it can answer.

Owns: the shape of a route and the matching of paths. `openapi.py` writes the documentation from the same table, and a
test holds every entry against a real answer. Read next: `app.py`, which fills the table.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec

from doorbuster.api.http import Reply, Request
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal

Handler = Callable[[Request], Awaitable[Reply | Refusal]]


class Caller(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    BUYER = "buyer"
    OPERATOR = "operator"


class Parameter(msgspec.Struct, frozen=True):
    """One of the query."""

    text: str
    schema: Mapping[str, Any]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `answers` are its successes: status to the struct of the body (None: see `media`)."""

    method: str
    path: str
    name: str
    summary: str
    caller: Caller
    handler: Handler
    body: Any = None
    body_required: bool = True
    body_bytes_max: int = limits.BODY_BYTES_MAX
    example: Any = None
    """A body that works."""
    csv_example: str = ""
    """The same as CSV, where CSV is taken, too."""
    answers: Mapping[int, Any]
    codes: Sequence[Code] = ()
    idempotent_key: bool = False
    query: Mapping[str, Parameter] = {}
    media: str = "application/json"
    headers: Mapping[int, Mapping[str, str]] = {}
    """Headers of successes: status to name to what it says."""


class Match(msgspec.Struct, frozen=True):
    route: Route
    parameters: dict[str, str]


class _Node:
    __slots__ = ("children", "parameter", "routes", "wildcard")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.wildcard: _Node | None = None
        self.parameter = ""
        self.routes: dict[str, Route] = {}


class Table:
    """All routes. `match` costs one dictionary look-up per segment of the path, or one for a path of late."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self.match = lru_cache(maxsize=1024)(self._match)
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.path.strip("/").split("/"):
            if segment.startswith("{"):
                if node.wildcard is None:
                    node.wildcard = _Node()
                    node.wildcard.parameter = segment.strip("{}")
                node = node.wildcard
            else:
                node = node.children.setdefault(segment, _Node())
        assert route.method not in node.routes, f"{route.method} {route.path} is there twice"
        node.routes[route.method] = route

    def _match(self, method: str, path: str) -> Match | tuple[str, ...]:
        """The route and its parameters; or the methods the path does have (none: there is no such path)."""
        node = self._root
        parameters: dict[str, str] = {}
        for segment in path[1:].split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.wildcard
                if child is None or not segment:
                    return ()
                parameters[child.parameter] = segment
            node = child
        route = node.routes.get(method) or (node.routes.get("GET") if method == "HEAD" else None)
        if route is None:
            methods = {*node.routes, "HEAD"} if "GET" in node.routes else {*node.routes}
            return tuple(sorted(methods))
        return Match(route, parameters)
