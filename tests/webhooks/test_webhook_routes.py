"""The routes of webhooks: what is shown, what never is, and what is not taken."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from api.contract_webhooks import URL, an_endpoint
from api.gate import ADMIN, Gate

BAD_ENDPOINTS: dict[str, dict[str, object]] = {
    "no url": {},
    "url of another kind": {"url": 7},
    "empty url": {"url": ""},
    "http": {"url": "http://shop.example/"},
    "credentials": {"url": "https://a:b@shop.example/"},
    "inside": {"url": "https://192.168.0.1/"},
    "long url": {"url": URL + "x" * 2_000},
    "unknown type": {"url": URL, "event_types": ["order.lost"]},
    "type as text": {"url": URL, "event_types": "order.paid"},
    "a ping cannot be asked for": {"url": URL, "event_types": ["ping"]},
    "long description": {"url": URL, "description": "x" * 201},
    "zero character": {"url": URL, "description": "a\0b"},
    "enabled as number": {"url": URL, "enabled": 1},
    "a secret of one's own": {"url": URL, "secret": "whsec_AAAA"},
}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    await gate.start()
    yield gate
    await gate.stop()


@pytest.mark.parametrize("kind", BAD_ENDPOINTS)
async def test_bad_endpoint_is_refused_and_not_kept(gate: Gate, kind: str) -> None:
    answer = await gate.admin("POST", "/webhooks", BAD_ENDPOINTS[kind])

    assert (answer.status, answer.code) == (422, "invalid-request"), answer.raw
    assert (await gate.admin("GET", "/webhooks")).json == {"endpoints": []}


@pytest.mark.parametrize("field", ["url", "description", "event_types", "enabled"])
async def test_null_is_no_change(gate: Gate, field: str) -> None:
    endpoint = await an_endpoint(gate)
    before = (await gate.admin("GET", f"/webhooks/{endpoint}")).json

    answer = await gate.admin("PATCH", f"/webhooks/{endpoint}", {field: None})

    assert answer.code == "invalid-request"
    assert (await gate.admin("GET", f"/webhooks/{endpoint}")).json == before


@pytest.mark.parametrize("query", ["cursor=x", "cursor=-1", "cursor=" + "9" * 19, "state=", "limit=0", "page=2"])
async def test_bad_query_of_deliveries_is_refused(gate: Gate, query: str) -> None:
    endpoint = await an_endpoint(gate)

    assert (await gate.admin("GET", f"/webhooks/{endpoint}/deliveries?{query}")).code == "invalid-request"


@pytest.mark.parametrize("delivery", ["x", "-1", "1.5", "9" * 30, "%31"])
async def test_what_is_no_delivery_is_not_found(gate: Gate, delivery: str) -> None:
    await an_endpoint(gate)

    assert (await gate.admin("POST", f"/webhooks/deliveries/{delivery}/resend")).code == "not-found"


@pytest.mark.parametrize("seconds", [-1, 604_801, 1.5, "60"])
async def test_overlap_out_of_bounds_changes_no_secret(gate: Gate, seconds: object) -> None:
    endpoint = await an_endpoint(gate)
    before = await gate.endpoints.target(endpoint)

    answer = await gate.admin("POST", f"/webhooks/{endpoint}/rotate", {"overlap_seconds": seconds})

    assert answer.code == "invalid-request"
    assert await gate.endpoints.target(endpoint) == before


async def test_secret_is_shown_where_it_is_made_and_nowhere_else(gate: Gate) -> None:
    made = await gate.admin("POST", "/webhooks", {"url": URL})
    path = "/webhooks/" + made.json["endpoint_id"]
    assert made.headers[b"location"] == f"/v1/admin{path}".encode()

    rotated = await gate.admin("POST", f"{path}/rotate")

    assert made.json["secret"] != rotated.json["secret"]
    assert made.json["secret"].startswith("whsec_")
    assert rotated.json["old_secret_until"]
    for method, where in (("GET", ""), ("GET", path), ("PATCH", path), ("POST", f"{path}/test"), ("DELETE", path)):
        shown = await gate.admin(method, where or "/webhooks", {} if method == "PATCH" else None)
        assert shown.status == 200, shown.raw
        assert b"whsec_" not in shown.raw


async def test_resent_delivery_is_shown_as_it_is_now(gate: Gate) -> None:
    endpoint = await an_endpoint(gate)
    [dead] = (await gate.admin("GET", f"/webhooks/{endpoint}/deliveries?state=dead")).json["deliveries"]
    assert (dead["next_attempt_at"], dead["data"]) == (None, {"order_id": "1"})

    resent = (await gate.admin("POST", f"/webhooks/deliveries/{dead['delivery_id']}/resend")).json

    assert (resent["state"], resent["attempts"], resent["webhook_id"]) == ("pending", 0, dead["webhook_id"])
    assert resent["next_attempt_at"]


async def test_operators_token_is_not_sent_to_a_receiver(gate: Gate) -> None:
    endpoint = await an_endpoint(gate)

    await gate.admin("POST", f"/webhooks/{endpoint}/test")

    [(target, message)] = gate.sender.sent
    assert ADMIN not in f"{target}{message}"
