"""What was done to a sale is kept with who and why, once each, and read by pages."""

import msgspec

from conformance.ledger_bench import ACTOR, HOUR, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.rehearsal import Wish
from doorbuster.domain.sale import Sale, terms_of
from doorbuster.domain.timeline import StepName
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.actions import Action
from doorbuster.engine.ports import KEEPER, Actor

actions = Suite[LedgerBench]()
ANN = Actor(name="operator:ann", reason="it looked odd")


async def done_to(bench: LedgerBench, sale: Sale, *, before: int | None = None, limit: int = 100) -> list[Action]:
    return list(await bench.ledger.actions.actions(sale.sale_id, before=before, limit=limit))


@actions
async def moves_changes_and_lists_say_who_and_why_once(bench: LedgerBench) -> None:
    sale = await bench.sale()
    other = await bench.sale()
    await bench.moved(sale, SaleStatus.PAUSED)
    for _ in range(2):
        await bench.sales.move(sale.sale_id, SaleStatus.ACTIVE, ANN)
    current = await bench.current(sale)
    await bench.sales.change(
        sale.sale_id, msgspec.structs.replace(terms_of(current), quantity_available=9), current, ANN
    )
    for _ in range(2):
        await bench.sales.set_blocked(sale.sale_id, ["eve", "bob"], ANN)

    found = await done_to(bench, sale)

    assert [(one.what, one.actor.name) for one in found if one.what != "rebuild"] == [
        ("blocklist", "operator:ann"), ("change", "operator:ann"), ("move", "operator:ann"), ("move", ACTOR.name),
        ("create", ACTOR.name),
    ]  # fmt: skip
    assert {one.actor.reason for one in found if one.actor.name == ANN.name} == {ANN.reason}
    assert found[0].detail == {"added": 2, "removed": 0}
    assert found[0].at_ms == bench.now_ms()
    assert {one.sale_id for one in found} == {sale.sale_id}
    assert await done_to(bench, other) != []


@actions
async def new_image_says_who_asked_for_it(bench: LedgerBench) -> None:
    sale = await bench.sale()
    epoch = (await bench.current(sale)).epoch
    await bench.sales.raise_epoch(sale.sale_id, epoch, ANN.reason, ANN.name)
    await bench.sales.raise_epoch(sale.sale_id, epoch, "too late", ANN.name)
    await bench.sales.raise_epoch(sale.sale_id, epoch + 1, "lost")

    newest, before, *_ = await done_to(bench, sale)

    assert (newest.what, newest.actor, newest.detail) == (
        "rebuild", Actor(name=KEEPER, reason="lost"), {"epoch": epoch + 2},
    )  # fmt: skip
    assert (before.what, before.actor) == ("rebuild", ANN)


@actions
async def steps_and_rehearsals_say_who_and_why_once(bench: LedgerBench) -> None:
    sale = await bench.sale(start_ms=bench.now_ms() + 2 * HOUR, end_ms=bench.now_ms() + 3 * HOUR)
    for _ in range(2):
        await bench.timeline.skip(sale.sale_id, StepName.SCALE_UP, ANN)
    await bench.timeline.run(sale.sale_id, StepName.WARM_UP, ANN)
    await bench.ledger.rehearsals.ask(bench.ids.new_id(), sale.sale_id, Wish(), ANN)
    await bench.ledger.rehearsals.claim(bench.ids.new_id())
    for _ in range(2):
        await bench.ledger.rehearsals.stop(sale.sale_id, ANN)

    found = [one.what for one in await done_to(bench, sale) if one.actor == ANN]

    assert found == ["rehearse-stop", "rehearse", "step-run", "step-skip"]


@actions
async def pages_are_whole_and_what_is_no_sale_has_none(bench: LedgerBench) -> None:
    sale = await bench.sale()
    for status in (SaleStatus.PAUSED, SaleStatus.ACTIVE, SaleStatus.PAUSED):
        await bench.moved(sale, status)
    everything = await done_to(bench, sale)
    first = await done_to(bench, sale, limit=2)
    rest = await done_to(bench, sale, before=first[-1].action_id)

    assert (first + rest, len(first)) == (everything, 2)
    assert [one.action_id for one in everything] == sorted((one.action_id for one in everything), reverse=True)
    for nobody in (bench.ids.new_id(), "no id"):
        assert not await bench.ledger.actions.actions(nobody, before=None, limit=9)
