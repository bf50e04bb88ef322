"""How the routes of webhooks answer: the cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import ADMIN, Answer, Gate
from doorbuster.domain.shop_events import ENDPOINTS_MAX, DeliveryState
from doorbuster.engine.shop_ports import Delivery

Case = Callable[[Gate], Awaitable[Answer]]
CASES: dict[tuple[str, str], Case] = {}
NOBODY = "00000000-0000-7000-8000-000000000000"
URL = "https://shop.example/hooks"
EVERY = "/v1/admin/webhooks"

ROUTES: dict[str, tuple[str, str, object]] = {
    "create-webhook": ("POST", EVERY, {"url": URL}),
    "list-webhooks": ("GET", EVERY, None),
    "read-webhook": ("GET", EVERY + "/{endpoint}", None),
    "change-webhook": ("PATCH", EVERY + "/{endpoint}", {"event_types": ["order.paid"]}),
    "delete-webhook": ("DELETE", EVERY + "/{endpoint}", None),
    "rotate-webhook": ("POST", EVERY + "/{endpoint}/rotate", None),
    "test-webhook": ("POST", EVERY + "/{endpoint}/test", None),
    "list-deliveries": ("GET", EVERY + "/{endpoint}/deliveries", None),
    "resend-dead": ("POST", EVERY + "/{endpoint}/deliveries/resend-dead", None),
    "resend-delivery": ("POST", EVERY + "/deliveries/{delivery}/resend", None),
}


async def an_endpoint(gate: Gate) -> str:
    """The id of an endpoint that has one dead delivery, number 1."""
    endpoint: str = (await gate.admin("POST", "/webhooks", {"url": URL})).json["endpoint_id"]
    gate.endpoints.put(
        Delivery(
            delivery_id=1,
            endpoint_id=endpoint,
            event_id=NOBODY,
            type="order.paid",
            aggregate_id=NOBODY,
            event_ms=gate.clock.now_ms(),
            data='{"order_id":"1"}',
            state=DeliveryState.DEAD,
            attempts=15,
            next_ms=gate.clock.now_ms(),
        )
    )
    return endpoint


async def call(gate: Gate, route: str, *, token: str = ADMIN, endpoint: str = "", body: object = None) -> Answer:
    method, path, usual = ROUTES[route]
    path = path.format(endpoint=endpoint or NOBODY, delivery=1 if endpoint else 99)
    return await gate.call(method, path, usual if body is None else body, token=token)


def _usual(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await call(gate, route, endpoint=await an_endpoint(gate))

    return ask


def _nothing_there(route: str) -> Case:
    return lambda gate: call(gate, route)


def _as(route: str, token: Callable[[Gate], str]) -> Case:
    return lambda gate: call(gate, route, token=token(gate))


def _store_down(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        gate.cut_off()
        return await call(gate, route)

    return ask


def _bad_body(route: str, body: object) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await call(gate, route, endpoint=await an_endpoint(gate), body=body)

    return ask


def _disabled(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        endpoint = await an_endpoint(gate)
        await gate.admin("PATCH", f"/webhooks/{endpoint}", {"enabled": False})
        return await call(gate, route, endpoint=endpoint)

    return ask


async def _one_too_many(gate: Gate) -> Answer:
    for _ in range(ENDPOINTS_MAX):
        assert (await call(gate, "create-webhook")).status == 201
    return await call(gate, "create-webhook")


def _by_nobody(route: str) -> Case:
    """What has no body is refused for who says it, at most."""

    async def ask(gate: Gate) -> Answer:
        method, path, _ = ROUTES[route]
        filled = path.format(endpoint=await an_endpoint(gate), delivery=1)
        return await gate.admin(method, filled.removeprefix("/v1/admin"), operator="x" * 65)

    return ask


async def _bad_query(gate: Gate) -> Answer:
    endpoint = await an_endpoint(gate)
    return await gate.admin("GET", f"/webhooks/{endpoint}/deliveries?state=lost")


for _route in ROUTES:
    CASES[_route, "201" if _route == "create-webhook" else "200"] = _usual(_route)
    CASES[_route, "unauthenticated"] = _as(_route, lambda _: "not a token")
    CASES[_route, "forbidden"] = _as(_route, lambda gate: gate.token())
    CASES[_route, "unavailable"] = _store_down(_route)
    if _route not in ("create-webhook", "list-webhooks"):
        CASES[_route, "not-found"] = _nothing_there(_route)
    if _route in ("delete-webhook", "test-webhook", "resend-dead", "resend-delivery"):
        CASES[_route, "invalid-request"] = _by_nobody(_route)
CASES["create-webhook", "conflict"] = _one_too_many
CASES["resend-dead", "conflict"] = _disabled("resend-dead")
CASES["resend-delivery", "conflict"] = _disabled("resend-delivery")
CASES["create-webhook", "invalid-request"] = _bad_body("create-webhook", {"url": "http://10.0.0.1/"})
CASES["change-webhook", "invalid-request"] = _bad_body("change-webhook", {"event_types": ["order.lost"]})
CASES["rotate-webhook", "invalid-request"] = _bad_body("rotate-webhook", {"overlap_seconds": -1})
CASES["list-deliveries", "invalid-request"] = _bad_query
