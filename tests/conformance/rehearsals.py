"""Rehearsals: one at a time, for whoever has the lease, and never in the way of a real sale."""

from typing import Any

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, SECOND, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.rehearsal import CLEAR_MS, GIVE_WAY_MS, Counted, Sheet, Verdict, Wish, shadow_terms
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.rehearsal_ports import LEASE_MS, Rehearsal, RehearsalState

rehearsals = Suite[LedgerBench]()
SHEET = Sheet(verdict=Verdict.NO_GO, reasons=["slow"], checks=[], differs=[], figures={"p99_ms": 9.0})


async def a_sale(bench: LedgerBench, *, starts_in_ms: int = 2 * HOUR) -> Sale:
    start = bench.now_ms() + starts_in_ms
    return await bench.sale(start_ms=start, end_ms=start + HOUR)


async def asked(bench: LedgerBench, sale: Sale, **wish: Any) -> Rehearsal:
    found = await bench.ledger.rehearsals.ask(bench.ids.new_id(), sale.sale_id, Wish(**wish), ACTOR)
    assert isinstance(found, Rehearsal), found
    assert found.state is RehearsalState.ASKED
    return found


async def running(bench: LedgerBench, sale: Sale, **wish: Any) -> tuple[Rehearsal, str]:
    """And its lease."""
    await asked(bench, sale, **wish)
    lease = bench.ids.new_id()
    claimed = await bench.ledger.rehearsals.claim(lease)
    assert claimed is not None
    assert (claimed.crashed, claimed.rehearsal.state) == (False, RehearsalState.RUNNING)
    return claimed.rehearsal, lease


async def latest(bench: LedgerBench, sale: Sale) -> Rehearsal:
    found = await bench.ledger.rehearsals.latest(sale.sale_id)
    assert found is not None
    return found


async def refused(bench: LedgerBench, sale: Sale, **wish: Any) -> Refusal:
    found = await bench.ledger.rehearsals.ask(bench.ids.new_id(), sale.sale_id, Wish(**wish), ACTOR)
    assert isinstance(found, Refusal), found
    return found


@rehearsals
async def one_at_a_time_and_only_of_a_sale_to_come(bench: LedgerBench) -> None:
    first, second = await a_sale(bench), await a_sale(bench)
    over = await a_sale(bench)
    await bench.sales.move(over.sale_id, SaleStatus.ENDED, ACTOR)
    assert "nothing to rehearse" in (await refused(bench, over)).detail
    await asked(bench, first)
    for sale in (first, second):
        again = await refused(bench, sale)
        assert (again.code, "under way" in again.detail) == (Code.CONFLICT, True)


@rehearsals
async def real_sale_that_is_on_has_to_be_forced_aside(bench: LedgerBench) -> None:
    sale, near = await a_sale(bench), await a_sale(bench, starts_in_ms=CLEAR_MS)
    assert near.sale_id in (await refused(bench, sale)).detail
    await asked(bench, sale, forced=True)


@rehearsals
async def one_that_nobody_began_is_over_when_it_is_stopped(bench: LedgerBench) -> None:
    sale, other = await a_sale(bench), await a_sale(bench)
    await asked(bench, sale)
    await bench.ledger.rehearsals.stop(other.sale_id, ACTOR)
    assert (await latest(bench, sale)).state is RehearsalState.ASKED
    await bench.ledger.rehearsals.stop(sale.sale_id, ACTOR)
    found = await latest(bench, sale)
    assert (found.state, found.words, found.finished_ms) == (
        RehearsalState.STOPPED, "an operator stopped it", bench.now_ms()
    )  # fmt: skip
    assert await bench.ledger.rehearsals.claim(bench.ids.new_id()) is None
    await asked(bench, other)


@rehearsals
async def one_under_way_is_told_that_it_is_unwanted(bench: LedgerBench) -> None:
    sale = await a_sale(bench)
    found, lease = await running(bench, sale)
    assert await bench.ledger.rehearsals.renew(found.rehearsal_id, lease, {"arrived": 3}) == ""
    await bench.ledger.rehearsals.stop(sale.sale_id, ACTOR)
    now = await latest(bench, sale)
    assert (now.state, now.finished_ms, now.progress) == (RehearsalState.RUNNING, None, {"arrived": 3})
    assert await bench.ledger.rehearsals.renew(found.rehearsal_id, lease, {}) == "an operator stopped it"


@rehearsals
async def old_wish_does_not_begin_beside_a_real_sale(bench: LedgerBench) -> None:
    """Asked for half an hour before, and no worker until the sale was on."""
    sale = await a_sale(bench, starts_in_ms=30 * MINUTE)
    await asked(bench, sale)
    await bench.ledger.advance_ms(31 * MINUTE)
    assert await bench.ledger.rehearsals.claim(bench.ids.new_id()) is None
    found = await latest(bench, sale)
    assert (found.state, sale.sale_id in found.words) == (RehearsalState.STOPPED, True)
    await bench.ledger.rehearsals.ask(bench.ids.new_id(), (await a_sale(bench)).sale_id, Wish(forced=True), ACTOR)
    assert await bench.ledger.rehearsals.claim(bench.ids.new_id()) is not None, "forced is forced"


@rehearsals
async def wish_for_a_sale_that_is_over_does_not_begin(bench: LedgerBench) -> None:
    sale = await a_sale(bench)
    await asked(bench, sale, forced=True)
    await bench.sales.move(sale.sale_id, SaleStatus.ENDED, ACTOR)
    assert await bench.ledger.rehearsals.claim(bench.ids.new_id()) is None
    assert "the sale is over" in (await latest(bench, sale)).words


@rehearsals
async def one_under_way_makes_way_for_a_real_sale(bench: LedgerBench) -> None:
    store = bench.ledger.rehearsals
    sale = await a_sale(bench)
    found, lease = await running(bench, sale)
    other = await a_sale(bench, starts_in_ms=GIVE_WAY_MS + SECOND)
    assert await store.renew(found.rehearsal_id, lease, {}) == ""
    await bench.ledger.advance_ms(SECOND)
    assert other.sale_id in (await store.renew(found.rehearsal_id, lease, {}) or "")
    assert await store.finish(found.rehearsal_id, lease, RehearsalState.STOPPED, "made way", None)
    forced, lease = await running(bench, sale, forced=True)
    assert await store.renew(forced.rehearsal_id, lease, {}) == ""


@rehearsals
async def its_own_shadow_is_no_real_sale(bench: LedgerBench) -> None:
    store = bench.ledger.rehearsals
    sale = await a_sale(bench)
    found, lease = await running(bench, sale)
    terms, _ = shadow_terms(sale, now_ms=bench.now_ms(), seconds=5)
    shadow = await store.create_shadow(found, lease, bench.ids.new_id(), terms)
    assert shadow is not None
    assert (shadow.rehearsal_of, (await latest(bench, sale)).shadow_sale_id) == (sale.sale_id, shadow.sale_id)
    await bench.ledger.advance_ms(MINUTE // 6)
    assert await store.renew(found.rehearsal_id, lease, {}) == ""
    assert await store.count(shadow.sale_id, {bench.ids.new_id(): "ann"}) == Counted(
        units=0, paid_units=0, most_per_buyer=0, missing=1, audit=""
    )
    for _ in range(2):
        await store.remove_shadow(shadow.sale_id)
        assert await bench.sales.get(shadow.sale_id) is None


@rehearsals
async def one_whose_worker_is_gone_is_taken_by_another_and_what_was_found_out_is_kept(bench: LedgerBench) -> None:
    store = bench.ledger.rehearsals
    sale = await a_sale(bench)
    found, lease = await running(bench, sale)
    other = bench.ids.new_id()
    await bench.ledger.advance_ms(LEASE_MS)
    assert await store.claim(other) is None
    assert await store.note(found.rehearsal_id, lease, "", SHEET)
    assert (await latest(bench, sale)).state is RehearsalState.RUNNING
    await bench.ledger.advance_ms(1)
    claimed = await store.claim(other)
    assert claimed is not None
    assert (claimed.crashed, claimed.rehearsal.sheet) == (True, SHEET)
    assert await store.renew(found.rehearsal_id, lease, {}) is None
    assert not await store.note(found.rehearsal_id, lease, "too late", None)
    assert not await store.finish(found.rehearsal_id, lease, RehearsalState.STOPPED, "too late", None)
    assert await store.finish(found.rehearsal_id, other, RehearsalState.DONE, "", SHEET)
    now = await latest(bench, sale)
    assert (now.state, now.words, now.sheet) == (RehearsalState.DONE, "", SHEET)
    assert await store.secrets() == {}
