"""What was done to a sale, by whom and why: the operator's route.

Owns: what it answers, in HTTP's words. Read next: `engine/actions.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import id_of, invalid, limit_of, query_of
from doorbuster.api.routes import Caller, Handler, Parameter, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import stamp
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal

_CURSOR_DIGITS_MAX: Final = 18
_QUERY: Final = {
    "limit": Parameter(
        "how many, the newest first",
        {"type": "integer", "minimum": 1, "maximum": limits.PAGE_SIZE_MAX, "default": limits.PAGE_SIZE_DEFAULT},
    ),
    "cursor": Parameter("the next_cursor of the page before", {"type": "string"}),
}


class ActionView(msgspec.Struct, kw_only=True):
    """`by` is `operator`, `operator:ann` of one who said so, or a part of Doorbuster: `clock`, `keeper`, `timeline`.
    `detail` is for people and may change."""

    at: str
    action: str
    by: str
    reason: str
    detail: Mapping[str, Any]


class ActionList(msgspec.Struct):
    actions: list[ActionView]
    next_cursor: str | None


class ActionRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_actions(self, request: Request) -> Reply | Refusal:
        query, sale_id = query_of(request, "limit", "cursor"), id_of(request, "sale_id")
        limit, before = limit_of(query), _before(query)
        sale = await self._services.operating.read(sale_id)
        if isinstance(sale, Refusal):
            return sale
        found = await self._services.actions.actions(sale_id, before=before, limit=limit + 1)
        views = [
            ActionView(
                at=stamp(one.at_ms), action=one.what, by=one.actor.name, reason=one.actor.reason, detail=one.detail
            )
            for one in found[:limit]
        ]
        more = len(found) > limit
        return json_reply(200, ActionList(views, str(found[limit - 1].action_id) if more else None))


def _before(query: dict[str, str]) -> int | None:
    cursor = query.get("cursor")
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise invalid("cursor has to be the next_cursor of the page before")
    return int(cursor)


def action_routes(services: Services, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on = ActionRoutes(services)
    return [
        Route(
            method="GET", path="/v1/admin/sales/{sale_id}/actions", name="list-actions", caller=Caller.OPERATOR,
            query=_QUERY, summary="What was done to the sale, by whom and why, the newest first",
            handler=guarded(on.list_actions), answers={200: ActionList}, codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip
