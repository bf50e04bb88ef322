"""The operator's routes of a rehearsal: ask for one, look at it, stop it.

Owns: what each answers, in HTTP's words. Read next: `engine/rehearsing.py`, `domain/rehearsal.py`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from doorbuster.api.acting import REASON, actor_of, reason_of
from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import body_of, id_of, query_of
from doorbuster.api.routes import Caller, Handler, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import Reason, stamp, stamp_or_none
from doorbuster.domain import rehearsal as bounds
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import Check, Wish
from doorbuster.engine.rehearsal_ports import Rehearsal

_WISH: Final = {"multiple": 1.5, "reason": "before the big day"}


class RehearsalBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`multiple` of the plan's `expected_crowd` (null: the plan's `rehearsal_multiple`), or so many `buyers`; they come
    in `seconds`. `force`: also while a real sale is on, whose buyers then share the machines with the rehearsal."""

    multiple: Annotated[float, msgspec.Meta(ge=bounds.MULTIPLE_MIN, le=bounds.MULTIPLE_MAX)] | None = None
    buyers: Annotated[int, msgspec.Meta(ge=0, le=bounds.CROWD_MAX)] = 0
    seconds: Annotated[int, msgspec.Meta(ge=bounds.SECONDS_MIN, le=bounds.SECONDS_MAX)] = bounds.SECONDS_DEFAULT
    force: bool = False
    reason: Reason = ""


class RehearsalView(msgspec.Struct, kw_only=True):
    """A rehearsal. `verdict` is go or no-go once it is `done`; of one that was `stopped`, `reasons` says why.
    `rehearsal_sale_id` names the shadow sale, whose rows are gone when this is over."""

    rehearsal_id: str
    sale_id: str
    state: str
    verdict: str | None
    reasons: list[str]
    checks: list[Check]
    differs: list[str]
    figures: dict[str, Any]
    progress: dict[str, Any]
    multiple: float
    seconds: int
    forced: bool
    asked_by: str
    reason: str
    rehearsal_sale_id: str | None
    asked_at: str
    started_at: str | None
    finished_at: str | None


def rehearsal_view(found: Rehearsal) -> RehearsalView:
    sheet = found.sheet if found.over else None  # until then something of it may be left
    stopped = [found.words] if found.over and found.words else []
    return RehearsalView(
        rehearsal_id=found.rehearsal_id,
        sale_id=found.sale_id,
        state=found.state.value,
        verdict=None if sheet is None else sheet.verdict.value,
        reasons=stopped if sheet is None else sheet.reasons,
        checks=[] if sheet is None else sheet.checks,
        differs=[] if sheet is None else sheet.differs,
        figures={} if sheet is None else sheet.figures,
        progress=dict(found.progress),
        multiple=found.wish.multiple,
        seconds=found.wish.seconds,
        forced=found.wish.forced,
        asked_by=found.asked_by,
        reason=found.reason,
        rehearsal_sale_id=found.shadow_sale_id or None,
        asked_at=stamp(found.asked_ms),
        started_at=stamp_or_none(found.started_ms),
        finished_at=stamp_or_none(found.finished_ms),
    )


class RehearsalRoutes:
    def __init__(self, services: Services) -> None:
        self._rehearsing = services.rehearsing

    async def ask(self, request: Request) -> Reply | Refusal:
        body = body_of(request, RehearsalBody, required=False)
        sale_id = id_of(request, "sale_id")
        multiple = await self._rehearsing.multiple(sale_id) if body.multiple is None else body.multiple
        wish = Wish(multiple=multiple, buyers=body.buyers, seconds=body.seconds, forced=body.force)
        actor = actor_of(request, body.reason)
        return _answer(202, await self._rehearsing.ask(sale_id, wish, actor))

    async def look(self, request: Request) -> Reply | Refusal:
        return _answer(200, await self._rehearsing.latest(id_of(request, "sale_id")))

    async def stop(self, request: Request) -> Reply | Refusal:
        actor = actor_of(request, reason_of(query_of(request, "reason")))
        return _answer(200, await self._rehearsing.stop(id_of(request, "sale_id"), actor))


def _answer(status: int, found: Rehearsal | Refusal) -> Reply | Refusal:
    return found if isinstance(found, Refusal) else json_reply(status, rehearsal_view(found))


def rehearsal_routes(services: Services, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on, path = RehearsalRoutes(services), "/v1/admin/sales/{sale_id}/rehearsal"
    return [
        Route(
            method="POST", path=path, name="rehearse", caller=Caller.OPERATOR,
            summary="Rehearse the sale: a shadow of it, a crowd with bots over real HTTP, a verdict",
            handler=guarded(on.ask), body=RehearsalBody, body_required=False, example=_WISH,
            answers={202: RehearsalView}, codes=(Code.NOT_FOUND, Code.CONFLICT),
        ),
        Route(
            method="GET", path=path, name="see-rehearsal", caller=Caller.OPERATOR,
            summary="The latest rehearsal of the sale: how it goes, or its verdict", handler=guarded(on.look),
            answers={200: RehearsalView}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="DELETE", path=path, name="stop-rehearsal", caller=Caller.OPERATOR,
            summary="Stop the rehearsal that is under way", handler=guarded(on.stop), answers={200: RehearsalView},
            query={"reason": REASON},
            codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip
