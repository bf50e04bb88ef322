"""A rehearsal of a sale: what is tried, by how many, and whether the sale may go ahead.

Owns: the terms of the shadow sale, the size of the crowd, who may take part in what, and the verdict. A shadow sale is
a sale like any other on keys and rows of its own, marked by `rehearsal_of`; it costs nothing, so that no payment
gateway is ever asked. Read next: `engine/rehearsing.py`.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from doorbuster.domain.sale import PaymentMode, Sale, SaleMode, SaleTerms, terms_of

USER_PREFIX: Final = "rehearsal:"
"""Of every account in a rehearsal, and of no buyer: a shop's token for such an account is refused."""
AUDIENCE: Final = "doorbuster-rehearsal"
MULTIPLE_MIN: Final = 0.1
MULTIPLE_MAX: Final = 10.0
MULTIPLE_DEFAULT: Final = 1.5
CROWD_MAX: Final = 100_000
"""A worker makes no more buyers; beyond, the crowd is cut, the sheet says so, and the head-room has to answer for the
rest."""
PROCESS_CROWD_MAX: Final = 5_000
"""Buyers that one process makes. Of 20,000 it needs two seconds for those who come in the first moment, which would be
held against the gates; of so many, a twentieth of that."""
BUSY_TO_MEASURE: Final = 0.2
"""Of a core: from less nobody can tell what a whole one would bear."""
SECONDS_MIN: Final = 5
SECONDS_MAX: Final = 120
SECONDS_DEFAULT: Final = 60
"""In which the crowd of the first minute comes. Fewer make it steeper."""
CLEAR_MS: Final = 5 * 60_000
"""No rehearsal begins so shortly before a real sale."""
GIVE_WAY_MS: Final = 30_000
"""One that is under way ends so long before a real sale that came meanwhile."""
HOLD_S: Final = 8
"""What is abandoned is seen to come back and to be sold again."""
OPENS_IN_MS: Final = 6_000
"""Every gate knows of the shadow sale and of its crowd by then."""
PART_STARTS_IN_MS: Final = 500
"""What each further process of the crowd needs to begin, on a core that it shares."""
STAY_S: Final = 60
"""For how long after the last arrival the crowd goes on."""
BOTS: Final = 0.4
_CROWD_UNSAID_MIN: Final = 200
_CROWD_UNSAID_MAX: Final = 2_000

ERROR_SHARE_MAX: Final = 0.01
P99_MS_MAX: Final = 2_000.0
HEADROOM_MIN: Final = 1.3
UNSERVED_SHARE_MAX: Final = 0.01
FAULTS: Final = frozenset(
    {"unavailable", "internal", "500", "502", "503", "504", "not-found", "unauthenticated", "401", "404"}
)
"""Answers that are no decision about the buyer, and those of gates that do not know the sale or its crowd."""


class Verdict(StrEnum):
    GO = "go"
    NO_GO = "no-go"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator or the timeline asks for. `buyers`: so many people instead of the plan's times `multiple`."""

    multiple: float = MULTIPLE_DEFAULT
    buyers: int = 0
    seconds: int = SECONDS_DEFAULT
    forced: bool = False


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part. `wanted` is what was asked for, `buyers` what can be made of it; `expected` is 0 if
    nobody said how many will come."""

    expected: int
    wanted: int
    buyers: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the crowd saw. `lost`: requests without an answer; `tired`: buyers who were still trying at the end."""

    requests: int
    arrived: int
    tired: int
    turned_away: int = 0
    """Buyers who went home because they were told that nothing is left, or that there is no such sale."""
    lost: int
    answers: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    peak_per_s: float
    """Requests in the busiest second."""
    orders: int
    paid: int
    bots_paid: int
    """Of them, those of programs."""
    cpu_share: float
    """In cores, what the crowd itself used over its whole time."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger has at the end, counted beside the engine."""

    units: int
    """Reserved or paid."""
    paid_units: int
    most_per_buyer: int
    missing: int
    """Orders a buyer was told of and the ledger does not have for that buyer."""
    audit: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the sheet, whether it held, and the figures in words."""

    name: str
    held: bool
    words: str


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. `reasons` are the words of the checks that failed; empty if it is a go."""

    verdict: Verdict
    reasons: list[str]
    checks: list[Check]
    differs: list[str]
    """In what the shadow sale was not like the sale."""
    figures: dict[str, Any]


def foreign(sale: Sale, user_id: str) -> bool:
    """Whether this account has no business in this sale: buyers in a rehearsal, or a rehearsal's crowd in a sale."""
    return user_id.startswith(USER_PREFIX) is not (sale.rehearsal_of != "")


def wish_problem(wish: Wish) -> str:
    if not MULTIPLE_MIN <= wish.multiple <= MULTIPLE_MAX:
        return f"multiple is {wish.multiple:g}; it must be from {MULTIPLE_MIN:g} to {MULTIPLE_MAX:g}"
    if not 0 <= wish.buyers <= CROWD_MAX:
        return f"buyers is {wish.buyers}; one rehearsal has at most {CROWD_MAX}"
    if not SECONDS_MIN <= wish.seconds <= SECONDS_MAX:
        return f"seconds is {wish.seconds}; it must be from {SECONDS_MIN} to {SECONDS_MAX}"
    return ""


def cast(sale: Sale, wish: Wish, expected: int) -> Cast:
    """How many come. Where nobody said how many are expected, a few for each unit, within reason."""
    base = expected or min(max(5 * sale.quantity_available, _CROWD_UNSAID_MIN), _CROWD_UNSAID_MAX)
    wanted = wish.buyers or math.ceil(base * wish.multiple)
    return Cast(expected=expected, wanted=wanted, buyers=min(wanted, CROWD_MAX))


def shadow_terms(sale: Sale, *, now_ms: int, seconds: int, buyers: int = 0) -> tuple[SaleTerms, list[str]]:
    """The terms of the shadow sale, and in what it is not like the sale."""
    hold_s = min(sale.checkout_ttl_seconds, HOLD_S)
    differs = ["it costs nothing, so the payment gateway was not asked"]
    if sale.checkout_ttl_seconds > hold_s:
        differs.append(f"a hold ends after {hold_s} s, not after {sale.checkout_ttl_seconds} s")
    if sale.payment_mode is not PaymentMode.CHECKOUT:
        differs.append(f"buyers pay by themselves, not {sale.payment_mode.value}")
    start = now_ms + OPENS_IN_MS + buyers // PROCESS_CROWD_MAX * PART_STARTS_IN_MS
    changes: dict[str, Any] = {
        "title": f"Rehearsal: {sale.title}"[:200],
        "price_cents": 0,
        "payment_mode": PaymentMode.CHECKOUT,
        "checkout_ttl_seconds": hold_s,
        "start_ms": start,
        "end_ms": start + (seconds + 2 * STAY_S + 60) * 1000,
        "entry_opens_ms": None,
        "beacon_round": None,
    }
    if sale.claim_window_seconds is not None:
        changes["claim_window_seconds"] = min(sale.claim_window_seconds, hold_s)
    if sale.mode is SaleMode.DRAW and sale.beacon_round is not None:
        differs.append("the draw had no public beacon")
    return msgspec.structs.replace(terms_of(sale), **changes), differs


def headroom(busiest: float, *, who: Cast) -> float | None:
    """How many times the expected crowd the gates can bear, by the busiest they were; None: not known."""
    if busiest <= 0:
        return None
    share = who.buyers / who.expected if who.expected else 1.0
    return share / busiest


def gate_capacity(seen: Seen, *, busiest: float, gates: int) -> int | None:
    """Requests one gate would answer in a second with the whole of its core, by the busiest second and the busiest
    gate; None: they were too idle to say. What DOORBUSTER_GATE_CAPACITY is about."""
    return round(seen.peak_per_s / gates / busiest) if gates and busiest >= BUSY_TO_MEASURE else None


def judge(
    sale: Sale, who: Cast, seen: Seen, counted: Counted, *, busiest: float, gates: int, differs: list[str]
) -> Sheet:
    """`busiest` is the share of its core that a gate was seen to use, of the `gates` at the worst moment."""
    checks = [
        _exact(sale, seen, counted),
        _crowd(who, seen),
        _errors(seen),
        _speed(seen),
        _served(seen),
        _room(headroom(busiest, who=who), busiest, who),
    ]
    reasons = [check.words for check in checks if not check.held]
    return Sheet(
        verdict=Verdict.NO_GO if reasons else Verdict.GO,
        reasons=reasons,
        checks=checks,
        differs=[*differs, *_cut(who)],
        figures={
            **msgspec.structs.asdict(seen),
            "answers": dict(seen.answers),
            "expected_crowd": who.expected,
            "buyers": who.buyers,
            "bots": round(who.buyers * BOTS),
            "units_sold": counted.paid_units,
            "gates": gates,
            "gates_busy": round(busiest, 3),
            "gate_capacity": gate_capacity(seen, busiest=busiest, gates=gates),
            "headroom": None if (room := headroom(busiest, who=who)) is None else round(room, 2),
        },
    )


def _exact(sale: Sale, seen: Seen, counted: Counted) -> Check:
    wrong: list[str] = []
    left, without = sale.quantity_available - counted.paid_units, seen.tired + seen.turned_away
    if counted.paid_units == 0:
        wrong.append("nothing was sold")
    elif left > 0 and without:  # I3; who did not want to wait for what others held went home by choice
        wrong.append(f"{left} units were left, and {without} buyers who wanted one went home without")
    if counted.units > sale.quantity_available:
        wrong.append(f"{counted.units} of {sale.quantity_available} units were sold")
    if counted.most_per_buyer > sale.per_user_limit:
        wrong.append(f"one buyer got {counted.most_per_buyer}, not {sale.per_user_limit}")
    if counted.missing:
        wrong.append(f"{counted.missing} orders that buyers were told of are not stored")
    if counted.audit != "in_step":
        wrong.append(f"the audit says {counted.audit}")
    words = "; ".join(wrong) or f"{counted.paid_units} of {sale.quantity_available} units sold, the audit agrees"
    return Check(name="exact", held=not wrong, words=words)


def _crowd(who: Cast, seen: Seen) -> Check:
    if seen.arrived < who.buyers:
        return Check(name="crowd", held=False, words=f"only {seen.arrived} of {who.buyers} buyers came")
    said = f"; {who.expected} are expected" if who.expected else "; nobody said how many are expected"
    return Check(name="crowd", held=True, words=f"{seen.arrived} buyers came{said}")


def _cut(who: Cast) -> list[str]:
    """A crowd that is too big to be made is no fault of the gates; what it leaves open is for the head-room to say."""
    words = f"{who.buyers} buyers came, not {who.wanted}, which is more than can be made: the rest is by the head-room"
    return [words] if who.buyers < who.wanted else []


def _errors(seen: Seen) -> Check:
    faults = seen.lost + sum(count for code, count in seen.answers.items() if code in FAULTS)
    share = faults / seen.requests if seen.requests else 1.0
    words = f"{faults} of {seen.requests} requests got no decision ({share:.2%}; at most {ERROR_SHARE_MAX:.0%})"
    return Check(name="errors", held=share <= ERROR_SHARE_MAX, words=words)


def _speed(seen: Seen) -> Check:
    words = f"p99 was {seen.p99_ms:,.0f} ms (at most {P99_MS_MAX:,.0f} ms), at up to {seen.peak_per_s:,.0f} requests/s"
    return Check(name="speed", held=seen.p99_ms <= P99_MS_MAX, words=words)


def _served(seen: Seen) -> Check:
    share = seen.tired / seen.arrived if seen.arrived else 1.0
    words = f"{seen.tired} of {seen.arrived} buyers were never told how it ended (at most {UNSERVED_SHARE_MAX:.0%})"
    return Check(name="served", held=share <= UNSERVED_SHARE_MAX, words=words)


def _room(room: float | None, busiest: float, who: Cast) -> Check:
    if room is None:
        return Check(name="head-room", held=False, words="no gate said how busy it was")
    of = "the expected crowd" if who.expected else "this crowd"
    words = f"gates were {busiest:.0%} busy at the worst: room for {room:.1f} times {of} (at least {HEADROOM_MIN:g})"
    return Check(name="head-room", held=room >= HEADROOM_MIN, words=words)
