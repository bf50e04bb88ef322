"""How the routes of a sale's day answer: cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate
from doorbuster.domain.alerts import Alert
from doorbuster.engine.monitoring import Sample
from doorbuster.engine.scaling import GateBeat

Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}
PATHS: dict[str, tuple[str, str, object]] = {
    "sale-timeline": ("GET", "/v1/admin/sales/{sale}/timeline", None),
    "run-step": ("POST", "/v1/admin/sales/{sale}/timeline/warm-up/run", {}),
    "skip-step": ("POST", "/v1/admin/sales/{sale}/timeline/warm-up/skip", {"reason": "none is needed"}),
    "sale-plan": ("GET", "/v1/admin/sales/{sale}/plan", None),
    "list-samples": ("GET", "/v1/admin/sales/{sale}/samples", None),
    "list-alerts": ("GET", "/v1/admin/sales/{sale}/alerts", None),
    "list-gates": ("GET", "/v1/admin/gates", None),
    "set-plan": ("PUT", "/v1/admin/sales/{sale}/plan", {"expected_crowd": 10}),
}
STEPS = (
    "warm-up notify-1h scale-up cdn-prewarm rehearsal waitlist-open notify-5m scale-check start end settle final-audit "
    "report"
).split()
OPERATOR = " ".join(PATHS)
NO_SALE = "list-samples list-alerts sale-timeline skip-step sale-plan set-plan"
WITH_BODY = "run-step skip-step set-plan"
PLAN = {"expected_crowd": 500, "pages": ["/sale"], "reason": "announced"}


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


@case("sale-timeline", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/timeline")
    assert [step["step"] for step in answer.json["steps"]] == STEPS
    for step in answer.json["steps"]:
        assert {"step", "due_at", "state", "attempts", "started_at", "finished_at", "detail"} <= step.keys()
        assert (step["attempts"], step["started_at"], step["detail"]) == (0, None, {})
        assert step["state"] in ("due", "running", "done", "failed", "skipped")
    return answer


@case("run-step", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.admin("POST", f"/sales/{gate.sale_id}/timeline/rehearsal/run")
    assert answer.json["next"] is not None
    return answer


@case("run-step", "not-found")
async def _(gate: Gate) -> Answer:
    return await gate.admin("POST", f"/sales/{gate.sale_id}/timeline/tea/run")


@case("run-step", "conflict")
async def _(gate: Gate) -> Answer:
    gate.clock.advance_ms(3_600_000)
    [row] = await gate.shop.timeline.claim("lease", limit=1)
    return await gate.admin("POST", f"/sales/{gate.sale_id}/timeline/{row.step.value}/run")


@case("skip-step", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.admin("POST", f"/sales/{gate.sale_id}/timeline/notify-1h/skip", {"reason": "own mails"})
    assert answer.json["steps"][1]["reason"] == "skipped by operator: own mails"
    return answer


@case("skip-step", "conflict")
async def _(gate: Gate) -> Answer:
    from doorbuster.domain.timeline import StepState
    from doorbuster.engine.timeline_ports import Outcome

    store = gate.shop.timeline
    gate.clock.advance_ms(3_600_000)
    [row] = await store.claim("lease", limit=1)
    assert await store.finish(row, Outcome(state=StepState.DONE))
    return await gate.admin("POST", f"/sales/{gate.sale_id}/timeline/{row.step.value}/skip", {"reason": "too late"})


@case("sale-plan", "200")
async def _(gate: Gate) -> Answer:
    return await gate.admin("GET", f"/sales/{gate.sale_id}/plan")


@case("set-plan", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.admin("PUT", f"/sales/{gate.sale_id}/plan", PLAN)
    assert answer.json["expected_crowd"] == 500
    return answer


@case("list-gates", "200")
async def _(gate: Gate) -> Answer:
    await gate.shop.fleet.beat(GateBeat(gate_id="g", host="h", pid=1, ready=True, clock_offset_ms=600_000))
    answer = await gate.admin("GET", "/gates")
    assert answer.json["ready"] == 1
    return answer


@case("list-samples", "200")
async def _(gate: Gate) -> Answer:
    sample = Sample(at_ms=gate.clock.now_ms(), status="ACTIVE", free=3, held=0, sold=0, log_size=1, p99_ms=2.0)
    await gate.shop.monitor.keep(gate.sale_id, sample)
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/samples")
    assert answer.json["samples"][0]["p99_ms"] == 2.0
    return answer


@case("list-alerts", "200")
async def _(gate: Gate) -> Answer:
    now = gate.clock.now_ms()
    alert = Alert(rule="error-rate", value=0.5, worst=0.6, opened_ms=now, fired_ms=now)
    await gate.shop.monitor.note_alerts(gate.sale_id, [alert])
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/alerts")
    assert (answer.json["firing"], answer.json["alerts"][0]["rule"]) == (1, "error-rate")
    return answer
