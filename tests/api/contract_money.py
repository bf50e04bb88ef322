"""How the routes of money answer: the cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate

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
