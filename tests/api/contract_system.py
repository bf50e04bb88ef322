"""How the routes about the gate itself and its tools answer: cases that `test_contract.py` holds against the table."""

from collections.abc import Awaitable, Callable

from pydantic import SecretStr

from api.gate import Answer, Gate

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


@case("gateway-book", "not-found")
async def _(gate: Gate) -> Answer:
    return await gate.admin("GET", "/gateways/other/book")


@case("dev-buyer", "not-found")
async def _(gate: Gate) -> Answer:
    del gate
    strict = Gate(dev_identities=False)
    return await strict.call("POST", "/v1/dev/buyers", {"user_id": "ann"})


@case("dev-buyer", "unauthenticated")
async def _(gate: Gate) -> Answer:
    del gate
    return await Gate(buyer_secret=SecretStr("")).call("POST", "/v1/dev/buyers", {"user_id": "ann"})


@case("ready", "503")
async def _(gate: Gate) -> Answer:
    gate.problems.append("the ledger does not answer")
    return await gate.call("GET", "/readyz")
