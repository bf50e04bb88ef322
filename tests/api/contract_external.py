"""How the routes of an existing shop answer: the cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}
PAID = {"reference": "invoice 1"}
PATHS: dict[str, tuple[str, str, object]] = {
    "paid-order": ("POST", "/v1/admin/orders/{order}/paid", PAID),
    "list-reports": ("GET", "/v1/admin/sales/{sale}/reports", None),
    "list-keys": ("GET", "/v1/admin/keys", None),
    "rotate-keys": ("POST", "/v1/admin/keys/rotate", {}),
}
"""How each route is called."""


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


async def _order(gate: Gate) -> str:
    """An order of a sale that the shop charges for."""
    gate.sale_id = (await gate.create(payment_mode="external")).json["sale_id"]
    order: str = (await gate.order()).json["order_id"]
    return order


@case("pass-keys", "200")
async def _(gate: Gate) -> Answer:
    return await gate.call("GET", "/.well-known/jwks.json")


@case("paid-order", "200")
async def _(gate: Gate) -> Answer:
    return await gate.admin("POST", f"/orders/{await _order(gate)}/paid", PAID)


@case("paid-order", "conflict")
async def _(gate: Gate) -> Answer:
    order = await _order(gate)
    await gate.admin("POST", f"/orders/{order}/paid", PAID)
    return await gate.admin("POST", f"/orders/{order}/paid", {"reference": "invoice 2"})


@case("paid-order", "order-closed")
async def _(gate: Gate) -> Answer:
    order = await _order(gate)
    await gate.admin("POST", f"/orders/{order}/cancelled")
    return await gate.admin("POST", f"/orders/{order}/paid", PAID)


@case("list-reports", "200")
async def _(gate: Gate) -> Answer:
    order = await _order(gate)
    await gate.admin("POST", f"/orders/{order}/cancelled")
    await gate.admin("POST", f"/orders/{order}/paid", PAID)
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/reports")
    assert [row["answer"] for row in answer.json["reports"]] == ["order-closed"]
    return answer


@case("list-keys", "200")
async def _(gate: Gate) -> Answer:
    return await gate.admin("GET", "/keys")


@case("rotate-keys", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.admin("POST", "/keys/rotate", {"reason": "once a quarter"})
    assert [key["state"] for key in answer.json["keys"]] == ["next", "signing"]
    return answer
