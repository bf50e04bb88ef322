"""What a sale's report has beside the ledger's figures."""

from typing import Any

from api.gate import Gate
from doorbuster.api.shapes import stamp
from doorbuster.domain.alerts import Alert
from doorbuster.engine.monitoring import Sample, Traffic


async def test_report_has_what_the_gates_answered_and_what_alarmed(gate: Gate) -> None:
    await gate.shop.monitor.add_traffic(Traffic(codes={"ok": 3, "sold-out": 97}, took={4: 99, 10: 1}))
    now = gate.clock.now_ms()
    alert = Alert(rule="error-rate", value=0.5, worst=0.6, opened_ms=now, fired_ms=now)
    await gate.shop.monitor.note_alerts(gate.sale_id, [alert])
    gate.clock.advance_ms(20_000)

    report = (await gate.admin("GET", f"/sales/{gate.sale_id}/report")).json

    assert report["traffic"]["answers"] == {"ok": 3, "sold-out": 97}
    assert report["traffic"]["p50_ms"] == 2**4 * 0.064
    assert [one["rule"] for one in report["alerts"]] == ["error-rate"]
    assert (report["final"], report["orders"]["made"]) == (False, 0)


async def report_of(gate: Gate, sale_id: str) -> Any:
    return (await gate.admin("GET", f"/sales/{sale_id}/report")).json["orders"]


async def test_report_has_those_who_joined_the_line(gate: Gate) -> None:
    """Those who left, and those who came twice, once; also when the line itself is not there any more."""
    sale_id = await gate.line(quantity_available=1)
    for user in ("ann", "bob", "eve", "ann"):
        assert (await gate.join(sale_id, user)).status in (200, 202)
    await gate.leave(sale_id, "bob")
    assert await gate.admit(sale_id) == 1

    found = await report_of(gate, sale_id)
    assert (found["joined"], found["made"]) == (3, 1)

    seen = Sample(at_ms=gate.clock.now_ms(), status="ACTIVE", free=0, held=1, sold=0, log_size=1, joined=3)
    await gate.shop.stock.drop_image(sale_id)
    assert (await report_of(gate, sale_id))["joined"] is None
    await gate.shop.monitor.keep(sale_id, seen)
    assert (await report_of(gate, sale_id))["joined"] == 3


async def test_race_has_no_line_to_join(gate: Gate) -> None:
    assert (await report_of(gate, gate.sale_id))["joined"] is None


async def test_traffic_ends_with_the_sale_that_was_ended_early(gate: Gate) -> None:
    """What gates answer afterwards is not the sale's, though it should have gone on for most of an hour."""
    await gate.shop.monitor.add_traffic(Traffic(codes={"ok": 3}, took={4: 3}))
    gate.clock.advance_ms(60_000)
    await gate.admin("POST", f"/sales/{gate.sale_id}/end", {"reason": "a test"})
    gate.clock.advance_ms(60_000)
    await gate.shop.monitor.add_traffic(Traffic(codes={"ended": 900}, took={12: 900}))
    gate.clock.advance_ms(60_000)

    traffic = (await gate.admin("GET", f"/sales/{gate.sale_id}/report")).json["traffic"]

    assert traffic == {"answers": {"ok": 3}, "p50_ms": 2**4 * 0.064, "p99_ms": 2**4 * 0.064}


async def test_report_of_a_sale_that_is_on_says_when_it_will_be_final(gate: Gate) -> None:
    report = (await gate.admin("GET", f"/sales/{gate.sale_id}/report")).json

    sale = await gate.shop.sales.get(gate.sale_id)
    assert sale is not None
    assert (report["final"], report["why_not_final"]) == (False, "the sale is not over")
    assert report["final_at_earliest"] == stamp(sale.end_ms + sale.checkout_ttl_seconds * 1_000)


async def test_cancelled_orders_are_told_apart(gate: Gate) -> None:
    sale_id = (await gate.create(payment_attempts=1)).json["sale_id"]
    ann = (await gate.order("ann", sale=sale_id)).json["order_id"]
    assert (await gate.pay(ann, "ann", method="pm_declined")).status == 402
    bob = (await gate.order("bob", sale=sale_id)).json["order_id"]
    assert (await gate.call("DELETE", f"/v1/orders/{bob}", token=gate.token("bob"))).status == 200
    await gate.order("eve", sale=sale_id)
    await gate.admin("POST", f"/sales/{sale_id}/abort", {"reason": "a test"})

    orders = await report_of(gate, sale_id)

    causes = {"declined": 1, "payment_failed": 0, "given_back": 1, "aborted": 1, "by_shop": 0}
    assert (orders["cancelled"], orders["cancelled_by_cause"]) == (3, causes)
