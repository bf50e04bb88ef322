"""How the routes of money answer: the cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate
from doorbuster.engine.payment_ports import News

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


async def _order(gate: Gate, *, pay: bool) -> str:
    order: str = (await gate.order()).json["order_id"]
    if pay:
        assert (await gate.pay(order)).status == 200
    return order


@case("refund-order", "200")
async def _(gate: Gate) -> Answer:
    return await gate.admin("POST", f"/orders/{await _order(gate, pay=True)}/refund", {"reason": "promised"})


@case("refund-order", "conflict")
async def _(gate: Gate) -> Answer:
    return await gate.admin("POST", f"/orders/{await _order(gate, pay=False)}/refund")


@case("reconcile-sale", "200")
async def _(gate: Gate) -> Answer:
    await _order(gate, pay=True)
    return await gate.admin("POST", f"/sales/{gate.sale_id}/reconcile")


@case("latest-reconciliation", "200")
async def _(gate: Gate) -> Answer:
    await gate.admin("POST", f"/sales/{gate.sale_id}/reconcile")
    return await gate.admin("GET", f"/sales/{gate.sale_id}/reconciliation")


@case("store-method", "200")
async def _(gate: Gate) -> Answer:
    return await gate.call("PUT", "/v1/payment-method", {"payment_method": "pm_ok"}, token=gate.token())


@case("forget-method", "200")
async def _(gate: Gate) -> Answer:
    return await gate.call("DELETE", "/v1/payment-method", token=gate.token())


# ---------------------------------------------------------------------------------------- the gateway's news

NEWS = News(event_id="evt_1", kind="captured", key="nobody's")


async def _deliver(gate: Gate, *, gateway: str = "simulated", forged: bool = False) -> Answer:
    headers, body = gate.gateway.tell(NEWS)
    if forged:
        headers = {"signature": "forged"}
    return await gate.call("POST", f"/v1/webhooks/payments/{gateway}", raw=body, headers=headers)


@case("hear-gateway", "200")
async def _(gate: Gate) -> Answer:
    return await _deliver(gate)


@case("hear-gateway", "not-found")
async def _(gate: Gate) -> Answer:
    return await _deliver(gate, gateway="other")


@case("hear-gateway", "unauthenticated")
async def _(gate: Gate) -> Answer:
    return await _deliver(gate, forged=True)


@case("hear-gateway", "invalid-request")
async def _(gate: Gate) -> Answer:
    from doorbuster.api.http import Request

    request = Request("POST", "/v1/webhooks/payments/simulated", b"", [], b"")
    request.body_too_large = True
    return Answer(await gate.api.dispatch.answer(request))


@case("hear-gateway", "unavailable")
async def _(gate: Gate) -> Answer:
    gate.cut_off()
    return await _deliver(gate)
