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
    await gate.admin("PUT", f"/sales/{gate.sale_id}/plan", {"rehearsal_multiple": 3.5})
    await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal")
    planned = await gate.admin("POST", f"/sales/{gate.sale_id}/rehearsal", {"force": True})
    assert planned.json["multiple"] == 3.5
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
    """What was found out is shown when nothing is left of it."""
    found = await asked(gate)
    check = Check(name="speed", held=False, words="p99 was 9,000 ms")
    sheet = Sheet(
        verdict=Verdict.NO_GO, reasons=[check.words], checks=[check], differs=["it costs nothing"], figures={}
    )
    await gate.shop.rehearsals.claim("lease")
    await gate.shop.rehearsals.note(found.json["rehearsal_id"], "lease", "", sheet)
    early = await gate.admin("GET", f"/sales/{gate.sale_id}/rehearsal")
    assert (early.json["state"], early.json["verdict"], early.json["reasons"]) == ("running", None, [])
    gate.shop.rehearsals.end(sheet)
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/rehearsal")
    assert (answer.json["state"], answer.json["verdict"]) == ("done", "no-go")
    assert answer.json["reasons"] == ["p99 was 9,000 ms"]
    return answer


@case("stop-rehearsal", "200")
async def _(gate: Gate) -> Answer:
    """Nobody has begun it: it is over at once, and the next can be asked for."""
    await asked(gate)
    stopped = await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal")
    assert (stopped.json["state"], stopped.json["reasons"]) == ("stopped", ["an operator stopped it"])
    assert (await asked(gate)).status == 202
    claimed = await gate.shop.rehearsals.claim("lease")
    assert claimed is not None
    running = await gate.admin("DELETE", f"/sales/{gate.sale_id}/rehearsal")
    assert running.json["state"] == "running"
    assert await gate.shop.rehearsals.renew(claimed.rehearsal.rehearsal_id, "lease", {}) == "an operator stopped it"
    return running
