"""One day of a sale with its real steps: from the plan to the final report, minute by minute in virtual time."""

from conformance.ledger_bench import ACTOR, HOUR, MINUTE
from day.closing import Closing, a_closing
from doorbuster.domain.notices import Channel, NoticeKind
from doorbuster.domain.plan import Plan
from doorbuster.domain.timeline import STEPS, StepName, StepState
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.monitoring import Traffic


async def status(closing: Closing) -> SaleStatus:
    return (await closing.sale()).status


async def told(closing: Closing, kind: NoticeKind) -> int:
    return sum((await closing.shop.waitlist.progress(closing.sale_id, kind, Channel.MAIL)).values())


async def morning(closing: Closing) -> None:
    """Planned a day ahead, for a crowd of a hundred; four wait for it."""
    await closing.shop.timeline.set_plan(closing.sale_id, Plan(expected_crowd=100), ACTOR)
    await closing.waits("ann", "bob", "eve", "zoe")
    await closing.pass_time(23 * HOUR - MINUTE)
    assert {row.state for row in (await closing.rows()).values()} == {StepState.DUE}
    await closing.pass_time(HOUR)
    assert (await closing.row(StepName.WARM_UP)).detail["free"] == 2
    assert (await closing.row(StepName.SCALE_CHECK)).detail["ready"] == 1
    assert (await told(closing, NoticeKind.HOUR), await told(closing, NoticeKind.MINUTES)) == (4, 4)
    assert (await closing.gate.order("ann", sale=closing.sale_id)).code == "not-started"
    await closing.pass_time()


async def sale(closing: Closing) -> None:
    """Sold out, and on sale again, twice."""
    returned = await closing.buy("ann")
    await closing.reserve("bob")
    assert await status(closing) is SaleStatus.SOLD_OUT
    assert (await closing.gate.order("eve", sale=closing.sale_id)).code == "all-held"
    await closing.shop.monitor.add_traffic(Traffic(codes={"ok": 2, "all-held": 1, "not-started": 1}, took={4: 4}))
    await closing.pass_time(10 * MINUTE)
    assert await status(closing) is SaleStatus.ACTIVE  # bob's hold ran out
    await closing.buy("eve")
    assert await status(closing) is SaleStatus.SOLD_OUT
    assert (await closing.gate.admin("POST", f"/orders/{returned}/refund", {"reason": "a mistake"})).status == 200
    await closing.pass_time()
    assert await status(closing) is SaleStatus.ACTIVE
    await closing.buy("carl")
    assert await status(closing) is SaleStatus.SOLD_OUT
    await closing.gate.board.refresh()
    assert (await closing.gate.order("zoe", sale=closing.sale_id)).code == "sold-out"


async def test_whole_day_with_its_real_steps() -> None:
    tomorrow = {"start_time": "2027-01-16T08:00:00Z", "end_time": "2027-01-16T09:00:00Z"}
    async with a_closing(quantity_available=2, **tomorrow) as closing:
        start_ms = closing.gate.clock.now_ms() + 24 * HOUR
        await morning(closing)
        assert await status(closing) is SaleStatus.ACTIVE
        await sale(closing)
        await closing.pass_time(49 * MINUTE)
        assert await status(closing) is SaleStatus.ENDED
        assert (await closing.row(StepName.SETTLE)).state is StepState.DONE
        assert (await told(closing, NoticeKind.WON), await told(closing, NoticeKind.LOST)) == (1, 3)
        assert (await closing.row(StepName.FINAL_AUDIT)).state is StepState.DUE
        assert not (await closing.report())["final"]
        await closing.pass_time(10 * MINUTE)

        rows = await closing.rows()
        assert {row.state for row in rows.values()} == {StepState.DONE}
        assert {row.attempts for row in rows.values()} == {1}
        took_place = [((rows[step].started_ms or 0) - start_ms) // MINUTE for step in STEPS]
        assert took_place == [-60, -60, -60, -60, -30, -5, -5, -2, 0, 60, 60, 70, 70]
        assert not closing.desk.bell.rung
        await the_final_report(closing)


async def the_final_report(closing: Closing) -> None:
    report = await closing.report()
    assert (report["final"], report["audit"], report["status"]) == (True, "in_step", "ENDED")
    assert (report["availability"]["free"], report["availability"]["held"], report["availability"]["sold"]) == (0, 0, 2)
    orders = report["orders"]
    assert (orders["made"], orders["paid"], orders["refunded"], orders["lapsed"], orders["reserved"]) == (4, 3, 1, 1, 0)
    assert report["money"] == {"currency": "EUR", "revenue_cents": 2000, "refunded_cents": 1000}
    pace = report["pace"]
    assert (pace["all_held_ms"], pace["sold_out_ms"], pace["units_returned"]) == (0, 11 * MINUTE, 2)
    assert (report["fairness"]["buyers"], report["fairness"]["most_units_of_one_buyer"]) == (4, 1)
    assert report["traffic"]["answers"] == {"ok": 2, "all-held": 1, "not-started": 1}
    assert [step["step"] for step in report["timeline"]] == list(STEPS)[:-1]
    await closing.pass_time(HOUR)
    assert await closing.report() == report
