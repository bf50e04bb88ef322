"""How the routes of a rehearsal answer: cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate
from doorbuster.domain.rehearsal import Check, Sheet, Verdict

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}
PATHS: dict[str, tuple[str, str, object]] = {
    "rehearse": ("POST", "/v1/admin/sales/{sale}/rehearsal", {"force": True}),
    "see-rehearsal": ("GET", "/v1/admin/sales/{sale}/rehearsal", None),
    "stop-rehearsal": ("DELETE", "/v1/admin/sales/{sale}/rehearsal", None),
}
OPERATOR = " ".join(PATHS)
NO_SALE = OPERATOR
WITH_BODY = "rehearse"


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


async def asked(gate: Gate) -> Answer:
    body = {"multiple": 2, "seconds": 10, "force": True, "reason": "before the big day"}
    return await gate.admin("POST", f"/sales/{gate.sale_id}/rehearsal", body)


@case("rehearse", "202")
async def _(gate: Gate) -> Answer:
    answer = await asked(gate)
    assert (answer.json["state"], answer.json["verdict"]) == ("asked", None)
    assert (answer.json["multiple"], answer.json["forced"], answer.json["reason"]) == (2, True, "before the big day")
    return answer


@case("rehearse", "conflict")
async def _(gate: Gate) -> Answer:
    """The sale of the gate is on: only who forces it rehearses, and only once at a time."""
    unforced = await gate.admin("POST", f"/sales/{gate.sale_id}/rehearsal")
    assert (unforced.status, unforced.json["code"]) == (409, "conflict")
    await asked(gate)
    return await asked(gate)


@case("see-rehearsal", "200")
async def _(gate: Gate) -> Answer:
    await asked(gate)
    check = Check(name="speed", held=False, words="p99 was 9,000 ms")
    gate.shop.rehearsals.end(
        Sheet(verdict=Verdict.NO_GO, reasons=[check.words], checks=[check], differs=["it costs nothing"], figures={})
    )
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/rehearsal")
    assert (answer.json["state"], answer.json["verdict"]) == ("done", "no-go")
    assert answer.json["reasons"] == ["p99 was 9,000 ms"]
    return answer


@case("stop-rehearsal", "200")
async def _(gate: Gate) -> Answer:
    started = await asked(gate)
    answer = await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal")
    assert gate.shop.rehearsals.unwanted == {started.json["rehearsal_id"]}
    gate.shop.rehearsals.end(None, "an operator stopped it")
    stopped = await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal")
    assert (stopped.json["state"], stopped.json["reasons"]) == ("stopped", ["an operator stopped it"])
    return answer
