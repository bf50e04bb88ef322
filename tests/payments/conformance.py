"""What every gateway adapter has to do, whatever is behind it.

A gateway's own test calls `exercise_gateway` with its adapter and the names of methods that behave as said. Each check
uses charges of its own, so a shared sandbox will do.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from doorbuster.domain.order import Order
from doorbuster.domain.payment import Attempt, Operation, gateway_key
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.payment_ports import (
    Absent,
    Authorized,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Gateway,
    NotNews,
    Refunded,
    Voided,
)
from doorbuster.engine.settling import charge_of


@dataclass(frozen=True)
class Methods:
    """Names of payment methods of the gateway under test."""

    approved: str
    declined: str
    capture_refused: str | None = None


def fresh_attempt(
    method: str, *, amount_cents: int = 1999, currency: str = "USD", gateway: str = "simulated"
) -> Attempt:
    """An attempt of an order nobody has seen before."""
    order = Order(
        order_id=str(uuid.uuid4()),
        sale_id=str(uuid.uuid4()),
        user_id="buyer",
        quantity=1,
        amount_cents=amount_cents,
        currency=currency,
        status=OrderStatus.RESERVED,
        reserved_ms=0,
        expires_ms=600_000,
    )
    return Attempt(
        payment_id=str(uuid.uuid4()),
        attempt=1,
        gateway=gateway,
        payment_method=method,
        state=PaymentState.SENT,
        amount_cents=amount_cents,
        currency=currency,
        idempotency_key="key",
        body_digest="",
        gateway_ref=None,
        decline_reason=None,
        created_ms=0,
        updated_ms=0,
        order=order,
    )


class Case:
    """One fresh charge and the keys that belong to it."""

    def __init__(self, gateway: Gateway, method: str) -> None:
        attempt = fresh_attempt(method, gateway=gateway.name)
        self.gateway = gateway
        self.charge: Charge = charge_of(attempt)
        self.capture_key = gateway_key(attempt, Operation.CAPTURE)
        self.void_key = gateway_key(attempt, Operation.VOID)
        self.refund_key = gateway_key(attempt, Operation.REFUND)

    @property
    def exact(self) -> tuple[int, str]:
        return self.charge.amount_cents, self.charge.currency


Check = Callable[[Gateway, Methods], Awaitable[None]]


async def an_unknown_charge_is_absent(gateway: Gateway, methods: Methods) -> None:
    """Looking up changes nothing and invents nothing."""
    case = Case(gateway, methods.approved)

    found = await gateway.look_up(case.charge)

    assert found == Absent()
    assert await gateway.look_up(case.charge) == Absent()


async def a_declined_charge_stays_declined(gateway: Gateway, methods: Methods) -> None:
    """A no is a no for this key: nothing is set aside, and a capture is refused."""
    case = Case(gateway, methods.declined)

    first = await gateway.authorize(case.charge)

    assert isinstance(first, Declined)
    assert first.reason
    assert await gateway.authorize(case.charge) == first
    assert await gateway.look_up(case.charge) == first
    assert isinstance(await gateway.capture(case.charge, case.capture_key), CaptureRefused)
    assert await gateway.void(case.charge, case.void_key) == Voided()


async def one_key_authorizes_once(gateway: Gateway, methods: Methods) -> None:
    """A repeat meets the first authorization, with the exact amount (C34)."""
    case = Case(gateway, methods.approved)

    first = await gateway.authorize(case.charge)
    second = await gateway.authorize(case.charge)

    assert isinstance(first, Authorized)
    assert (first.amount_cents, first.currency) == case.exact
    assert second == first
    assert await gateway.look_up(case.charge) == first


async def one_key_captures_once(gateway: Gateway, methods: Methods) -> None:
    """A repeat meets the first capture (C37)."""
    case = Case(gateway, methods.approved)
    await gateway.authorize(case.charge)

    first = await gateway.capture(case.charge, case.capture_key)
    second = await gateway.capture(case.charge, case.capture_key)

    assert isinstance(first, Captured)
    assert (first.amount_cents, first.currency) == case.exact
    assert second == first
    assert isinstance(await gateway.look_up(case.charge), Captured)


async def nothing_is_captured_that_was_not_authorized(gateway: Gateway, methods: Methods) -> None:
    case = Case(gateway, methods.approved)

    answer = await gateway.capture(case.charge, case.capture_key)

    assert not isinstance(answer, Captured)
    assert await gateway.look_up(case.charge) == Absent()


async def a_void_gives_the_authorization_up(gateway: Gateway, methods: Methods) -> None:
    """Once, and for good: neither a capture nor an authorization follows."""
    case = Case(gateway, methods.approved)
    await gateway.authorize(case.charge)

    answer = await gateway.void(case.charge, case.void_key)

    assert answer == Voided()
    assert await gateway.void(case.charge, case.void_key) == Voided()
    assert await gateway.look_up(case.charge) == Voided()
    assert isinstance(await gateway.capture(case.charge, case.capture_key), CaptureRefused)
    assert isinstance(await gateway.authorize(case.charge), Declined)


async def a_void_meets_a_late_authorization(gateway: Gateway, methods: Methods) -> None:
    """A key the gateway had never heard of can be voided; what arrives under it afterwards fails (C39)."""
    case = Case(gateway, methods.approved)

    answer = await gateway.void(case.charge, case.void_key)

    assert answer == Voided()
    assert isinstance(await gateway.authorize(case.charge), Declined)
    assert await gateway.look_up(case.charge) == Voided()


async def a_void_after_the_capture_is_too_late(gateway: Gateway, methods: Methods) -> None:
    """It says so, and the money can be given back, once (C42)."""
    case = Case(gateway, methods.approved)
    await gateway.authorize(case.charge)
    await gateway.capture(case.charge, case.capture_key)

    answer = await gateway.void(case.charge, case.void_key)

    assert isinstance(answer, Captured)
    assert await gateway.refund(case.charge, case.refund_key) == Refunded()
    assert await gateway.refund(case.charge, case.refund_key) == Refunded()


async def nothing_is_refunded_that_was_not_captured(gateway: Gateway, methods: Methods) -> None:
    case = Case(gateway, methods.approved)
    await gateway.authorize(case.charge)

    answer = await gateway.refund(case.charge, case.refund_key)

    assert answer != Refunded()
    assert isinstance(await gateway.look_up(case.charge), Authorized)


async def a_capture_may_be_refused_for_good(gateway: Gateway, methods: Methods) -> None:
    """It stays refused, and the authorization can still be given up (P7)."""
    if methods.capture_refused is None:
        return
    case = Case(gateway, methods.capture_refused)
    assert isinstance(await gateway.authorize(case.charge), Authorized)

    answer = await gateway.capture(case.charge, case.capture_key)

    assert isinstance(answer, CaptureRefused)
    assert await gateway.capture(case.charge, case.capture_key) == answer
    assert await gateway.void(case.charge, case.void_key) == Voided()


async def a_look_up_tells_what_went_back(gateway: Gateway, methods: Methods) -> None:
    case = Case(gateway, methods.approved)
    await gateway.authorize(case.charge)
    await gateway.capture(case.charge, case.capture_key)
    before = await gateway.look_up(case.charge)
    await gateway.refund(case.charge, case.refund_key)

    after = await gateway.look_up(case.charge)

    assert isinstance(before, Captured)
    assert isinstance(after, Captured)
    assert (before.refunded_cents, after.refunded_cents) == (0, case.charge.amount_cents)


async def the_book_has_what_happened(gateway: Gateway, methods: Methods) -> None:
    """Of one sale alone, charge by charge (P10)."""
    cases = [Case(gateway, methods.approved) for _ in range(3)]
    only_held, captured, given_back = cases
    for case in cases:
        await gateway.authorize(case.charge)
    for case in (captured, given_back):
        await gateway.capture(case.charge, case.capture_key)
    await gateway.refund(given_back.charge, given_back.refund_key)

    for case, money in ((only_held, (0, 0)), (captured, (1999, 0)), (given_back, (1999, 1999))):
        (entry,) = [entry async for entry in gateway.book(case.charge.sale_id)]
        assert (entry.key, entry.order_id) == (case.charge.key, case.charge.order_id)
        assert (entry.captured_cents, entry.refunded_cents) == money
        assert (entry.amount_cents, entry.currency, entry.authorized, entry.voided) == (1999, "USD", True, False)


async def what_was_voided_or_declined_is_no_money_in_the_book(gateway: Gateway, methods: Methods) -> None:
    voided, declined, never = (Case(gateway, method) for method in (methods.approved, methods.declined, "pm"))
    await gateway.authorize(voided.charge)
    await gateway.void(voided.charge, voided.void_key)
    await gateway.authorize(declined.charge)
    await gateway.void(never.charge, never.void_key)

    for case in (voided, declined, never):
        for entry in [entry async for entry in gateway.book(case.charge.sale_id)]:
            assert entry.captured_cents == 0
            assert entry.voided or not entry.authorized


async def nothing_unsigned_is_news(gateway: Gateway, methods: Methods) -> None:
    del methods
    for body in (b"", b"{}", b'{"event_id":"e","kind":"captured","key":"k"}', b"\xff"):
        assert isinstance(gateway.read_news({}, body, 0), NotNews)


CHECKS: tuple[Check, ...] = (
    a_look_up_tells_what_went_back,
    the_book_has_what_happened,
    what_was_voided_or_declined_is_no_money_in_the_book,
    nothing_unsigned_is_news,
    an_unknown_charge_is_absent,
    a_declined_charge_stays_declined,
    one_key_authorizes_once,
    one_key_captures_once,
    nothing_is_captured_that_was_not_authorized,
    a_void_gives_the_authorization_up,
    a_void_meets_a_late_authorization,
    a_void_after_the_capture_is_too_late,
    nothing_is_refunded_that_was_not_captured,
    a_capture_may_be_refused_for_good,
)


async def exercise_gateway(gateway: Gateway, methods: Methods) -> None:
    """Every check, one after the other."""
    for check in CHECKS:
        await check(gateway, methods)
