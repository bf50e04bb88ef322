"""Whether a gateway's book and the ledger say the same of one charge, and what to do where they do not (P10).

Owns: the comparison and its repairs. Keeps: I7 (captured money belongs to a PAID order, or goes back), I8, I9.
Knows neither a store nor a gateway. Read next: `engine/reconciling.py`.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from doorbuster.domain.payment import PAYMENT_UNFINISHED, Attempt
from doorbuster.domain.transitions import OrderStatus, PaymentState


class BookEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as the gateway's own book has it. `key` is the authorization's key; `captured_cents` and
    `refunded_cents` are totals. A tombstone, made by the void of a key nobody had heard of, is `voided` and not
    `authorized`."""

    key: str
    order_id: str
    amount_cents: int
    currency: str
    authorized: bool
    captured_cents: int
    refunded_cents: int
    voided: bool
    ref: str = ""

    @property
    def net_cents(self) -> int:
        return self.captured_cents - self.refunded_cents

    @property
    def set_aside(self) -> bool:
        """Authorized, and neither taken nor given up."""
        return self.authorized and not self.voided and not self.captured_cents


class BreakKind(StrEnum):
    """How the two sides can differ."""

    UNKNOWN_MONEY = "unknown_money"  # captured there; the ledger knows nothing of the charge
    UNKNOWN_AUTHORIZATION = "unknown_authorization"  # set aside there; the ledger knows nothing of it
    LATE_MONEY = "late_money"  # captured there; the attempt ended here without money
    LATE_AUTHORIZATION = "late_authorization"  # set aside there; the attempt ended here
    MISSING_REFUND = "missing_refund"  # REFUNDED here; the money is still there
    MISSING_MONEY = "missing_money"  # CAPTURED here; nothing was captured there
    GIVEN_BACK_THERE = "given_back_there"  # CAPTURED here; refunded there by somebody else
    AMOUNT = "amount"  # another amount or currency


class Repair(StrEnum):
    """What is done about a break."""

    REFUND = "refund"
    VOID = "void"
    OPERATOR = "operator"  # nothing by itself: a person decides


REPAIRS = {
    BreakKind.UNKNOWN_MONEY: Repair.REFUND,
    BreakKind.UNKNOWN_AUTHORIZATION: Repair.VOID,
    BreakKind.LATE_MONEY: Repair.REFUND,
    BreakKind.LATE_AUTHORIZATION: Repair.VOID,
    BreakKind.MISSING_REFUND: Repair.REFUND,
    BreakKind.MISSING_MONEY: Repair.OPERATOR,
    BreakKind.GIVEN_BACK_THERE: Repair.OPERATOR,
    BreakKind.AMOUNT: Repair.OPERATOR,
}
"""Money that nobody owes goes back by itself. What would take a unit or money from a buyer waits for a person."""


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `repaired`: the repair was made, and the gateway confirmed it."""

    key: str
    order_id: str
    payment_id: str | None
    kind: BreakKind
    expected: str
    found: str
    repair: Repair
    repaired: bool = False


class Verdict(StrEnum):
    IN_BALANCE = "in_balance"
    BREAKS = "breaks"  # something is left for a person, or for the next time
    UNKNOWN = "unknown"  # the gateway did not show its whole book


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What a reconciliation found. In balance, `captured_cents - refunded_cents == paid_cents`, unless payments are
    under way. `quarantined` of those withhold a unit for longer than they may."""

    sale_id: str
    gateway: str
    at_ms: int
    verdict: Verdict
    charges: int = 0
    captured: int = 0
    captured_cents: int = 0
    refunded_cents: int = 0
    paid_orders: int = 0
    paid_cents: int = 0
    under_way: int = 0
    quarantined: int = 0
    breaks: tuple[Break, ...] = ()
    note: str = ""


def break_of(attempt: Attempt | None, book: BookEntry | None) -> Break | None:
    """What is wrong between an attempt and a charge under its key; None if nothing is, or if the attempt has not ended
    yet: then its own next step puts it right. One of the two has to be there."""
    if attempt is None:
        return _unknown(book) if book is not None else None
    if attempt.state in PAYMENT_UNFINISHED:
        return None
    if attempt.state is PaymentState.CAPTURED:
        return _captured(attempt, book)
    if book is None:
        return None
    if attempt.state is PaymentState.REFUNDED:
        return _break(BreakKind.MISSING_REFUND, book, attempt, "refunded") if book.net_cents else None
    if book.net_cents:
        return _break(BreakKind.LATE_MONEY, book, attempt, attempt.state.value.lower())
    if book.set_aside:
        return _break(BreakKind.LATE_AUTHORIZATION, book, attempt, attempt.state.value.lower())
    return None


def verdict_of(breaks: Iterable[Break]) -> Verdict:
    return Verdict.IN_BALANCE if all(found.repaired for found in breaks) else Verdict.BREAKS


def _unknown(book: BookEntry) -> Break | None:
    if book.net_cents:
        return _break(BreakKind.UNKNOWN_MONEY, book, None, "no such attempt")
    if book.set_aside:
        return _break(BreakKind.UNKNOWN_AUTHORIZATION, book, None, "no such attempt")
    return None


def _captured(attempt: Attempt, book: BookEntry | None) -> Break | None:
    """CAPTURED here: I9 wants exactly the amount there, on an order that is PAID."""
    expected = _sum(attempt.amount_cents, attempt.currency)
    if book is None or not book.captured_cents:
        if not attempt.amount_cents:
            return None
        return Break(
            key=book.key if book else "",
            order_id=attempt.order.order_id,
            payment_id=attempt.payment_id,
            kind=BreakKind.MISSING_MONEY,
            expected=expected,
            found="nothing captured" if book else "no such charge",
            repair=REPAIRS[BreakKind.MISSING_MONEY],
        )
    if (book.captured_cents, book.currency) != (attempt.amount_cents, attempt.currency):
        return _break(BreakKind.AMOUNT, book, attempt, expected)
    if book.refunded_cents:
        return _break(BreakKind.GIVEN_BACK_THERE, book, attempt, expected)
    if attempt.order.status is not OrderStatus.PAID:
        return _break(BreakKind.LATE_MONEY, book, attempt, f"order {attempt.order.status.value.lower()}")
    return None


def _break(kind: BreakKind, book: BookEntry, attempt: Attempt | None, expected: str) -> Break:
    return Break(
        key=book.key,
        order_id=book.order_id,
        payment_id=attempt.payment_id if attempt else None,
        kind=kind,
        expected=expected,
        found=_shown(book),
        repair=REPAIRS[kind],
    )


def _shown(book: BookEntry) -> str:
    if book.refunded_cents:
        back = _sum(book.refunded_cents, book.currency)
        return f"{_sum(book.captured_cents, book.currency)} captured, {back} refunded"
    if book.captured_cents:
        return f"{_sum(book.captured_cents, book.currency)} captured"
    return f"{_sum(book.amount_cents, book.currency)} set aside"


def _sum(cents: int, currency: str) -> str:
    return f"{cents} {currency}"
