"""The points of a payment at which a process can die, and payments that were interrupted there."""

import pytest

from doorbuster.domain.transitions import PaymentState
from payments.shop import Cut, KilledError, Shop

# name: (store cut, gateway cut, the state that is stored when the process is dead)
CUTS: dict[str, tuple[dict[str, str], dict[str, str], PaymentState]] = {
    "C32 intent stored": ({"after": "begin"}, {}, PaymentState.INTENT),
    "C32 before it is sent": ({"before": "send"}, {}, PaymentState.INTENT),
    "C33 sent, call never made": ({"after": "send"}, {}, PaymentState.SENT),
    "C33 before the call": ({}, {"before": "authorize"}, PaymentState.SENT),
    "C34 authorized, reply lost": ({}, {"after": "authorize"}, PaymentState.SENT),
    "C35 before the order is confirmed": ({"before": "confirm"}, {}, PaymentState.SENT),
    "C36 confirmed": ({"after": "confirm"}, {}, PaymentState.CAPTURING),
    "C36 before the capture": ({}, {"before": "capture"}, PaymentState.CAPTURING),
    "C37 captured, reply lost": ({}, {"after": "capture"}, PaymentState.CAPTURING),
    "C38 before the order is paid": ({"before": "captured"}, {}, PaymentState.CAPTURING),
    "C38 paid, answer lost": ({"after": "captured"}, {}, PaymentState.CAPTURED),
}


async def interrupted(shop: Shop, cut: str, method: str = "pm_ok") -> tuple[str, str]:
    """A buyer's payment whose process died at the cut; returns the order and the buyer."""
    in_store, in_gateway, stored = CUTS[cut]
    order = await shop.order()
    gate = shop.gate(store=Cut(shop.stores.payments, **in_store), gateway=Cut(shop.gateway, **in_gateway))
    with pytest.raises(KilledError):
        await gate.pay(order.order_id, order.user_id, payment_method=method, key="k")
    assert await shop.states(order) == [stored]
    return order.order_id, order.user_id
