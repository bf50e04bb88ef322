"""Carries a request to its handler and whatever happens back as a reply. Both lanes end here.

Owns: the translation of refusals and accidents into problems, the request id, and the count of answers. A handler's
exception never reaches a caller as anything but `unavailable`; it is logged with an id that the caller is told.
"""

import re
from collections.abc import Callable
from typing import Final

import structlog

from doorbuster import tracing
from doorbuster.api.http import Refused, Reply, Request, problem_reply
from doorbuster.api.routes import Caller, Match, Route, Table
from doorbuster.api.services import Counts
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_TIMED_EVERY: Final = 8
"""One answer in eight is timed: reading the clock twice is a tenth of what a refusal costs."""
_UNAVAILABLE_MS: Final = limits.RETRY_AFTER_SECONDS_UNAVAILABLE * 1000


class Dispatch:
    """One per gate. `is_operator` judges an Authorization header."""

    def __init__(
        self, table: Table, counters: Counts, clock: Clock, ids: Ids, is_operator: Callable[[bytes | None], bool]
    ) -> None:
        self.table = table
        self._monotonic = clock.monotonic
        self._counters = counters
        self._ids = ids
        self._is_operator = is_operator
        self._failing: set[str] = set()
        self._turn = -1  # the first is timed

    async def answer(self, request: Request) -> Reply:
        """The reply to any request whatsoever."""
        self._turn = turn = (self._turn + 1) % _TIMED_EVERY
        begun = 0.0 if turn else self._monotonic()
        match = self.table.match(request.method, request.path)
        request_id = self._request_id(request, match)
        if isinstance(match, Match):
            request.parameters = match.parameters
            traces = tracing.now()
            if traces is not None:
                reply = await self._traced(traces, match.route, request, request_id)
            else:
                reply = await self._reply(match.route, request, request_id)
        else:
            reply = _no_route(match)
        self._counters.count(reply.code)
        if not turn:
            self._counters.took(self._monotonic() - begun)
        return reply if request_id is None else reply.with_header(b"x-request-id", request_id)

    async def _reply(self, route: Route, request: Request, request_id: bytes | None) -> Reply:
        if request_id is None:
            outcome = await self._handle(route, request)
        else:
            with structlog.contextvars.bound_contextvars(request_id=request_id.decode("ascii")):
                outcome = await self._handle(route, request)
        return outcome if isinstance(outcome, Reply) else self._refused(outcome)

    async def _traced(self, traces: tracing.Tracing, route: Route, request: Request, request_id: bytes | None) -> Reply:
        with traces.request(f"{route.method} {route.path}", request.header(b"traceparent")) as span:
            reply = await self._reply(route, request, request_id)
            if span is not None:
                span.set_attribute("http.request.method", route.method)
                span.set_attribute("http.route", route.path)
                span.set_attribute("http.response.status_code", reply.status)
                span.set_attribute("doorbuster.code", reply.code)
                if "sale_id" in request.parameters:
                    span.set_attribute("doorbuster.sale_id", request.parameters["sale_id"])
                if request_id is not None:
                    span.set_attribute("doorbuster.request_id", request_id.decode("ascii"))
                if reply.status >= 500:
                    traces.fail(span, reply.code)
            return reply

    def _request_id(self, request: Request, match: Match | tuple[str, ...]) -> bytes | None:
        """The caller's own, for every line that is logged on its behalf. An operator's request has one in any case; the
        crowd's have none unless they bring it."""
        given = request.header(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        if isinstance(match, Match) and match.route.caller is Caller.OPERATOR:
            return self._ids.new_id().encode()
        return None

    async def _handle(self, route: Route, request: Request) -> Reply | Refusal:
        try:
            outcome = await route.handler(request)
        except Refused as refused:
            return refused.refusal
        except StoreUnavailable as problem:
            self._failed(route, problem)
            return Refusal(Code.UNAVAILABLE, "a store does not answer; nothing was done")
        except OutcomeUnknown as problem:
            self._failed(route, problem)
            return Refusal(Code.UNAVAILABLE, "a store did not answer in time; repeat the request, it is safe")
        except Exception:
            fault = self._ids.new_id()
            log.exception("a handler failed", route=route.name, fault=fault)
            return Refusal(Code.UNAVAILABLE, f"an unforeseen fault, logged as {fault}")
        if self._failing and route.name in self._failing:
            self._failing.discard(route.name)
            log.info("the route works again", route=route.name)
        return outcome

    def _failed(self, route: Route, problem: Exception) -> None:
        """One line when it begins: a crowd that asks in vain must not fill the log."""
        if route.name not in self._failing:
            self._failing.add(route.name)
            log.warning("a store does not answer", route=route.name, problem=str(problem) or type(problem).__name__)

    def body_max(self, request: Request) -> int:
        """How much of this request's body is read. Only the operator may send much, and has to say so first."""
        match = self.table.match(request.method, request.path)
        if not isinstance(match, Match):
            return limits.BODY_BYTES_MAX
        route = match.route
        if route.caller is Caller.OPERATOR and not self._is_operator(request.header(b"authorization")):
            return limits.BODY_BYTES_MAX
        return route.body_bytes_max

    def note(self, reply: Reply) -> None:
        """Count an answer that was made without a request, because what came was none."""
        self._counters.count(reply.code)

    def _refused(self, refusal: Refusal) -> Reply:
        if refusal.code is Code.UNAVAILABLE:
            # A crowd that was told the same second would return in the same second.
            wait_ms = int((refusal.retry_after_ms or _UNAVAILABLE_MS) * (1 + self._ids.jitter()))
            refusal = Refusal(refusal.code, refusal.detail, wait_ms)
        return problem_reply(refusal)


def _no_route(methods: tuple[str, ...]) -> Reply:
    if not methods:
        return problem_reply(Refusal(Code.NOT_FOUND, "there is no such route; /docs lists them"))
    allowed = ", ".join(methods)
    return problem_reply(
        Refusal(Code.INVALID_REQUEST, f"this route has other methods: {allowed}"),
        status=405,
        headers=((b"allow", allowed.encode()),),
    )
