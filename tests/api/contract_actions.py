"""How the route of what was done answers: cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}
PATHS: dict[str, tuple[str, str, object]] = {"list-actions": ("GET", "/v1/admin/sales/{sale}/actions", None)}
OPERATOR = " ".join(PATHS)
NO_SALE = OPERATOR
WITH_BODY = ""


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


@case("list-actions", "200")
async def _(gate: Gate) -> Answer:
    for verb in ("pause", "resume", "resume"):
        await gate.admin("POST", f"/sales/{gate.sale_id}/{verb}", {"reason": f"to {verb}"}, operator="ann")
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/actions?limit=2")
    newest, before = answer.json["actions"]
    assert (newest["action"], newest["by"], newest["reason"]) == ("move", "operator:ann", "to resume")
    assert (before["reason"], before["detail"]["to"], before["at"]) == ("to pause", "PAUSED", newest["at"])
    rest = await gate.admin("GET", f"/sales/{gate.sale_id}/actions?cursor={answer.json['next_cursor']}")
    assert rest.json["actions"][-1]["action"] == "create"
    assert rest.json["next_cursor"] is None
    return answer


@case("list-actions", "invalid-request")
async def _(gate: Gate) -> Answer:
    for cursor in ("x", "-1", "9" * 19, "", "\u0665"):
        answer = await gate.admin("GET", f"/sales/{gate.sale_id}/actions?cursor={cursor}")
        assert answer.json["code"] == "invalid-request", cursor
    return answer


@case("stop-rehearsal", "invalid-request")
async def _(gate: Gate) -> Answer:
    return await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal?why=so")
