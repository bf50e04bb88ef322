"""The last steps of a day, the real ones, as they go wrong: waiting, failing, doubled, half done, late."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, SECOND
from day.closing import LAST, Closing, a_closing
from day.test_running import Day
from doorbuster.domain.notices import Channel, NoticeKind, NoticeState
from doorbuster.domain.plan import Plan
from doorbuster.domain.timeline import LEASE_MS, STEPS, StepName, StepState
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail
from doorbuster.reference.faults import Fault, Faults, faulty


@pytest.fixture
async def closing() -> AsyncIterator[Closing]:
    async with a_closing() as closing:
        yield closing


async def all_done(closing: Closing) -> None:
    rows = await closing.rows()
    assert {step: rows[step].state for step in LAST} == dict.fromkeys(LAST, StepState.DONE)
    report = await closing.report()
    assert (report["final"], report["why_not_final"], report["final_at_earliest"]) == (True, "", None)
    assert report["audit"] == "in_step"


async def reached(day: Day, event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        while not event.is_set():
            await day.runner.run_once()
            await asyncio.sleep(0)


async def mails(closing: Closing, kind: NoticeKind) -> int:
    found = await closing.shop.waitlist.progress(closing.sale_id, kind, Channel.MAIL)
    return found.get(NoticeState.PENDING, 0)


async def test_units_that_are_reserved_at_the_end_are_waited_for(closing: Closing) -> None:
    await closing.waits("eve")
    await closing.pass_time(59 * MINUTE)
    await closing.buy("ann")
    await closing.reserve("bob")
    await closing.pass_time(2 * MINUTE)

    row = await closing.row(StepName.SETTLE)
    assert (row.state, row.words, row.attempts) == (StepState.DUE, "1 units are reserved and not paid", 0)
    assert (await closing.row(StepName.END)).detail["held"] == 1
    assert await mails(closing, NoticeKind.LOST) == 0
    report = await closing.report()
    assert (report["final"], report["orders"]["reserved"]) == (False, 1)
    assert report["why_not_final"] == "the last audit is not done: it waits for the last hold"
    assert report["final_at_earliest"] == report["timeline"][-1]["due_at"]

    await closing.pass_time(10 * MINUTE)

    await all_done(closing)
    report = await closing.report()
    assert (report["orders"]["reserved"], report["orders"]["lapsed"], report["orders"]["paid"]) == (0, 1, 1)
    assert await mails(closing, NoticeKind.LOST) == 1
    sale = await closing.sale()
    assert (sale.status, sale.quantity_sold, sale.quantity_paid) == (SaleStatus.ENDED, 1, 1)


async def test_books_that_contradict_themselves_are_a_failed_step_and_no_final_report(closing: Closing) -> None:
    await closing.buy("ann")
    closing.shop.ledger.allowances[closing.sale_id]["ann"] += 1
    await closing.verb("end")
    await closing.pass_time(10 * MINUTE)

    audit = await closing.row(StepName.FINAL_AUDIT)
    assert (audit.state, audit.attempts) == (StepState.FAILED, 1)
    assert audit.words.startswith("the audit says drifted: I6 ")
    assert audit.detail["verdict"] == "drifted"
    waiting = await closing.row(StepName.REPORT)
    assert (waiting.state, waiting.words) == (StepState.DUE, "the last audit is not done")
    report = await closing.report()
    assert (report["final"], report["audit"]) == (False, "drifted")
    assert report["why_not_final"] == f"the last audit is not done: {audit.words}"

    await closing.run_step(StepName.REPORT)  # by hand it waits as well: else it would never be final
    await closing.pass_time(of=SECOND)
    assert (await closing.row(StepName.REPORT)).state is StepState.DUE
    await closing.pass_time(2 * HOUR)

    audit = await closing.row(StepName.FINAL_AUDIT)
    assert (audit.state, audit.attempts, audit.next_ms) == (StepState.FAILED, STEPS[StepName.FINAL_AUDIT].tries, None)
    row = await closing.row(StepName.REPORT)
    assert (row.state, row.detail["audit"]) == (StepState.DONE, "not in step")
    report = await closing.report()
    assert (report["final"], report["final_at_earliest"]) == (False, None)
    assert report["why_not_final"].startswith("the last audit was given up (the audit says drifted: I6 ")

    closing.shop.ledger.allowances[closing.sale_id]["ann"] -= 1
    await closing.run_step(StepName.FINAL_AUDIT)
    await closing.pass_time()
    report = await closing.report()
    assert (report["final"], report["audit"]) == (False, "in_step")
    assert report["why_not_final"] == "the last audit was done after the report; run the step report again"
    await closing.run_step(StepName.REPORT)
    await closing.pass_time()
    await all_done(closing)


async def test_last_audit_that_is_left_out_makes_no_report_final(closing: Closing) -> None:
    await closing.shop.timeline.skip(closing.sale_id, StepName.FINAL_AUDIT, ACTOR)
    await closing.verb("end")
    await closing.pass_time(11 * MINUTE)

    report = await closing.report()

    assert (await closing.row(StepName.REPORT)).state is StepState.DONE
    assert (report["final"], report["final_at_earliest"]) == (False, None)
    assert report["why_not_final"].startswith("the last audit was left out (skipped by tester: a test)")


async def test_stock_counter_in_doubt_is_written_anew_by_the_last_audit(closing: Closing) -> None:
    """Nobody else looks at the image of a sale whose units are all settled: a failover to an older copy, say."""
    await closing.buy("ann")
    await closing.verb("end")
    await closing.pass_time()
    closing.shop.stock.image(closing.sale_id).holds.clear()
    await closing.pass_time(9 * MINUTE)

    row = await closing.row(StepName.FINAL_AUDIT)
    assert (row.state, row.attempts) == (StepState.FAILED, 1)
    assert "every live order has its hold" in row.words

    await closing.pass_time(10 * SECOND, of=SECOND)

    await all_done(closing)


async def test_refund_that_is_stuck_keeps_the_report_from_being_final(closing: Closing) -> None:
    """Who bought is told of the abort at once; the units are back, and the money is not."""
    await closing.waits("ann", "eve")
    await closing.buy("ann")
    closing.faults.not_executed = 1.0
    await closing.verb("abort")
    await closing.pass_time(HOUR)

    assert await mails(closing, NoticeKind.ABORTED) == 2
    audit = await closing.row(StepName.FINAL_AUDIT)
    assert (audit.state, audit.detail["verdict"]) == (StepState.FAILED, "in_step")
    assert audit.words == "the gateway's book and the payments: unknown; reconcile says more"
    assert not (await closing.report())["final"]

    closing.faults.not_executed = 0.0
    closing.faults.script("refund", *[Fault.NOT_EXECUTED] * 5)  # it shows its book, and gives nothing back
    await closing.pass_time(5 * MINUTE)

    audit = await closing.row(StepName.FINAL_AUDIT)
    assert (audit.state, audit.words) == (StepState.DUE, "1 payments or refunds are under way")
    assert (await closing.row(StepName.REPORT)).state is StepState.DUE
    report = await closing.report()
    assert report["why_not_final"] == "the last audit is not done: 1 payments or refunds are under way"

    await closing.pass_time(2 * MINUTE)

    await all_done(closing)
    report = await closing.report()
    assert report["money"] == {"currency": "EUR", "revenue_cents": 0, "refunded_cents": 1000}
    assert closing.gate.gateway.charges
    assert sum(charge.captured_cents for charge in closing.gate.gateway.charges.values()) == 0


async def test_end_that_fails_holds_up_nobody(closing: Closing) -> None:
    """Gates that nobody takes back are dear; the rest of the day goes on."""
    await closing.shop.timeline.set_plan(closing.sale_id, Plan(expected_crowd=100), ACTOR)
    closing.scaler.refuses = True
    await closing.verb("end")
    await closing.pass_time()

    row = await closing.row(StepName.END)
    assert (row.state, row.words) == (StepState.FAILED, "no machine is free")
    assert (await closing.row(StepName.SETTLE)).state is StepState.DONE
    await closing.pass_time(10 * MINUTE)
    assert (await closing.report())["final"]

    closing.scaler.refuses = False
    await closing.pass_time()
    await all_done(closing)


async def test_two_workers_do_the_last_steps_once(closing: Closing) -> None:
    await closing.waits("eve")
    await closing.buy("ann")
    await closing.verb("end")
    first, second, closing.day = closing.worker(seed=2), closing.worker(seed=3), None
    for _ in range(15):
        await closing.pass_time()
        await asyncio.gather(first.run(), second.run(), first.run(), second.run())

    await all_done(closing)
    assert sorted(step for step in first.done + second.done if step in LAST) == sorted(LAST)
    assert {row.attempts for step, row in (await closing.rows()).items() if step in LAST} == {1}
    assert await mails(closing, NoticeKind.LOST) == 1


@pytest.mark.parametrize("step", LAST)
async def test_step_done_by_a_worker_that_died_before_it_could_say_so(closing: Closing, step: StepName) -> None:
    """All of it was done; another does it again, and nothing of it twice."""
    await closing.waits("ann", "eve")
    await closing.buy("ann")
    await closing.verb("end")
    died, closing.day = asyncio.Event(), None

    async def die(asked: Asked) -> Detail:
        await closing.steps()[step](asked)
        died.set()
        await asyncio.Event().wait()
        raise AssertionError

    dying, alive = closing.worker({step: die}), closing.worker(seed=2)
    await closing.pass_time(10 * MINUTE)
    await reached(dying, died)
    kept = await closing.shop.timeline.report(closing.sale_id)
    closing.gate.clock.advance_ms(LEASE_MS)
    await alive.run()

    await all_done(closing)
    assert (await closing.row(step)).attempts == 2
    assert (await mails(closing, NoticeKind.WON), await mails(closing, NoticeKind.LOST)) == (1, 1)
    if step is StepName.REPORT:
        assert kept is not None
        assert await closing.shop.timeline.report(closing.sale_id) == kept
    await dying.runner.stop()


async def test_worker_that_was_slow_does_not_replace_the_final_report(closing: Closing) -> None:
    order_id = await closing.buy("ann")
    await closing.verb("end")
    await closing.pass_time(9 * MINUTE)
    go_on, begun = asyncio.Event(), asyncio.Event()
    real = closing.steps()[StepName.REPORT]

    async def slow(asked: Asked) -> Detail:
        begun.set()
        await go_on.wait()
        return await real(asked)

    closing.day = slow_one = closing.worker({StepName.REPORT: slow})
    closing.gate.clock.advance_ms(MINUTE)
    await reached(slow_one, begun)
    closing.day = closing.worker(seed=2)
    await closing.pass_time()
    await all_done(closing)
    kept = await closing.shop.timeline.report(closing.sale_id)

    go_on.set()
    await slow_one.runner.drain()

    assert await closing.shop.timeline.report(closing.sale_id) == kept
    assert (await closing.gate.admin("POST", f"/orders/{order_id}/refund", {"reason": "goodwill"})).status == 200
    await closing.run_step(StepName.REPORT)
    await closing.pass_time()
    await all_done(closing)
    assert await closing.shop.timeline.report(closing.sale_id) == kept
    assert (await closing.row(StepName.REPORT)).detail["revenue_cents"] == 1000  # as it was, and as it is kept


async def test_last_steps_of_a_worker_that_was_down_come_in_order(closing: Closing) -> None:
    day, closing.day = closing.worker(), None
    await closing.buy("ann")
    await closing.reserve("bob")
    await closing.pass_time(24 * HOUR, of=HOUR)
    closing.day = day

    await closing.pass_time(SECOND)

    await all_done(closing)
    assert [step for step in day.done if step in LAST] == list(LAST)
    assert (await closing.row(StepName.END)).detail == {"status": "ENDED", "paid": 1, "held": 0, "free": 2}
    report = await closing.report()
    assert (report["orders"]["paid"], report["orders"]["lapsed"]) == (1, 1)


async def test_start_that_was_seen_late_says_how_late() -> None:
    async with a_closing(start_time="2027-01-15T09:00:00Z", end_time="2027-01-15T12:00:00Z") as closing:
        day, closing.day = closing.day, None
        assert (await closing.sale()).status is SaleStatus.SCHEDULED
        await closing.pass_time(HOUR + 7 * SECOND, of=HOUR)
        closing.day = day
        await closing.pass_time(SECOND)

        row = await closing.row(StepName.START)

        assert row.state is StepState.DONE
        assert row.detail == {"status": "ACTIVE", "noticed_after_ms": 8 * SECOND}


@pytest.mark.parametrize(
    ("step", "method"),
    [
        (StepName.SETTLE, "live"),
        (StepName.FINAL_AUDIT, "live"),
        (StepName.REPORT, "steps"),
        (StepName.REPORT, "keep_report"),
    ],
)
@pytest.mark.parametrize("fault", [Fault.NOT_EXECUTED, Fault.REPLY_LOST])
async def test_store_that_is_away_fails_a_step_and_the_next_attempt_does_it(
    closing: Closing, step: StepName, method: str, fault: Fault
) -> None:
    await closing.buy("ann")
    await closing.verb("end")
    faults = Faults()
    wired = closing.steps(sales=faulty(closing.shop.sales, faults), timeline=faulty(closing.shop.timeline, faults))
    closing.day = closing.worker({step: wired[step]})
    faults.script(method, fault)
    seen = set[str]()
    for _ in range(700):
        await closing.pass_time(SECOND, of=SECOND)
        seen.add((await closing.row(step)).words)

    await all_done(closing)
    assert (await closing.row(step)).attempts == 2
    assert any(words.startswith("a store does not answer: ") for words in seen)
