"""What a sale's report has beside the ledger's figures."""

from api.gate import Gate
from doorbuster.domain.alerts import Alert
from doorbuster.engine.monitoring import Traffic


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
