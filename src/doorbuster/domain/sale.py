"""A sale: its terms, what may be asked for, and what the clock makes of it.

Owns: the shape of a sale and the rules about its terms. Keeps: I14 (availability). Read next: `transitions.py`.
All times are integer milliseconds since the epoch, in the clock of the database; HTTP speaks RFC 3339.
"""

from enum import StrEnum
from typing import Final

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.money import CURRENCIES
from doorbuster.domain.transitions import SALE_OVER, SaleStatus


class SaleMode(StrEnum):
    RACE = "race"
    QUEUE = "queue"
    DRAW = "draw"


class PaymentMode(StrEnum):
    CHECKOUT = "checkout"
    AUTO = "auto"
    EXTERNAL = "external"


class AvailabilityState(StrEnum):
    OPEN = "open"
    ALL_HELD = "all_held"
    SOLD_OUT = "sold_out"


class Availability(msgspec.Struct, frozen=True):
    """Units by where they are; the three numbers add up to the quantity available."""

    state: AvailabilityState
    free: int
    held: int
    sold: int


class SaleTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides about a sale."""

    product_id: str
    title: str
    quantity_available: int
    price_cents: int
    currency: str
    start_ms: int
    end_ms: int
    mode: SaleMode = SaleMode.RACE
    payment_mode: PaymentMode = PaymentMode.CHECKOUT
    per_user_limit: int = 1
    checkout_ttl_seconds: int = limits.CHECKOUT_TTL_SECONDS_DEFAULT
    payment_attempts: int = limits.PAYMENT_ATTEMPTS_DEFAULT
    standby_limit: int | None = None
    """Buyers who may wait for units that come back; None: as many as like, 0: nobody. For sales with a line."""
    claim_window_seconds: int | None = None
    """A granted buyer who shows no sign of life for this long loses the unit early; None: never."""
    entry_opens_ms: int | None = None
    """From when a draw takes entries; None: from its creation."""
    beacon_round: int | None = None
    """The round of the public beacon that is mixed into a draw, named in advance; None: no beacon."""
    max_lapsed_holds: int | None = limits.LAPSED_HOLDS_DEFAULT
    """A buyer who let so many holds run out unpaid gets no more; None: any number."""


class Sale(SaleTerms, frozen=True, kw_only=True):
    """A sale as PostgreSQL has it.

    `quantity_sold` counts every unit that is reserved or paid (the column that guards I1); `quantity_paid` counts
    those that are paid. `epoch` rises whenever Valkey's image is rebuilt. `log_size` and `log_head` are the length
    and the hash of the sale's log (I15).

    Of a line: `number_high` bounds every number that may have been issued and never falls (Q2); `granted_mark` is the
    highest number that got a unit (Q4); numbers up to `ended_number` wait for nothing any more; `draw_size` is the
    number of entries of a draw once its list is closed, `drawn_ms` when its order was stored.
    """

    sale_id: str
    status: SaleStatus
    quantity_sold: int
    quantity_paid: int
    epoch: int
    tick_seen: int
    image_run_id: str
    rebuild_reason: str
    log_size: int
    log_head: bytes
    created_ms: int
    updated_ms: int
    number_high: int = 0
    granted_mark: int = 0
    ended_number: int = 0
    draw_size: int | None = None
    drawn_ms: int | None = None
    rehearsal_of: str = ""
    """The sale this one rehearses; empty: it is a real sale."""


def availability(sale: Sale) -> Availability:
    """Where the units are, from PostgreSQL's own counts. `sold_out` is said only when every unit is paid for (I14)."""
    free = sale.quantity_available - sale.quantity_sold
    held = sale.quantity_sold - sale.quantity_paid
    if free > 0:
        state = AvailabilityState.OPEN
    elif held > 0:
        state = AvailabilityState.ALL_HELD
    else:
        state = AvailabilityState.SOLD_OUT
    return Availability(state=state, free=free, held=held, sold=sale.quantity_paid)


def status_at(sale: Sale, now_ms: int) -> SaleStatus:
    """The status the clock gives: the stored one follows within a second, readers are told the truth at once."""
    if sale.status in SALE_OVER:
        return sale.status
    if now_ms >= sale.end_ms:
        return SaleStatus.ENDED
    if sale.status is SaleStatus.SCHEDULED and now_ms >= sale.start_ms:
        return SaleStatus.ACTIVE
    return sale.status


_TEXT_FORBIDDEN: Final = frozenset(map(chr, range(32))) | {"\x7f"}


def _text_problem(name: str, value: str, length_max: int) -> str | None:
    if not value.strip():
        return f"{name} must not be empty"
    if len(value) > length_max:
        return f"{name} has {len(value)} characters; at most {length_max} are allowed"
    if any(c in _TEXT_FORBIDDEN for c in value):
        return f"{name} must not contain control characters"
    return None


def _range_problem(name: str, value: int, low: int, high: int) -> str | None:
    if not low <= value <= high:
        return f"{name} is {value}; it must be from {low} to {high}"
    return None


def problems_of(terms: SaleTerms, *, now_ms: int) -> list[str]:
    """Everything that is wrong with these terms, in words an operator can act on; empty when they can be sold."""
    found = [
        _text_problem("product_id", terms.product_id, limits.PRODUCT_ID_LENGTH_MAX),
        _text_problem("title", terms.title, limits.TITLE_LENGTH_MAX),
        _range_problem("quantity_available", terms.quantity_available, 1, limits.QUANTITY_MAX),
        _range_problem("price_cents", terms.price_cents, 0, limits.PRICE_CENTS_MAX),
        _range_problem("per_user_limit", terms.per_user_limit, 1, limits.PER_USER_LIMIT_MAX),
        _range_problem(
            "checkout_ttl_seconds",
            terms.checkout_ttl_seconds,
            limits.CHECKOUT_TTL_SECONDS_MIN,
            limits.CHECKOUT_TTL_SECONDS_MAX,
        ),
        _range_problem("payment_attempts", terms.payment_attempts, 1, limits.PAYMENT_ATTEMPTS_MAX),
    ]
    if terms.max_lapsed_holds is not None:
        found.append(_range_problem("max_lapsed_holds", terms.max_lapsed_holds, 1, limits.LAPSED_HOLDS_MAX))
    found += _line_problems(terms)
    if terms.currency not in CURRENCIES:
        found.append(f"currency {terms.currency!r} is not an ISO 4217 code in capital letters, such as USD")
    if terms.end_ms <= terms.start_ms:
        found.append("end_time must be after start_time")
    elif terms.end_ms - terms.start_ms > limits.SALE_WINDOW_SECONDS_MAX * 1000:
        found.append(f"the window is longer than {limits.SALE_WINDOW_SECONDS_MAX // 86_400} days")
    if terms.end_ms <= now_ms:
        found.append("end_time is in the past")
    return [problem for problem in found if problem is not None]


def _line_problems(terms: SaleTerms) -> list[str | None]:
    """What is wrong with the terms that only a sale with a line, or only a draw, has."""
    found: list[str | None] = []
    if terms.mode is SaleMode.RACE:
        found += [
            f"{name} belongs to sales with a line; this one is a race"
            for name in ("standby_limit", "claim_window_seconds")
            if getattr(terms, name) is not None
        ]
    if terms.mode is not SaleMode.DRAW:
        found += [
            f"{name} belongs to draws; this sale is a {terms.mode.value}"
            for name in ("entry_opens_ms", "beacon_round")
            if getattr(terms, name) is not None
        ]
    if terms.standby_limit is not None:
        found.append(_range_problem("standby_limit", terms.standby_limit, 0, limits.STANDBY_LIMIT_MAX))
    if terms.claim_window_seconds is not None:
        window = terms.claim_window_seconds
        found.append(
            _range_problem("claim_window_seconds", window, limits.CLAIM_WINDOW_SECONDS_MIN, terms.checkout_ttl_seconds)
        )
    if terms.entry_opens_ms is not None and terms.entry_opens_ms >= terms.start_ms:
        found.append("entry_opens_at must be before start_time")
    if terms.beacon_round is not None:
        found.append(_range_problem("beacon_round", terms.beacon_round, 1, limits.BEACON_ROUND_MAX))
    return found


_FIXED_ONCE_STARTED: Final = (
    "product_id",
    "price_cents",
    "currency",
    "start_ms",
    "mode",
    "payment_mode",
    "entry_opens_ms",
)
"""What a buyer was promised at the start stays as it was."""


def change_refused(sale: Sale, terms: SaleTerms, *, now_ms: int) -> str | None:
    """Why these new terms may not replace the present ones now; None if they may. (Bad values: `problems_of`.)"""
    if status_at(sale, now_ms) in SALE_OVER:
        return f"the sale is {status_at(sale, now_ms).value}; nothing of it changes any more"
    if terms.mode is not sale.mode:
        return "the mode of a sale cannot change; create another sale"
    if terms.beacon_round != sale.beacon_round:
        return "the beacon's round is part of the draw's commitment; create another sale"
    if status_at(sale, now_ms) is SaleStatus.SCHEDULED:
        return None
    changed = [name for name in _FIXED_ONCE_STARTED if getattr(terms, name) != getattr(sale, name)]
    if changed:
        return f"the sale has started; {', '.join(changed)} cannot change any more"
    return None


def terms_of(sale: Sale) -> SaleTerms:
    """The terms alone, as an operator may send them back changed."""
    return SaleTerms(**{name: getattr(sale, name) for name in SaleTerms.__struct_fields__})
