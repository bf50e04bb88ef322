"""Carries a request to its handler and whatever happens back as a reply. Both lanes end here.

Owns: the translation of accidents into problems, the request id, and the count of answers. A handler's exception never
reaches a caller as anything but `unavailable`; it is logged with the request's id.
"""

import re
from typing import Final

import structlog

from doorbuster.api.http import Refused, Reply, Request, problem_reply
from doorbuster.api.routes import Match, Table
from doorbuster.api.services import Counts
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import Ids, OutcomeUnknown, StoreUnavailable

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Dispatch:
    """One per gate."""

    def __init__(self, table: Table, counters: Counts, ids: Ids) -> None:
        self.table = table
        self._counters = counters
        self._ids = ids

    async def answer(self, request: Request) -> Reply:
        """The reply to any request whatsoever."""
        reply = await self._answer(request)
        self._counters.count(reply.code)
        given = request.header(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            reply.headers = (*reply.headers, (b"x-request-id", given))
        return reply

    async def _answer(self, request: Request) -> Reply:
        match = self.table.match(request.method, request.path)
        if not isinstance(match, Match):
            return _no_route(match)
        request.parameters = match.parameters
        try:
            return await match.route.handler(request)
        except Refused as refused:
            return problem_reply(refused.refusal, status=refused.status, headers=refused.headers)
        except StoreUnavailable as problem:
            log.warning("a store does not answer", route=match.route.name, problem=str(problem))
            return problem_reply(Refusal(Code.UNAVAILABLE, "a store does not answer; nothing was done", 1000))
        except OutcomeUnknown as problem:
            log.warning("a store did not answer in time", route=match.route.name, problem=str(problem))
            return problem_reply(
                Refusal(Code.UNAVAILABLE, "a store did not answer in time; repeat the request, it is safe", 1000)
            )
        except Exception:
            fault = self._ids.new_id()
            log.exception("a handler failed", route=match.route.name, fault=fault)
            return problem_reply(Refusal(Code.UNAVAILABLE, f"an unforeseen fault, logged as {fault}", 1000))


def _no_route(methods: list[str]) -> Reply:
    if not methods:
        return problem_reply(Refusal(Code.NOT_FOUND, "there is no such route; /docs lists them"))
    allowed = ", ".join(methods)
    return problem_reply(
        Refusal(Code.INVALID_REQUEST, f"this route has other methods: {allowed}"),
        status=405,
        headers=((b"allow", allowed.encode()),),
    )
