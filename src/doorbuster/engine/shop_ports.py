"""What telling the shop needs from the world: the outbox, and somebody who sends.

Owns: the ports. Keeps: at least once, one at a time for each order and each sale (`ShopEventStore.claim`).
Read next: `relaying.py`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from doorbuster.domain.shop_events import DeliveryState


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a shop wants to be told. No `event_types`: of everything."""

    endpoint_id: str
    url: str
    description: str
    event_types: Sequence[str]
    enabled: bool
    disabled_reason: str
    """Why it disabled itself; empty: an operator did, or nobody."""
    created_ms: int
    updated_ms: int
    old_secret_until_ms: int | None
    """Until then an older secret signs beside the present one."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send and with what to sign; the present secret first."""

    url: str
    secrets: Sequence[str]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: the same at every attempt."""

    message_id: str
    body: str


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went. `status` is None if no answer came; `error` says what happened then."""

    status: int | None
    error: str = ""
    body: str = ""
    """The beginning of the answer."""
    retry_after: str = ""
    took_ms: int = 0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to one endpoint, and how its latest attempt went."""

    delivery_id: int
    endpoint_id: str
    event_id: str
    type: str
    aggregate_id: str
    event_ms: int
    data: str
    """JSON."""
    state: DeliveryState
    attempts: int
    next_ms: int
    last_ms: int | None = None
    last_status: int | None = None
    last_error: str = ""
    last_body: str = ""
    last_took_ms: int | None = None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery whose attempt is this relay's to make; `attempts` counts it already."""

    delivery: Delivery
    target: Target


class RecordWord(StrEnum):
    """What an attempt makes of its delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one attempt. With RETRY the next is due in `pause_ms`."""

    delivery_id: int
    attempt: int
    word: RecordWord
    pause_ms: int
    sent: Sent


class ResendWord(StrEnum):
    OK = "ok"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # the endpoint is disabled: nobody would send it


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for enabled endpoints, since when (None: nothing does), and what was given up."""

    pending: int
    oldest_ms: int | None
    dead: int


class EndpointStore(Protocol):
    """Endpoints and a look at their deliveries. Ids that cannot be ids name nothing."""

    async def endpoints(self) -> Sequence[Endpoint]: ...
    async def endpoint(self, endpoint_id: str) -> Endpoint | None: ...

    async def create(
        self, endpoint_id: str, *, url: str, description: str, event_types: Sequence[str], enabled: bool
    ) -> str | None:
        """Its secret, shown this once; None if there are `ENDPOINTS_MAX` already."""
        ...

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None,
        description: str | None,
        event_types: Sequence[str] | None,
        enabled: bool | None,
    ) -> None:
        """None leaves a value as it is. Enabling forgets why it was disabled; what waited is due at its own time."""
        ...

    async def delete(self, endpoint_id: str) -> bool:
        """With all its deliveries. False: it was not there."""
        ...

    async def rotate(self, endpoint_id: str, *, overlap_ms: int) -> str | None:
        """A new secret; the one before signs beside it for so long. None: no such endpoint."""
        ...

    async def target(self, endpoint_id: str) -> Target | None: ...

    async def deliveries(
        self, endpoint_id: str, *, state: DeliveryState | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        """The newest first, of one state or all, with ids below `before`."""
        ...

    async def delivery(self, delivery_id: int) -> Delivery | None: ...

    async def resend(self, delivery_id: int) -> ResendWord:
        """Due at once with all its attempts again, whatever it was. One under way is left alone."""
        ...

    async def resend_dead(self, endpoint_id: str) -> int: ...


class Outbox(Protocol):
    """The deliveries as a relay sees them. StoreUnavailable or OutcomeUnknown from any call; all may be repeated."""

    async def claim(self, busy: Mapping[str, int], *, most: int, lease_ms: int) -> Sequence[Claimed]:
        """Deliveries that are due: for each enabled endpoint at most `most`, less those it is `busy` with.

        Of one aggregate only the first that is not over, so its events arrive in order. What is claimed is nobody
        else's until the lease is over."""
        ...

    async def record(self, records: Sequence[Record]) -> None:
        """How attempts went. A delivery counts whoever has it by now; a failure only from the latest attempt.
        An answer 410 disables the endpoint. What waited behind a delivery that is over is due at once."""
        ...

    async def backlog(self) -> Backlog: ...

    async def prune(self, *, limit: int) -> int:
        """Forget what is long over. Returns how much."""
        ...


class Sender(Protocol):
    """One attempt over the network. Never raises for what a receiver does; it has ended within the time-out."""

    async def send(self, target: Target, message: Message, *, now_ms: int) -> Sent: ...
