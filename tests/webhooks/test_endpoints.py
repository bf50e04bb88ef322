"""What an operator does with endpoints: one behavior, on the reference and on PostgreSQL."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doorbuster.adapters.postgres.pool import connect
from doorbuster.adapters.postgres.shop_events import PostgresShopEvents
from doorbuster.adapters.system import SystemIds
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.shop_events import ENDPOINTS_MAX, DeliveryState, EventType
from doorbuster.engine.shop_endpoints import Made, Pinged, Webhooks
from doorbuster.engine.shop_ports import Endpoint, EndpointStore
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.shop_events import ReferenceEndpointStore, ReferenceSender

URL = "https://shop.example/hooks"


class Desk:
    """An operator with a store; `sender` remembers what was sent."""

    def __init__(self, store: EndpointStore) -> None:
        self.store = store
        self.sender = ReferenceSender()
        self.webhooks = Webhooks(store=store, sender=self.sender, clock=ManualClock(), ids=SystemIds())

    async def made(self, **changes: Any) -> Made:
        made = await self.create(**changes)
        assert isinstance(made, Made)
        return made

    async def create(self, **changes: Any) -> Made | Refusal:
        usual: dict[str, Any] = {"url": URL, "description": "", "event_types": [], "enabled": True}
        return await self.webhooks.create(**{**usual, **changes})

    async def change(self, endpoint_id: str, **changes: Any) -> Endpoint | Refusal:
        nothing: dict[str, Any] = dict.fromkeys(("url", "description", "event_types", "enabled"))
        return await self.webhooks.change(endpoint_id, **{**nothing, **changes})

    async def secrets(self, endpoint_id: str) -> list[str]:
        target = await self.store.target(endpoint_id)
        assert target is not None
        return list(target.secrets)


@pytest.fixture(params=["reference", "postgres"])
async def desk(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Desk]:
    if request.param == "reference":
        yield Desk(ReferenceEndpointStore(ManualClock(), SystemIds()))
        return
    database = await connect(database_url)
    yield Desk(PostgresShopEvents(database))
    await database.close()


def code_of(answer: object) -> Code:
    assert isinstance(answer, Refusal), answer
    return answer.code


@pytest.mark.parametrize(
    "changes", [{"url": "http://shop.example/"}, {"url": "https://10.0.0.1/"}, {"event_types": ["order.lost"]}]
)
async def test_bad_endpoint_is_refused_and_not_kept(desk: Desk, changes: dict[str, Any]) -> None:
    assert code_of(await desk.create(**changes)) is Code.INVALID_REQUEST

    assert await desk.store.endpoints() == []


@pytest.mark.parametrize("changes", [{"url": "http://shop.example/"}, {"event_types": ["ping"]}])
async def test_bad_change_is_refused_and_changes_nothing(desk: Desk, changes: dict[str, Any]) -> None:
    made = await desk.made()

    assert code_of(await desk.change(made.endpoint.endpoint_id, **changes)) is Code.INVALID_REQUEST

    assert await desk.store.endpoints() == [made.endpoint]


@pytest.mark.parametrize("endpoint_id", ["00000000-0000-7000-8000-000000000000", "no id"])
async def test_endpoint_that_is_not_there_is_not_found(desk: Desk, endpoint_id: str) -> None:
    made = await desk.made()

    answers = [
        await desk.webhooks.read(endpoint_id),
        await desk.change(endpoint_id, enabled=False),
        await desk.webhooks.delete(endpoint_id),
        await desk.webhooks.rotate(endpoint_id, overlap_seconds=60),
        await desk.webhooks.test(endpoint_id),
        await desk.webhooks.deliveries(endpoint_id, state=None, before=None, limit=10),
        await desk.webhooks.resend_dead(endpoint_id),
    ]

    assert {code_of(answer) for answer in answers} == {Code.NOT_FOUND}
    assert await desk.store.endpoints() == [made.endpoint]


@pytest.mark.parametrize("delivery_id", [0, 1, 10**18 - 1])
async def test_delivery_that_is_not_there_is_not_found(desk: Desk, delivery_id: int) -> None:
    assert code_of(await desk.webhooks.resend(delivery_id)) is Code.NOT_FOUND


async def test_one_endpoint_too_many_is_refused(desk: Desk) -> None:
    for _ in range(ENDPOINTS_MAX):
        await desk.made()

    assert code_of(await desk.create()) is Code.CONFLICT

    assert len(await desk.store.endpoints()) == ENDPOINTS_MAX


async def test_endpoint_is_as_it_was_asked_for(desk: Desk) -> None:
    made = await desk.made(description="the shop", event_types=["order.paid", "order.reserved", "order.paid"])

    assert made.endpoint == await desk.webhooks.read(made.endpoint.endpoint_id)
    assert list(made.endpoint.event_types) == ["order.reserved", "order.paid"]
    assert (made.endpoint.url, made.endpoint.description, made.endpoint.enabled) == (URL, "the shop", True)
    assert len(base64.b64decode(made.secret.removeprefix("whsec_"))) >= 24


async def test_change_keeps_what_is_left_out(desk: Desk) -> None:
    made = await desk.made(description="the shop", event_types=[EventType.ORDER_PAID])

    changed = await desk.change(made.endpoint.endpoint_id, url="https://other.example/")

    assert isinstance(changed, Endpoint)
    assert (changed.url, changed.description) == ("https://other.example/", "the shop")
    assert list(changed.event_types) == ["order.paid"]
    all_types = await desk.change(made.endpoint.endpoint_id, event_types=[])
    assert isinstance(all_types, Endpoint)
    assert list(all_types.event_types) == []


async def test_endpoint_that_is_deleted_is_gone(desk: Desk) -> None:
    made, other = await desk.made(), await desk.made()

    assert await desk.webhooks.delete(made.endpoint.endpoint_id) is None

    assert await desk.store.endpoints() == [other.endpoint]
    assert await desk.store.target(made.endpoint.endpoint_id) is None


async def test_rotated_secret_signs_first_and_the_old_one_beside_it(desk: Desk) -> None:
    made = await desk.made()

    rotated = await desk.webhooks.rotate(made.endpoint.endpoint_id, overlap_seconds=3_600)

    assert isinstance(rotated, Made)
    assert rotated.endpoint.old_secret_until_ms is not None
    assert await desk.secrets(made.endpoint.endpoint_id) == [rotated.secret, made.secret]


async def test_rotation_without_overlap_ends_the_old_secret(desk: Desk) -> None:
    made = await desk.made()

    rotated = await desk.webhooks.rotate(made.endpoint.endpoint_id, overlap_seconds=0)

    assert isinstance(rotated, Made)
    assert rotated.endpoint.old_secret_until_ms is None
    assert await desk.secrets(made.endpoint.endpoint_id) == [rotated.secret]


async def test_of_many_old_secrets_the_youngest_three_sign(desk: Desk) -> None:
    made = await desk.made()
    secrets = [made.secret]
    for _ in range(5):
        rotated = await desk.webhooks.rotate(made.endpoint.endpoint_id, overlap_seconds=3_600)
        assert isinstance(rotated, Made)
        secrets.append(rotated.secret)

    assert await desk.secrets(made.endpoint.endpoint_id) == secrets[:-5:-1]


async def test_ping_is_sent_at_once_and_is_nobodys_delivery(desk: Desk) -> None:
    made = await desk.made(enabled=False)

    tested = await desk.webhooks.test(made.endpoint.endpoint_id)

    assert isinstance(tested, Pinged)
    [(target, message)] = desk.sender.sent
    assert (tested.delivered, target.url, list(target.secrets)) == (True, URL, [made.secret])
    assert message.message_id == tested.message_id
    assert made.endpoint.endpoint_id in message.body
    assert await desk.store.deliveries(made.endpoint.endpoint_id, state=None, before=None, limit=10) == []


async def test_dead_deliveries_of_a_disabled_endpoint_are_not_resent(desk: Desk) -> None:
    made = await desk.made(enabled=False)

    assert code_of(await desk.webhooks.resend_dead(made.endpoint.endpoint_id)) is Code.CONFLICT


async def test_endpoint_without_deliveries_has_an_empty_page(desk: Desk) -> None:
    made = await desk.made()

    page = await desk.webhooks.deliveries(made.endpoint.endpoint_id, state=DeliveryState.DEAD, before=7, limit=10)

    assert page == ([], None)
    assert await desk.webhooks.resend_dead(made.endpoint.endpoint_id) == 0
