"""What an operator does with the shop's endpoints and with what is on its way to them.

Owns: which endpoints may be there, and the answers to the operator. Read next: `shop_ports.py`, `domain/addresses.py`.
"""

from collections.abc import Sequence

import msgspec

from doorbuster.domain import shop_events
from doorbuster.domain.addresses import url_problem
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.shop_events import DeliveryState, EventType
from doorbuster.engine.ports import Clock, Ids
from doorbuster.engine.shop_ports import Delivery, Endpoint, EndpointStore, Message, ResendWord, Sender, Sent

_TYPES = frozenset(member.value for member in EventType)
_NO_ENDPOINT = Refusal(Code.NOT_FOUND, "there is no such endpoint")


class Made(msgspec.Struct, frozen=True):
    """An endpoint with its new secret, which is not shown again."""

    endpoint: Endpoint
    secret: str


class Pinged(msgspec.Struct, frozen=True):
    """What came of a ping."""

    message_id: str
    sent: Sent
    delivered: bool


class Webhooks:
    """The operator's use cases."""

    def __init__(
        self, *, store: EndpointStore, sender: Sender, clock: Clock, ids: Ids, allow_private: bool = False
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._ids = ids
        self._allow_private = allow_private

    async def create(self, *, url: str, description: str, event_types: Sequence[str], enabled: bool) -> Made | Refusal:
        problem = self._problem(url, event_types)
        if problem is not None:
            return problem
        endpoint_id = self._ids.new_id()
        secret = await self._store.create(
            endpoint_id, url=url, description=description, event_types=_ordered(event_types), enabled=enabled
        )
        if secret is None:
            return Refusal(Code.CONFLICT, f"there are {shop_events.ENDPOINTS_MAX} endpoints already; delete one")
        return await self._made(endpoint_id, secret)

    async def endpoints(self) -> Sequence[Endpoint]:
        return await self._store.endpoints()

    async def read(self, endpoint_id: str) -> Endpoint | Refusal:
        return await self._store.endpoint(endpoint_id) or _NO_ENDPOINT

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None,
        description: str | None,
        event_types: Sequence[str] | None,
        enabled: bool | None,
    ) -> Endpoint | Refusal:
        before = await self._store.endpoint(endpoint_id)
        if before is None:
            return _NO_ENDPOINT
        problem = self._problem(url, event_types or ())
        if problem is not None:
            return problem
        types = None if event_types is None else _ordered(event_types)
        await self._store.change(endpoint_id, url=url, description=description, event_types=types, enabled=enabled)
        return await self.read(endpoint_id)

    async def delete(self, endpoint_id: str) -> Refusal | None:
        return None if await self._store.delete(endpoint_id) else _NO_ENDPOINT

    async def rotate(self, endpoint_id: str, *, overlap_seconds: int) -> Made | Refusal:
        """A new secret. The one before signs beside it for so long, and at once no more if that is 0."""
        secret = await self._store.rotate(endpoint_id, overlap_ms=overlap_seconds * 1000)
        return _NO_ENDPOINT if secret is None else await self._made(endpoint_id, secret)

    async def test(self, endpoint_id: str) -> Pinged | Refusal:
        """A ping, now and once, whether it is enabled or not. It is nobody's delivery: nothing is stored."""
        target = await self._store.target(endpoint_id)
        if target is None:
            return _NO_ENDPOINT
        now_ms = self._clock.now_ms()
        data = msgspec.json.encode({"endpoint_id": endpoint_id}).decode()
        message = Message(
            message_id=shop_events.event_name(self._ids.new_id()),
            body=shop_events.payload(shop_events.PING, now_ms, data),
        )
        sent = await self._sender.send(target, message, now_ms=now_ms)
        return Pinged(message.message_id, sent, shop_events.is_delivered(sent.status))

    async def deliveries(
        self, endpoint_id: str, *, state: DeliveryState | None, before: int | None, limit: int
    ) -> tuple[Sequence[Delivery], int | None] | Refusal:
        """The newest first, and the cursor of the next page."""
        if await self._store.endpoint(endpoint_id) is None:
            return _NO_ENDPOINT
        rows = await self._store.deliveries(endpoint_id, state=state, before=before, limit=limit + 1)
        page = rows[:limit]
        return page, page[-1].delivery_id if len(rows) > limit else None

    async def resend(self, delivery_id: int) -> Delivery | Refusal:
        """Once more from the start, whatever became of it."""
        word = await self._store.resend(delivery_id)
        if word is ResendWord.CONFLICT:
            return Refusal(Code.CONFLICT, "its endpoint is disabled; enable it first")
        found = await self._store.delivery(delivery_id) if word is ResendWord.OK else None
        return found or Refusal(Code.NOT_FOUND, "there is no such delivery")

    async def resend_dead(self, endpoint_id: str) -> int | Refusal:
        endpoint = await self._store.endpoint(endpoint_id)
        if endpoint is None:
            return _NO_ENDPOINT
        if not endpoint.enabled:
            return Refusal(Code.CONFLICT, "the endpoint is disabled; enable it first")
        return await self._store.resend_dead(endpoint_id)

    async def _made(self, endpoint_id: str, secret: str) -> Made | Refusal:
        endpoint = await self._store.endpoint(endpoint_id)
        return _NO_ENDPOINT if endpoint is None else Made(endpoint, secret)

    def _problem(self, url: str | None, event_types: Sequence[str]) -> Refusal | None:
        problem = None if url is None else url_problem(url, allow_private=self._allow_private)
        unknown = [name for name in event_types if name not in _TYPES]
        if unknown:
            problem = f"there is no event type {unknown[0][:50]!r}; there are {', '.join(EventType)}"
        return None if problem is None else Refusal(Code.INVALID_REQUEST, problem)


def _ordered(event_types: Sequence[str]) -> list[str]:
    """Each once, in the order of the contract."""
    return [member.value for member in EventType if member.value in event_types]
