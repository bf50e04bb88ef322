"""What a shop is told, and how long it is tried: the types of events and the schedule of attempts.

Owns: the names of the events (a contract) and the pure rules of delivery. Events themselves are written by PostgreSQL,
in the transaction of the change they tell of. Read next: `engine/relaying.py`.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import msgspec


class EventType(StrEnum):
    """Every event there is. `ping` is sent by hand only."""

    ORDER_RESERVED = "order.reserved"
    ORDER_PAID = "order.paid"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_EXPIRED = "order.expired"
    ORDER_REFUNDED = "order.refunded"
    SALE_STARTED = "sale.started"
    SALE_SOLD_OUT = "sale.sold_out"
    SALE_REOPENED = "sale.reopened"
    SALE_PAUSED = "sale.paused"
    SALE_RESUMED = "sale.resumed"
    SALE_ENDED = "sale.ended"
    SALE_CANCELLED = "sale.cancelled"


PING: Final = "ping"


class DeliveryState(StrEnum):
    """`pending` is on its way or waits for its next attempt; `dead` waits for a person."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


ENDPOINTS_MAX: Final = 20
"""Each one costs a row per change of an order."""
DESCRIPTION_LENGTH_MAX: Final = 200
ATTEMPT_TIMEOUT_MS: Final = 15_000
"""From the look-up of the name to the answer's status."""
LEASE_MS: Final = 60_000
"""How long a relay has a delivery before it counts as dead: an attempt, and time to record it."""
CONCURRENT_MAX: Final = 16
"""Attempts under way at one endpoint from one relay: bounds what a receiver that hangs can bind."""
ANSWER_BYTES_KEPT: Final = 1_024
"""Of an answer's body, for people."""
OVERLAP_SECONDS_DEFAULT: Final = 86_400
OVERLAP_SECONDS_MAX: Final = 7 * 86_400
PRUNE_BATCH: Final = 1_000

_SECOND: Final = 1_000
_HOUR: Final = 3_600 * _SECOND
RETRY_AFTER_MS: Final = (
    5 * _SECOND,
    15 * _SECOND,
    60 * _SECOND,
    180 * _SECOND,
    600 * _SECOND,
    1_800 * _SECOND,
    _HOUR,
    3 * _HOUR,
    6 * _HOUR,
    *(12 * _HOUR,) * 5,
)
"""The longest pause after each attempt that failed. After the last of them there is one more attempt, then none."""
ASKED_PAUSE_MS_MAX: Final = 12 * _HOUR
"""The longest Retry-After that is honored: a receiver cannot put an event off for ever."""

assert LEASE_MS > 2 * ATTEMPT_TIMEOUT_MS, "two relays must not send one event because the first is slow"
assert sum(RETRY_AFTER_MS) <= 72 * _HOUR, "it is tried for three days"
assert list(RETRY_AFTER_MS) == sorted(RETRY_AFTER_MS)


def pause_after(attempts: int, *, asked_ms: int | None, jitter: float) -> int | None:
    """How long to wait after this many attempts, all failed; None: that was the last.

    `jitter` (0 to 1) takes up to a fifth off, so that what failed together does not come back together.
    `asked_ms` is what the receiver's Retry-After asked for: never sooner than that, within the bound.
    """
    if attempts > len(RETRY_AFTER_MS):
        return None
    pause = int(RETRY_AFTER_MS[max(0, attempts - 1)] * (1 - jitter / 5))
    return max(pause, min(asked_ms or 0, ASKED_PAUSE_MS_MAX))


def is_delivered(status: int | None) -> bool:
    """Any 2xx. A redirect is not: it is not followed either."""
    return status is not None and 200 <= status < 300


def event_name(event_id: str) -> str:
    """The `webhook-id` of an event."""
    return f"evt_{event_id.replace('-', '')}"


def asked_pause_ms(retry_after: str, now_ms: int) -> int | None:
    """What a Retry-After header asks for: seconds, or a date. What is neither asks for nothing."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * _SECOND, ASKED_PAUSE_MS_MAX)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * _SECOND) - now_ms)


def payload(event_type: str, event_ms: int, data: str) -> str:
    """What is sent: the three fields of Standard Webhooks, the same bytes at every attempt. `data` is JSON."""
    at = datetime.fromtimestamp(event_ms / _SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": event_type, "timestamp": at, "data": msgspec.Raw(data.encode())}
    return msgspec.json.encode(body).decode()
