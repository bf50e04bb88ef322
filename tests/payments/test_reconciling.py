"""The gateway's book against the ledger: what is found, what is repaired, and what waits for a person (P9, P10)."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from doorbuster.domain.balance import BookEntry, BreakKind, Reconciliation, Verdict
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import Attempt, VoidReason
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.payment_ports import Captured, Charge
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.engine.settling import charge_of
from payments.shop import OPERATOR, Shop


async def paid(shop: Shop) -> Order:
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")
    return await shop.read(order)


async def reconcile(shop: Shop, *, gateway: object | None = None) -> Reconciliation:
    found = await shop.reconciler(gateway=gateway).reconcile(shop.sale_id, OPERATOR)
    assert isinstance(found, Reconciliation)
    return found


async def attempt_of(shop: Shop, order: Order) -> Attempt:
    (attempt,) = await shop.attempts(order)
    return attempt


class Edited:
    """The gateway with some entries of its book as somebody else would have them."""

    def __init__(self, shop: Shop, *, drop: str = "", **changes: Any) -> None:
        self._gateway = shop.gateway
        self._drop = drop
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    async def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        async for entry in self._gateway.book(sale_id):
            if entry.order_id != self._drop:
                yield msgspec.structs.replace(entry, **self._changes)

    async def look_up(self, charge: Charge) -> Any:
        found = await self._gateway.look_up(charge)
        if isinstance(found, Captured) and "captured_cents" in self._changes:
            return msgspec.structs.replace(found, amount_cents=self._changes["captured_cents"])
        return found


async def test_sale_that_is_not_there(shop: Shop) -> None:
    answer = await shop.reconciler().reconcile(str(uuid.uuid4()), OPERATOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.NOT_FOUND


async def test_half_a_book_proves_nothing(shop: Shop) -> None:
    """Nothing is repaired on the word of a gateway that breaks off."""
    order = await paid(shop)

    class Torn(Edited):
        async def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
            async for entry in self._gateway.book(sale_id):
                yield entry
                raise StoreUnavailable("the book ended early")

    found = await reconcile(shop, gateway=Torn(shop))

    assert (found.verdict, found.note) == (Verdict.UNKNOWN, "the book ended early")
    assert await shop.states(order) == [PaymentState.CAPTURED]


async def test_books_that_are_one(shop: Shop) -> None:
    for _ in range(3):
        await paid(shop)
    declined = await shop.order()
    await shop.gate().pay(declined.order_id, declined.user_id, payment_method="pm_declined", key="k")
    back = await paid(shop)
    await shop.refunding().refund(back.order_id, OPERATOR)

    found = await reconcile(shop)

    assert (found.verdict, found.breaks) == (Verdict.IN_BALANCE, ())
    assert (found.paid_orders, found.paid_cents) == (3, 3 * 1999)
    assert found.captured_cents - found.refunded_cents == found.paid_cents
    assert (found.captured, found.under_way) == (3, 0)


async def test_payment_under_way_is_no_break(shop: Shop) -> None:
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")

    found = await reconcile(shop)

    assert (found.verdict, found.under_way, found.quarantined) == (Verdict.IN_BALANCE, 1, 0)


async def test_money_of_an_attempt_that_was_given_up_goes_back(shop: Shop) -> None:
    """P9: captured on a dead order. The void was believed; the gateway captured all the same."""
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")
    attempt = await attempt_of(shop, order)
    await shop.stores.payments.void(attempt.payment_id, VoidReason.TOO_OLD)
    await shop.stores.payments.voided(attempt.payment_id)
    await shop.act(attempt)
    await shop.gateway.capture(charge_of(attempt), "somebody")

    found = await reconcile(shop)

    (one,) = found.breaks
    assert (one.kind, one.repaired, found.verdict) == (BreakKind.LATE_MONEY, True, Verdict.IN_BALANCE)
    assert [line.refunded_cents for line in await shop.charges(order)] == [1999]
    assert (await shop.read(order)).status is OrderStatus.RESERVED
    assert (await reconcile(shop)).breaks == ()


async def test_money_set_aside_for_an_attempt_that_ended_is_let_go(shop: Shop) -> None:
    """P9: authorized on a dead order."""
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")
    attempt = await attempt_of(shop, order)
    await shop.stores.payments.void(attempt.payment_id, VoidReason.TOO_OLD)
    await shop.stores.payments.voided(attempt.payment_id)
    await shop.act(attempt)

    found = await reconcile(shop)

    (one,) = found.breaks
    assert (one.kind, one.repaired) == (BreakKind.LATE_AUTHORIZATION, True)
    assert [line.voided for line in await shop.charges(order)] == [True]


async def test_late_news_of_an_attempt_that_ended_is_looked_into(shop: Shop) -> None:
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")
    attempt = await attempt_of(shop, order)
    await shop.stores.payments.void(attempt.payment_id, VoidReason.TOO_OLD)
    ended = await shop.stores.payments.voided(attempt.payment_id)
    await shop.act(attempt)

    first = await shop.reconciler().examine(ended)
    again = await shop.reconciler().examine(ended)

    assert first is not None
    assert (first.kind, first.repaired, again) == (BreakKind.LATE_AUTHORIZATION, True, None)


async def test_news_of_what_went_well_is_no_break(shop: Shop) -> None:
    order = await paid(shop)
    back = await paid(shop)
    await shop.refunding().refund(back.order_id, OPERATOR)

    assert await shop.reconciler().examine(await attempt_of(shop, order)) is None
    assert await shop.reconciler().examine(await attempt_of(shop, back)) is None


async def test_paid_order_without_money_waits_for_a_person(shop: Shop) -> None:
    order = await paid(shop)

    found = await reconcile(shop, gateway=Gone(shop, drop=order.order_id))

    (one,) = found.breaks
    assert (one.kind, one.repaired, found.verdict) == (BreakKind.MISSING_MONEY, False, Verdict.BREAKS)
    assert await shop.states(order) == [PaymentState.CAPTURED]


class Gone(Edited):
    """A gateway that has lost a charge altogether."""

    async def look_up(self, charge: Charge) -> Any:
        from doorbuster.engine.payment_ports import Absent

        return Absent() if charge.order_id == self._drop else await self._gateway.look_up(charge)


async def test_other_amount_waits_for_a_person(shop: Shop) -> None:
    order = await paid(shop)

    found = await reconcile(shop, gateway=Edited(shop, captured_cents=1998))

    (one,) = found.breaks
    assert (one.kind, one.order_id, one.repaired) == (BreakKind.AMOUNT, order.order_id, False)
    assert (one.expected, one.found) == ("1999 USD", "1998 USD captured")


async def test_charge_nobody_knows_of_goes_back(shop: Shop) -> None:
    """A restore from a backup has forgotten the order (C47); the gateway's book has not."""
    charge = Charge(
        key=uuid.uuid4().hex * 2,
        sale_id=shop.sale_id,
        order_id=str(uuid.uuid4()),
        amount_cents=1999,
        currency="USD",
        payment_method="pm_ok",
    )
    await shop.gateway.authorize(charge)
    await shop.gateway.capture(charge, "somebody")
    only = msgspec.structs.replace(charge, key=uuid.uuid4().hex * 2)
    await shop.gateway.authorize(only)

    found = await reconcile(shop)

    kinds = {one.kind: one.repaired for one in found.breaks}
    assert kinds == {BreakKind.UNKNOWN_MONEY: True, BreakKind.UNKNOWN_AUTHORIZATION: True}
    assert found.verdict is Verdict.IN_BALANCE
    assert (await reconcile(shop)).breaks == ()


async def test_other_sales_are_left_alone(shop: Shop) -> None:
    await paid(shop)
    first = shop.sale_id
    await shop.open()
    await paid(shop)

    found = await reconcile(shop)

    assert (found.sale_id, found.charges, found.paid_orders) == (shop.sale_id, 1, 1)
    assert first != shop.sale_id
    shop.sale_id = first
    assert (await reconcile(shop)).charges == 1


async def test_latest_is_kept(shop: Shop) -> None:
    none = await shop.reconciler().latest(shop.sale_id)
    assert isinstance(none, Refusal)
    await paid(shop)

    found = await reconcile(shop)

    assert await shop.reconciler().latest(shop.sale_id) == found
