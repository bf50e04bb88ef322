"""The shop's endpoints in memory: implements `engine.shop_ports.EndpointStore`, and a receiver that takes everything.

Owns: the oracle of the endpoints' conformance tests, and what the API is tried on. It makes no events of its own: that
a change and its event are one transaction is PostgreSQL's to keep.
"""

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from doorbuster.domain.shop_events import ENDPOINTS_MAX, DeliveryState
from doorbuster.engine.ports import Clock, Ids
from doorbuster.engine.shop_ports import Delivery, Endpoint, Message, ResendWord, Sent, Target

_OLD_SECRETS_KEPT: Final = 3


class ReferenceSender:
    """Implements `engine.shop_ports.Sender`: a receiver that takes everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[Target, Message]] = []

    async def send(self, target: Target, message: Message, *, now_ms: int) -> Sent:
        del now_ms
        self.sent.append((target, message))
        return Sent(status=204)


class ReferenceEndpointStore:
    """The engine's EndpointStore. `put` adds a delivery."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._endpoints: dict[str, Endpoint] = {}
        self._secrets: dict[str, list[tuple[str, int | None]]] = {}
        """The present one first; the others with the end of their time."""
        self._deliveries: dict[int, Delivery] = {}

    def put(self, delivery: Delivery) -> None:
        self._deliveries[delivery.delivery_id] = delivery

    async def endpoints(self) -> Sequence[Endpoint]:
        return [self._shown(endpoint_id) for endpoint_id in self._endpoints]

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._shown(endpoint_id) if endpoint_id in self._endpoints else None

    async def create(
        self, endpoint_id: str, *, url: str, description: str, event_types: Sequence[str], enabled: bool
    ) -> str | None:
        if len(self._endpoints) >= ENDPOINTS_MAX:
            return None
        self._endpoints[endpoint_id] = Endpoint(
            endpoint_id=endpoint_id,
            url=url,
            description=description,
            event_types=list(event_types),
            enabled=enabled,
            disabled_reason="",
            created_ms=self._clock.now_ms(),
            updated_ms=self._clock.now_ms(),
            old_secret_until_ms=None,
        )
        return self._new_secret(endpoint_id, 0)

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None,
        description: str | None,
        event_types: Sequence[str] | None,
        enabled: bool | None,
    ) -> None:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return
        given = {"url": url, "description": description, "event_types": event_types, "enabled": enabled}
        changes = {name: value for name, value in given.items() if value is not None}
        if enabled is not None:
            changes["disabled_reason"] = ""
        self._endpoints[endpoint_id] = msgspec.structs.replace(endpoint, **changes, updated_ms=self._clock.now_ms())

    async def delete(self, endpoint_id: str) -> bool:
        found = self._endpoints.pop(endpoint_id, None)
        self._secrets.pop(endpoint_id, None)
        left = {key: one for key, one in self._deliveries.items() if one.endpoint_id != endpoint_id}
        self._deliveries = left
        return found is not None

    async def rotate(self, endpoint_id: str, *, overlap_ms: int) -> str | None:
        return self._new_secret(endpoint_id, overlap_ms) if endpoint_id in self._endpoints else None

    async def target(self, endpoint_id: str) -> Target | None:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return None
        good = [secret for secret, until in self._secrets[endpoint_id] if until is None or until > self._clock.now_ms()]
        return Target(url=endpoint.url, secrets=good)

    async def deliveries(
        self, endpoint_id: str, *, state: DeliveryState | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        found = [
            one
            for one in sorted(self._deliveries.values(), key=lambda one: -one.delivery_id)
            if one.endpoint_id == endpoint_id
            and state in (None, one.state)
            and (before is None or one.delivery_id < before)
        ]
        return found[:limit]

    async def delivery(self, delivery_id: int) -> Delivery | None:
        return self._deliveries.get(delivery_id)

    async def resend(self, delivery_id: int) -> ResendWord:
        delivery = self._deliveries.get(delivery_id)
        if delivery is None:
            return ResendWord.NOT_FOUND
        if not self._endpoints[delivery.endpoint_id].enabled:
            return ResendWord.CONFLICT
        self._again(delivery)
        return ResendWord.OK

    async def resend_dead(self, endpoint_id: str) -> int:
        dead = await self.deliveries(endpoint_id, state=DeliveryState.DEAD, before=None, limit=len(self._deliveries))
        for delivery in dead:
            self._again(delivery)
        return len(dead)

    def _again(self, delivery: Delivery) -> None:
        now_ms = self._clock.now_ms()
        self.put(msgspec.structs.replace(delivery, state=DeliveryState.PENDING, attempts=0, next_ms=now_ms))

    def _new_secret(self, endpoint_id: str, overlap_ms: int) -> str:
        secret = "whsec_" + base64.b64encode(self._ids.new_id().replace("-", "").encode()).decode()
        until = self._clock.now_ms() + overlap_ms
        kept: list[tuple[str, int | None]] = [(secret, None)]
        for known, end in self._secrets.get(endpoint_id, []):
            ends = until if end is None else end
            if ends > self._clock.now_ms():
                kept.append((known, ends))
        self._secrets[endpoint_id] = kept[: _OLD_SECRETS_KEPT + 1]
        return secret

    def _shown(self, endpoint_id: str) -> Endpoint:
        now_ms = self._clock.now_ms()
        ends = [until for _, until in self._secrets[endpoint_id] if until is not None and until > now_ms]
        return msgspec.structs.replace(self._endpoints[endpoint_id], old_secret_until_ms=max(ends, default=None))
