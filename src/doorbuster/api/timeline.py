"""The operator's routes of a sale's day: its timeline, its plan, and a step to run or to leave out.

Owns: what each answers, in HTTP's words. Read next: `engine/planning.py`, `domain/timeline.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from doorbuster.api.acting import actor_of
from doorbuster.api.http import Refused, Reply, Request, json_reply
from doorbuster.api.reading import body_of, id_of
from doorbuster.api.routes import Caller, Handler, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import Reason, VerbBody, stamp, stamp_or_none
from doorbuster.domain import plan as bounds
from doorbuster.domain import rehearsal
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.plan import Plan
from doorbuster.domain.timeline import StepName, StepRow, StepState

_PLAN: Final = {"expected_crowd": 20000, "pages": ["/sale/sneaker", "/assets/app.js"], "reason": "as announced"}
_REASON: Final = {"reason": "the shop has its own mails"}


class StepView(msgspec.Struct, kw_only=True):
    """A step of a sale's day. `failed` with a `next_attempt_at` is tried again then; without one it was given up.
    `done` or `skipped` with one: an operator had it run before its time, and it is done once more then.
    `reason` says why it failed, waits or was left out; `detail` is what it found."""

    step: str
    due_at: str
    state: str
    attempts: int
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None
    next_attempt_at: str | None
    reason: str
    detail: dict[str, Any]


class TimelineView(msgspec.Struct, kw_only=True):
    """`next` is the step that comes next; null when the day is over."""

    sale_id: str
    next: str | None
    steps: list[StepView]


class PlanBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out is as it is by default: a plan replaces the one before."""

    expected_crowd: Annotated[int, msgspec.Meta(ge=0, le=bounds.CROWD_MAX)] = 0
    pages: Annotated[list[str], msgspec.Meta(max_length=bounds.PATHS_MAX)] = []
    thresholds: dict[str, float] = {}
    rehearse: bool = True
    rehearsal_multiple: Annotated[float, msgspec.Meta(ge=rehearsal.MULTIPLE_MIN, le=rehearsal.MULTIPLE_MAX)] = (
        rehearsal.MULTIPLE_DEFAULT
    )
    reason: Reason = ""


class PlanView(msgspec.Struct, kw_only=True):
    """People expected (0: nobody said), pages fetched before the sale, and when to alarm; whether it is
    rehearsed before, and with how many times the crowd that is expected."""

    expected_crowd: int
    pages: list[str]
    thresholds: Mapping[str, float]
    rehearse: bool
    rehearsal_multiple: float


class TimelineRoutes:
    def __init__(self, services: Services) -> None:
        self._planning = services.planning

    async def timeline(self, request: Request) -> Reply | Refusal:
        sale_id = id_of(request, "sale_id")
        return _timeline(sale_id, await self._planning.steps(sale_id))

    async def run(self, request: Request) -> Reply | Refusal:
        body = body_of(request, VerbBody, required=False)
        sale_id, step = id_of(request, "sale_id"), _step_of(request)
        actor = actor_of(request, body.reason)
        return _timeline(sale_id, await self._planning.run(sale_id, step, actor))

    async def skip(self, request: Request) -> Reply | Refusal:
        body = body_of(request, VerbBody)
        sale_id, step = id_of(request, "sale_id"), _step_of(request)
        actor = actor_of(request, body.reason)
        return _timeline(sale_id, await self._planning.skip(sale_id, step, actor))

    async def plan(self, request: Request) -> Reply | Refusal:
        return _plan(await self._planning.plan(id_of(request, "sale_id")))

    async def set_plan(self, request: Request) -> Reply | Refusal:
        body = body_of(request, PlanBody)
        plan = Plan(
            expected_crowd=body.expected_crowd,
            pages=tuple(body.pages),
            thresholds=body.thresholds,
            rehearse=body.rehearse,
            rehearsal_multiple=body.rehearsal_multiple,
        )
        actor = actor_of(request, body.reason)
        return _plan(await self._planning.set_plan(id_of(request, "sale_id"), plan, actor))


def timeline_routes(services: Services, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on, sale = TimelineRoutes(services), "/v1/admin/sales/{sale_id}"
    step = f"{sale}/timeline/{{step}}"
    return [
        Route(
            method="GET", path=f"{sale}/timeline", name="sale-timeline", caller=Caller.OPERATOR,
            summary="The steps of the sale's day: what is done, what comes next, what failed",
            handler=guarded(on.timeline), answers={200: TimelineView}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="POST", path=f"{step}/run", name="run-step", caller=Caller.OPERATOR,
            summary="Have a step done now, also a second time", handler=guarded(on.run), body=VerbBody,
            body_required=False, example={"reason": "the mail server is back"}, answers={200: TimelineView},
            codes=(Code.NOT_FOUND, Code.CONFLICT),
        ),
        Route(
            method="POST", path=f"{step}/skip", name="skip-step", caller=Caller.OPERATOR,
            summary="Leave a step out, and say why", handler=guarded(on.skip), body=VerbBody, example=_REASON,
            answers={200: TimelineView}, codes=(Code.NOT_FOUND, Code.CONFLICT),
        ),
        Route(
            method="GET", path=f"{sale}/plan", name="sale-plan", caller=Caller.OPERATOR,
            summary="What the sale's day is prepared for", handler=guarded(on.plan), answers={200: PlanView},
            codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="PUT", path=f"{sale}/plan", name="set-plan", caller=Caller.OPERATOR,
            summary="Say how many come, what their browsers load, and when to alarm", handler=guarded(on.set_plan),
            body=PlanBody, example=_PLAN, answers={200: PlanView}, codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip


def _step_of(request: Request) -> StepName:
    try:
        return StepName(request.parameters["step"])
    except ValueError:
        names = ", ".join(StepName)
        raise Refused(Refusal(Code.NOT_FOUND, f"there is no such step; the steps are {names}")) from None


def timeline_view(sale_id: str, rows: Sequence[StepRow]) -> TimelineView:
    ahead = [row for row in rows if not row.over and row.state is not StepState.RUNNING]
    following = min(ahead, key=lambda row: row.next_ms or 0, default=None)
    steps = [step_view(row) for row in rows]
    return TimelineView(sale_id=sale_id, next=None if following is None else following.step.value, steps=steps)


def _timeline(sale_id: str, rows: Sequence[StepRow] | Refusal) -> Reply | Refusal:
    return rows if isinstance(rows, Refusal) else json_reply(200, timeline_view(sale_id, rows))


def step_view(row: StepRow) -> StepView:
    took = None if row.started_ms is None or row.finished_ms is None else row.finished_ms - row.started_ms
    return StepView(
        step=row.step.value,
        due_at=stamp(row.due_ms),
        state=row.state.value,
        attempts=row.attempts,
        started_at=stamp_or_none(row.started_ms),
        finished_at=stamp_or_none(row.finished_ms),
        duration_ms=took,
        next_attempt_at=None if row.state is StepState.RUNNING else stamp_or_none(row.next_ms),
        reason=row.words,
        detail=dict(row.detail),
    )


def _plan(plan: Plan | Refusal) -> Reply | Refusal:
    if isinstance(plan, Refusal):
        return plan
    view = PlanView(
        expected_crowd=plan.expected_crowd,
        pages=list(plan.pages),
        thresholds=plan.thresholds,
        rehearse=plan.rehearse,
        rehearsal_multiple=plan.rehearsal_multiple,
    )
    return json_reply(200, view)
