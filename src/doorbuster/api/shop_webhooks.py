"""The operator's routes for webhooks: endpoints, their secrets, and what is on its way to them.

Owns: their shapes and what each answers. A secret is in the answer that makes it and in no other.
Read next: `engine/shop_endpoints.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import body_of, id_of, invalid, limit_of, query_of
from doorbuster.api.routes import Caller, Handler, Parameter, Route
from doorbuster.api.shapes import stamp
from doorbuster.domain import limits, shop_events
from doorbuster.domain.addresses import URL_LENGTH_MAX
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.shop_events import DeliveryState
from doorbuster.engine.shop_endpoints import Made, Webhooks
from doorbuster.engine.shop_ports import Delivery, Endpoint

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=URL_LENGTH_MAX)]
Description = Annotated[
    str,
    msgspec.Meta(max_length=shop_events.DESCRIPTION_LENGTH_MAX, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
T = TypeVar("T")
_EXAMPLE: Final = {"url": "https://shop.example/hooks/doorbuster", "event_types": ["order.paid", "order.refunded"]}
_STATE: Final = Parameter(
    "only deliveries in this state", {"type": "string", "enum": [state.value for state in DeliveryState]}
)
_CURSOR: Final = Parameter("`next_cursor` of the page before", {"type": "string", "pattern": "^[0-9]{1,18}$"})
_LIMIT: Final = Parameter(
    f"1 to {limits.PAGE_SIZE_MAX} rows on a page; {limits.PAGE_SIZE_DEFAULT} if left out",
    {"type": "integer", "minimum": 1, "maximum": limits.PAGE_SIZE_MAX, "default": limits.PAGE_SIZE_DEFAULT},
)
_ID_DIGITS: Final = 18


class EndpointBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the shop wants to be told. Without `event_types`: of everything."""

    url: Url
    description: Description = ""
    event_types: list[str] = []
    enabled: bool = True


class EndpointChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    event_types: list[str] | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long the secret until now signs beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=shop_events.OVERLAP_SECONDS_MAX)] = (
        shop_events.OVERLAP_SECONDS_DEFAULT
    )


class EndpointView(msgspec.Struct, kw_only=True):
    """An endpoint, without its secret."""

    endpoint_id: str
    url: str
    description: str
    event_types: list[str]
    enabled: bool
    disabled_reason: str
    """Why it disabled itself; empty: an operator did, or nobody."""
    old_secret_until: str | None
    created_at: str
    updated_at: str


class EndpointMade(EndpointView, kw_only=True):
    """An endpoint with its new secret. It is not shown again."""

    secret: str


class EndpointList(msgspec.Struct):
    endpoints: list[EndpointView]


class DeliveryView(msgspec.Struct, kw_only=True):
    """An event on its way to one endpoint, and how its latest attempt went."""

    delivery_id: str
    endpoint_id: str
    webhook_id: str
    type: str
    timestamp: str
    data: msgspec.Raw
    state: str
    attempts: int
    next_attempt_at: str | None
    last_attempt_at: str | None
    last_status: int | None
    last_error: str
    last_body: str
    last_took_ms: int | None


class DeliveryList(msgspec.Struct):
    deliveries: list[DeliveryView]
    next_cursor: str | None


class PingAnswer(msgspec.Struct, kw_only=True):
    """What came of a ping."""

    delivered: bool
    webhook_id: str
    status: int | None
    error: str
    body: str
    took_ms: int


class Resent(msgspec.Struct):
    resent: int


class Gone(msgspec.Struct):
    deleted: bool


class WebhookRoutes:
    """Handlers; whoever calls them was found to be the operator."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def create(self, request: Request) -> Reply | Refusal:
        body = body_of(request, EndpointBody)
        made = await self._webhooks.create(
            url=body.url, description=body.description, event_types=body.event_types, enabled=body.enabled
        )
        if isinstance(made, Refusal):
            return made
        location = (b"location", f"/v1/admin/webhooks/{made.endpoint.endpoint_id}".encode())
        return json_reply(201, _made(made), (location,))

    async def list_all(self, request: Request) -> Reply:
        del request
        return json_reply(200, EndpointList([endpoint_view(one) for one in await self._webhooks.endpoints()]))

    async def read(self, request: Request) -> Reply | Refusal:
        return _shown(await self._webhooks.read(id_of(request, "endpoint_id")))

    async def change(self, request: Request) -> Reply | Refusal:
        body = body_of(request, EndpointChange)
        return _shown(
            await self._webhooks.change(
                id_of(request, "endpoint_id"),
                url=_given(body.url),
                description=_given(body.description),
                event_types=_given(body.event_types),
                enabled=_given(body.enabled),
            )
        )

    async def delete(self, request: Request) -> Reply | Refusal:
        refused = await self._webhooks.delete(id_of(request, "endpoint_id"))
        return refused or json_reply(200, Gone(deleted=True))

    async def rotate(self, request: Request) -> Reply | Refusal:
        body = body_of(request, RotateBody, required=False)
        made = await self._webhooks.rotate(id_of(request, "endpoint_id"), overlap_seconds=body.overlap_seconds)
        return made if isinstance(made, Refusal) else json_reply(200, _made(made))

    async def test(self, request: Request) -> Reply | Refusal:
        tested = await self._webhooks.test(id_of(request, "endpoint_id"))
        if isinstance(tested, Refusal):
            return tested
        sent = tested.sent
        answer = PingAnswer(
            delivered=tested.delivered,
            webhook_id=tested.message_id,
            status=sent.status,
            error=sent.error,
            body=sent.body,
            took_ms=sent.took_ms,
        )
        return json_reply(200, answer)

    async def deliveries(self, request: Request) -> Reply | Refusal:
        query = query_of(request, "limit", "cursor", "state")
        found = await self._webhooks.deliveries(
            id_of(request, "endpoint_id"), state=_state_of(query), before=_before(query), limit=limit_of(query)
        )
        if isinstance(found, Refusal):
            return found
        page, cursor = found
        rows = [delivery_view(delivery) for delivery in page]
        return json_reply(200, DeliveryList(rows, None if cursor is None else str(cursor)))

    async def resend(self, request: Request) -> Reply | Refusal:
        text = request.parameters["delivery"]
        if not _is_number(text):
            return Refusal(Code.NOT_FOUND, "there is no such thing")
        delivery = await self._webhooks.resend(int(text))
        return delivery if isinstance(delivery, Refusal) else json_reply(200, delivery_view(delivery))

    async def resend_dead(self, request: Request) -> Reply | Refusal:
        count = await self._webhooks.resend_dead(id_of(request, "endpoint_id"))
        return count if isinstance(count, Refusal) else json_reply(200, Resent(count))


def webhook_routes(webhooks: Webhooks, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on, every = WebhookRoutes(webhooks), "/v1/admin/webhooks"
    one = f"{every}/{{endpoint_id}}"

    def route(
        method: str, path: str, name: str, summary: str, handler: Handler,
        *, codes: Sequence[Code] = (Code.NOT_FOUND,), **more: Any,
    ) -> Route:  # fmt: skip
        return Route(
            method=method, path=path, name=name, summary=summary, handler=guarded(handler), caller=Caller.OPERATOR,
            codes=codes, **more,
        )  # fmt: skip

    return [
        route("POST", every, "create-webhook", "Add an endpoint; its secret is shown this once", on.create,
              body=EndpointBody, example=_EXAMPLE, answers={201: EndpointMade}, codes=(Code.CONFLICT,),
              headers={201: {"Location": "Where to read the endpoint"}}),
        route("GET", every, "list-webhooks", "All endpoints", on.list_all, answers={200: EndpointList}, codes=()),
        route("GET", one, "read-webhook", "One endpoint", on.read, answers={200: EndpointView}),
        route("PATCH", one, "change-webhook", "Change what is given", on.change, body=EndpointChange,
              example={"enabled": False}, answers={200: EndpointView}),
        route("DELETE", one, "delete-webhook", "Delete it with all its deliveries", on.delete, answers={200: Gone}),
        route("POST", f"{one}/rotate", "rotate-webhook", "A new secret, shown this once; the old one signs for a while",
              on.rotate, body=RotateBody, body_required=False, example={"overlap_seconds": 3600},
              answers={200: EndpointMade}),
        route("POST", f"{one}/test", "test-webhook", "Send a ping now and show what came of it", on.test,
              answers={200: PingAnswer}),
        route("GET", f"{one}/deliveries", "list-deliveries", "What was told or waits, newest first", on.deliveries,
              query={"state": _STATE, "limit": _LIMIT, "cursor": _CURSOR}, answers={200: DeliveryList}),
        route("POST", f"{one}/deliveries/resend-dead", "resend-dead", "Everything that was given up, once more",
              on.resend_dead, answers={200: Resent}, codes=(Code.NOT_FOUND, Code.CONFLICT)),
        route("POST", f"{every}/deliveries/{{delivery}}/resend", "resend-delivery", "Once more, whatever became of it",
              on.resend, answers={200: DeliveryView}, codes=(Code.NOT_FOUND, Code.CONFLICT)),
    ]  # fmt: skip


def endpoint_view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(**_endpoint_fields(endpoint))


def delivery_view(delivery: Delivery) -> DeliveryView:
    waits = delivery.state is DeliveryState.PENDING
    return DeliveryView(
        delivery_id=str(delivery.delivery_id),
        endpoint_id=delivery.endpoint_id,
        webhook_id=shop_events.event_name(delivery.event_id),
        type=delivery.type,
        timestamp=stamp(delivery.event_ms),
        data=msgspec.Raw(delivery.data.encode()),
        state=delivery.state.value,
        attempts=delivery.attempts,
        next_attempt_at=stamp(delivery.next_ms) if waits else None,
        last_attempt_at=None if delivery.last_ms is None else stamp(delivery.last_ms),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        last_body=delivery.last_body,
        last_took_ms=delivery.last_took_ms,
    )


def _given(value: T | msgspec.UnsetType) -> T | None:
    return None if isinstance(value, msgspec.UnsetType) else value


def _endpoint_fields(endpoint: Endpoint) -> dict[str, Any]:
    until = endpoint.old_secret_until_ms
    return {
        "endpoint_id": endpoint.endpoint_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": list(endpoint.event_types),
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "old_secret_until": None if until is None else stamp(until),
        "created_at": stamp(endpoint.created_ms),
        "updated_at": stamp(endpoint.updated_ms),
    }


def _made(made: Made) -> EndpointMade:
    return EndpointMade(**_endpoint_fields(made.endpoint), secret=made.secret)


def _shown(endpoint: Endpoint | Refusal) -> Reply | Refusal:
    return endpoint if isinstance(endpoint, Refusal) else json_reply(200, endpoint_view(endpoint))


def _state_of(query: Mapping[str, str]) -> DeliveryState | None:
    state = query.get("state")
    if state is not None and state not in {member.value for member in DeliveryState}:
        raise invalid(f"state has to be one of {', '.join(DeliveryState)}")
    return None if state is None else DeliveryState(state)


def _before(query: Mapping[str, str]) -> int | None:
    cursor = query.get("cursor")
    if cursor is not None and not _is_number(cursor):
        raise invalid("cursor has to be the next_cursor of the page before")
    return None if cursor is None else int(cursor)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS
