"""A payment attempt: what is asked of a gateway, under which key, and what its state allows.

Owns: the shape of an attempt, the rule that derives a gateway key, the bounds of paying, and what may be taken for a
payment method. Keeps: I8 (every retry by any worker carries the same key), I9 (amount and currency are committed
columns, never a caller's). PostgreSQL computes the same key in SQL, and a test holds the two together.
Read next: `transitions.py` (the arrows), `engine/settling.py` (who moves along them).
"""

import hashlib
import re
from enum import StrEnum
from typing import Final

import msgspec

from doorbuster.domain.order import Order
from doorbuster.domain.transitions import OrderStatus, PaymentState

PAYMENT_METHOD_LENGTH_MAX: Final = 255
DECLINE_REASON_LENGTH_MAX: Final = 100
PAYMENT_ANSWER_S: Final = 4.0
"""How long a buyer's request waits for the outcome before it is told 202. Longer than a slow gateway's answer, shorter
than the five seconds after which common HTTP clients give up."""
PAYMENTS_AT_ONCE: Final = 512
"""Attempts one process has under way, each with at most one call out; further buyers wait their turn."""
AUTHORIZE_TRIES: Final = 2
"""Authorizations sent (under one key) before an attempt of which the gateway knows nothing is voided."""
CAPTURE_TRIES: Final = 2
"""Captures sent before the rest is left to the resolver, which goes on until there is an answer."""
PAYMENT_QUIET_MS: Final = 10_000
"""An attempt untouched for this long has lost its worker. Above the longest silence of a live one (two authorizations
of three seconds and their look-ups), so the resolver does not work beside it; if it does, keys and guards hold."""
PAYMENT_ATTEMPT_MS: Final = 30_000
"""An attempt older than this is not sent again: it is completed if the gateway has the authorization, else voided.
Well within the minute in which every fault has to be over (I2)."""
PAYMENT_ALARM_MS: Final = 120_000
"""An attempt open for longer withholds a unit and needs a person's eye."""
RESOLVE_BATCH: Final = 200
"""Interrupted attempts one pass of the resolver takes."""

assert PAYMENT_QUIET_MS < PAYMENT_ATTEMPT_MS < PAYMENT_ALARM_MS
assert PAYMENT_ANSWER_S * 1000 < PAYMENT_QUIET_MS

FREE_GATEWAY: Final = "none"
"""What an attempt of a free order names as its gateway: nobody was called."""
EXTERNAL_GATEWAY: Final = "external"
"""What an attempt names as its gateway where the shop charged, and has to give back, by itself."""

PAYMENT_OPEN: Final = frozenset(
    {
        PaymentState.INTENT,
        PaymentState.SENT,
        PaymentState.AUTHORIZED,
        PaymentState.CAPTURING,
        PaymentState.VOIDING,
    }
)
"""States that may still end in money: the order can neither expire nor be cancelled, nor be paid a second time."""
PAYMENT_UNFINISHED: Final = PAYMENT_OPEN | {PaymentState.REFUND_DUE}
"""States a worker has to lead to an end."""


class Operation(StrEnum):
    """What a gateway is asked to do. Each has its own key, so a repeat of one is never taken for another."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class VoidReason(StrEnum):
    """Why an attempt is being voided; stored as its decline reason and shown to the buyer."""

    GATEWAY_ERROR = "gateway_error"  # the gateway failed and knows nothing of it
    TOO_OLD = "timed_out"  # no worker could finish it in time
    CAPTURE_REFUSED = "capture_refused"  # refused for good: the order ends with it (P7)
    VOIDED_THERE = "voided_by_gateway"  # somebody gave it up at the gateway itself
    ORDER_ENDED = "order_ended"  # the order, or its sale, did not wait for the money


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to pay one order, as PostgreSQL has it, with its order as of the same moment.

    `idempotency_key` and `body_digest` are the buyer's; the gateway's keys are derived by `gateway_key`.
    """

    payment_id: str
    attempt: int
    gateway: str
    payment_method: str
    state: PaymentState
    amount_cents: int
    currency: str
    idempotency_key: str
    body_digest: str
    gateway_ref: str | None
    decline_reason: str | None
    created_ms: int
    updated_ms: int
    order: Order


def gateway_key(attempt: Attempt, operation: Operation) -> str:
    """The key of one operation of one attempt: 64 hex digits, the same for whoever computes it, now or later (I8)."""
    order = attempt.order
    text = (
        f"{order.sale_id}|{order.order_id}|{attempt.attempt}|{operation.value}"
        f"|{attempt.amount_cents}|{attempt.currency}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


def method_digest(payment_method: str) -> str:
    """What two requests with one idempotency key are compared by."""
    return hashlib.sha256(payment_method.encode()).hexdigest()


def may_send(attempt: Attempt, now_ms: int) -> bool:
    """Whether an attempt of which the gateway knows nothing may still be sent: it is young. That its hold ran out
    meanwhile does not matter: it began in time, and expiry waits for its end within this bound."""
    return attempt.order.status is OrderStatus.RESERVED and now_ms < attempt.created_ms + PAYMENT_ATTEMPT_MS


def may_confirm(attempt: Attempt, now_ms: int) -> bool:
    """Whether money that was authorized may still buy the order: its hold lives, or the attempt is young."""
    return may_send(attempt, now_ms) or (
        attempt.order.status is OrderStatus.RESERVED and now_ms < attempt.order.expires_ms
    )


_METHOD: Final = re.compile(r"[!-~]+")
_DIGIT_RUNS: Final = re.compile(r"\d(?:[ -]?\d){12,}")
_SEPARATORS: Final = str.maketrans("", "", " -")


def payment_method_problem(payment_method: str) -> str | None:
    """What is wrong with it, or None. The text itself is never repeated: it may be a card number."""
    if looks_like_card_number(payment_method):
        return "payment_method looks like a card number; send the token your gateway made of the card"
    if len(payment_method) > PAYMENT_METHOD_LENGTH_MAX:
        return f"payment_method is longer than {PAYMENT_METHOD_LENGTH_MAX} characters"
    if not _METHOD.fullmatch(payment_method):
        return "payment_method must be a gateway's token: visible ASCII characters without spaces"
    return None


def looks_like_card_number(text: str) -> bool:
    """Whether the text contains 13 to 19 digits, written together or in groups, whose Luhn sum is right."""
    return any(
        13 <= len(digits) <= 19 and _luhn_holds(digits)
        for digits in (run.translate(_SEPARATORS) for run in _DIGIT_RUNS.findall(text))
    )


def _luhn_holds(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def short_reason(reason: str) -> str:
    """A gateway's words as they may be stored and shown: printable, bounded, and free of card numbers."""
    text = "".join(c if c.isprintable() else " " for c in reason)[:DECLINE_REASON_LENGTH_MAX].strip()
    return "declined" if not text or looks_like_card_number(text) else text
