"""When the steps of a sale's day are due, and what moving the sale does to them."""

import msgspec

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale, terms_of
from doorbuster.domain.timeline import STEPS, StepName, StepRow, StepState, due_ms, first_plan
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.timeline_ports import Outcome

plans = Suite[LedgerBench]()
DONE = Outcome(state=StepState.DONE, detail={"units": 2})


async def tomorrow(bench: LedgerBench) -> Sale:
    """A sale that starts in a day and lasts an hour."""
    return await bench.sale(start_ms=bench.now_ms() + 24 * HOUR, end_ms=bench.now_ms() + 25 * HOUR)


async def rows(bench: LedgerBench, sale: Sale) -> dict[StepName, StepRow]:
    return {row.step: row for row in await bench.timeline.steps(sale.sale_id)}


async def moved(bench: LedgerBench, sale: Sale, by_ms: int) -> Sale:
    terms = terms_of(sale)
    terms = msgspec.structs.replace(terms, start_ms=terms.start_ms + by_ms, end_ms=terms.end_ms + by_ms)
    changed = await bench.sales.change(sale.sale_id, terms, sale, ACTOR)
    assert isinstance(changed, Sale)
    return changed


async def do_next(bench: LedgerBench, outcome: Outcome = DONE) -> StepRow:
    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=1)
    assert await bench.timeline.finish(row, outcome)
    return row


@plans
async def new_sale_has_its_day(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)

    found = await bench.timeline.steps(sale.sale_id)

    assert list(found) == first_plan(sale)
    assert [row.step for row in found] == list(STEPS)


@plans
async def sale_that_is_not_there_has_no_day(bench: LedgerBench) -> None:
    assert not await bench.timeline.steps(bench.ids.new_id())
    assert not await bench.timeline.steps("no id")
    assert await bench.timeline.run("no id", StepName.WARM_UP, ACTOR) == "not_found"
    assert await bench.timeline.skip(bench.ids.new_id(), StepName.WARM_UP, ACTOR) == "not_found"
    assert not await bench.timeline.set_plan(bench.ids.new_id(), Plan(), ACTOR)
    assert await bench.timeline.plan("no id") == Plan()
    assert await bench.timeline.report("no id") is None


@plans
async def put_off_sale_is_prepared_anew(bench: LedgerBench) -> None:
    """What was done for the old time is due again; nothing of the old day stays."""
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR + SECOND)
    assert (await do_next(bench)).step is StepName.WARM_UP

    later = await moved(bench, sale, 3 * HOUR)

    assert list(await bench.timeline.steps(sale.sale_id)) == first_plan(later)


@plans
async def sale_brought_forward_is_prepared_at_once_and_in_order(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)

    soon = await moved(bench, sale, -24 * HOUR + 10 * MINUTE)

    found = await rows(bench, sale)
    assert [row.due_ms for row in found.values()] == [due_ms(step, soon) for step in STEPS]
    done = [(await do_next(bench)).step for _ in range(5)]
    assert done == list(STEPS)[:5]
    assert not await bench.timeline.claim(bench.ids.new_id(), limit=1)


@plans
async def step_done_is_not_repeated_when_the_start_comes_nearer(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR + 10 * MINUTE)
    assert (await do_next(bench)).step is StepName.WARM_UP

    nearer = await moved(bench, sale, -10 * MINUTE)

    warm_up = (await rows(bench, sale))[StepName.WARM_UP]
    assert (warm_up.state, warm_up.due_ms) == (StepState.DONE, due_ms(StepName.WARM_UP, nearer))


@plans
async def step_under_way_when_its_sale_is_put_off_is_not_listened_to(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    await bench.ledger.advance_ms(23 * HOUR + SECOND)
    [row] = await bench.timeline.claim(bench.ids.new_id(), limit=1)

    later = await moved(bench, sale, 3 * HOUR)

    assert not await bench.timeline.finish(row, DONE)
    assert not await bench.timeline.renew(row)
    assert (await rows(bench, sale))[StepName.WARM_UP] == first_plan(later)[0]


@plans
async def opened_early_sale_is_prepared_at_once(bench: LedgerBench) -> None:
    """`open` moves the start; the steps before it are late, not lost."""
    sale = await tomorrow(bench)

    opened = await bench.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)

    assert isinstance(opened, Sale)
    found = await rows(bench, sale)
    assert {row.due_ms for row in found.values()} == {due_ms(step, opened) for step in STEPS}
    assert found[StepName.START].next_ms == bench.now_ms()


@plans
async def ended_sale_is_settled_at_once(bench: LedgerBench) -> None:
    """Nothing is prepared any more; what follows the end does not wait for the end that was planned."""
    sale = await bench.sale()
    await bench.moved(sale, SaleStatus.ACTIVE, SaleStatus.ENDED)

    found = await rows(bench, sale)

    states = [row.state for row in found.values()]
    assert states == [StepState.SKIPPED] * 9 + [StepState.DUE] * 4
    assert found[StepName.WARM_UP].words == "the sale is over"
    assert found[StepName.WARM_UP].finished_ms == bench.now_ms()
    assert [found[step].due_ms for step in (StepName.END, StepName.SETTLE)] == [bench.now_ms()] * 2
    audit = bench.now_ms() + sale.checkout_ttl_seconds * SECOND
    assert [found[step].due_ms for step in (StepName.FINAL_AUDIT, StepName.REPORT)] == [audit] * 2


@plans
async def aborted_sale_says_so(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    await bench.moved(sale, SaleStatus.CANCELLED)

    found = await rows(bench, sale)

    assert found[StepName.NOTIFY_1H].words == "the sale was aborted"
    assert found[StepName.END].next_ms == bench.now_ms()


@plans
async def pause_and_resume_change_nothing(bench: LedgerBench) -> None:
    sale = await bench.sale()
    before = await bench.timeline.steps(sale.sale_id)

    await bench.moved(sale, SaleStatus.ACTIVE, SaleStatus.PAUSED, SaleStatus.ACTIVE)

    assert list(await bench.timeline.steps(sale.sale_id)) == list(before)


@plans
async def later_end_moves_what_follows_it(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    terms = msgspec.structs.replace(terms_of(sale), end_ms=sale.end_ms + HOUR, checkout_ttl_seconds=60)

    changed = await bench.sales.change(sale.sale_id, terms, sale, ACTOR)

    assert isinstance(changed, Sale)
    found = await rows(bench, sale)
    assert [row.due_ms for row in found.values()] == [due_ms(step, changed) for step in STEPS]


@plans
async def plan_is_kept_and_replaced(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    first = Plan(expected_crowd=5, pages=("/a", "https://cdn.example.com/b"), thresholds={"error-rate": 0.5})

    assert await bench.timeline.set_plan(sale.sale_id, first, ACTOR)
    assert await bench.timeline.plan(sale.sale_id) == first
    assert await bench.timeline.set_plan(sale.sale_id, Plan(expected_crowd=7), ACTOR)

    assert await bench.timeline.plan(sale.sale_id) == Plan(expected_crowd=7)


@plans
async def report_is_kept(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    assert await bench.timeline.report(sale.sale_id) is None

    await bench.timeline.keep_report(sale.sale_id, {"final": False})
    await bench.timeline.keep_report(sale.sale_id, {"final": True, "money": {"revenue_cents": 5}})
    await bench.timeline.keep_report(sale.sale_id, {"final": False})  # of a worker that was slow
    await bench.timeline.keep_report(sale.sale_id, {"final": True, "money": {"revenue_cents": 6}})

    kept = await bench.timeline.report(sale.sale_id)
    assert kept is not None
    assert kept.report == {"final": True, "money": {"revenue_cents": 5}}


@plans
async def step_left_out_stays_out_when_the_sale_is_moved(bench: LedgerBench) -> None:
    sale = await tomorrow(bench)
    assert await bench.timeline.skip(sale.sale_id, StepName.NOTIFY_1H, ACTOR) == "ok"

    later = await moved(bench, sale, 5 * MINUTE)

    row = (await rows(bench, sale))[StepName.NOTIFY_1H]
    assert (row.state, row.next_ms, row.words) == (StepState.SKIPPED, None, "skipped by tester: a test")
    assert row.due_ms == due_ms(StepName.NOTIFY_1H, later)


@plans
async def late_plan_brings_back_what_was_skipped_for_want_of_it(bench: LedgerBench) -> None:
    sale = await bench.sale(start_ms=bench.now_ms() + 50 * MINUTE, end_ms=bench.now_ms() + 2 * HOUR)
    assert await bench.timeline.skip(sale.sale_id, StepName.SCALE_UP, ACTOR) == "ok"
    for _ in range(3):
        await do_next(bench, Outcome(state=StepState.SKIPPED, words="the plan names no pages"))

    assert await bench.timeline.set_plan(sale.sale_id, Plan(pages=("/",)), ACTOR)

    found = await rows(bench, sale)
    assert (found[StepName.CDN_PREWARM].state, found[StepName.CDN_PREWARM].next_ms) == (StepState.DUE, bench.now_ms())
    assert found[StepName.SCALE_UP].words == "skipped by tester: a test"
    assert found[StepName.NOTIFY_1H].state is StepState.SKIPPED
