"""Every refusal there is: its code, status, sentence and what the caller may do next.

Owns: the closed list of codes and their order. Keeps: I14 (all-held and sold-out are two different words).
Knows nothing of HTTP but the number that belongs to a code. Read next: `limits.py`, then `engine/selling.py`.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec


class Code(StrEnum):
    """Stable names of refusals; the order is the precedence when several apply."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    NOT_FOUND = "not-found"
    IDEMPOTENCY_KEY_MISSING = "idempotency-key-missing"
    INVALID_REQUEST = "invalid-request"
    UNAVAILABLE = "unavailable"
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch"
    PAUSED = "paused"
    NOT_STARTED = "not-started"
    ENDED = "ended"
    BLOCKED = "blocked"
    NOT_ADMITTED = "not-admitted"
    ALREADY_PURCHASED = "already-purchased"
    LIMIT_EXCEEDED = "limit-exceeded"
    SOLD_OUT = "sold-out"
    ALL_HELD = "all-held"
    ORDER_CLOSED = "order-closed"
    PAYMENT_DECLINED = "payment-declined"
    CONFLICT = "conflict"


Retry = Literal["never", "after", "changed"]
"""never: the answer will not change · after: the same request may go differently later · changed: mend it first."""


class Rule(msgspec.Struct, frozen=True):
    """What belongs to a code wherever it is said."""

    status: int
    title: str
    retry: Retry
    advice: str


RULES: Final[dict[Code, Rule]] = {
    Code.UNAUTHENTICATED: Rule(401, "who is calling is not known", "changed", "Send a valid bearer token."),
    Code.FORBIDDEN: Rule(403, "this caller may not do that", "never", "Use a token with the right audience."),
    Code.RATE_LIMITED: Rule(429, "too many requests from this buyer", "after", "Wait, then repeat with the same key."),
    Code.NOT_FOUND: Rule(404, "there is no such thing for this caller", "never", "Check the address."),
    Code.IDEMPOTENCY_KEY_MISSING: Rule(
        400, "the Idempotency-Key header is missing", "changed", "Make one key per intent and repeat it on retries."
    ),
    Code.INVALID_REQUEST: Rule(
        422, "the request cannot be understood", "changed", "Mend what is named and send again."
    ),
    Code.UNAVAILABLE: Rule(
        503, "no decision could be made", "after", "Nothing is known to be taken; repeat with the same key."
    ),
    Code.IDEMPOTENCY_MISMATCH: Rule(
        422, "this key was used with another body", "changed", "Use a new key for a new intent."
    ),
    Code.PAUSED: Rule(503, "the sale is paused", "after", "Stay; it goes on when the operator resumes it."),
    Code.NOT_STARTED: Rule(
        409, "the sale has not started", "after", "Repeat at the start; early requests win nothing."
    ),
    Code.ENDED: Rule(410, "the sale is over", "never", "There is nothing more to wait for."),
    Code.BLOCKED: Rule(403, "this account may not take part", "never", "Ask the shop."),
    Code.NOT_ADMITTED: Rule(
        403, "units of this sale are granted in the line", "never", "Join the line instead of ordering."
    ),
    Code.ALREADY_PURCHASED: Rule(409, "this buyer already has a unit", "never", "Pay for the order or cancel it."),
    Code.LIMIT_EXCEEDED: Rule(409, "that would be more than one buyer may have", "changed", "Ask for fewer."),
    Code.SOLD_OUT: Rule(409, "every unit is paid for", "never", "There is nothing more to wait for."),
    Code.ALL_HELD: Rule(
        409, "every unit is held, not all are paid", "after", "Units may come back; repeat with the same key."
    ),
    Code.ORDER_CLOSED: Rule(409, "the order is no longer reserved", "never", "Read the order to see how it ended."),
    Code.PAYMENT_DECLINED: Rule(402, "the payment was declined", "changed", "Try another payment method."),
    Code.CONFLICT: Rule(409, "the present state forbids that", "never", "Read the resource and decide again."),
}

assert set(RULES) == set(Code), "every code has its rule"


class Refusal(msgspec.Struct, frozen=True):
    """A decision against the caller. State is as it was before.

    `detail` says what happened in this case; `retry_after_ms` is set where the rule says `after`.
    """

    code: Code
    detail: str = ""
    retry_after_ms: int | None = None

    @property
    def rule(self) -> Rule:
        return RULES[self.code]
