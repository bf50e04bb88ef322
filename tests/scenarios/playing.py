"""Plays a story and checks it: what was said, the numbers after a step, and the laws that hold after every step."""

from collections import Counter

from doorbuster.domain.audit import compare
from doorbuster.domain.sale import Sale, availability
from scenarios import line_laws, line_verbs
from scenarios.notation import NotationError, Step, read
from scenarios.stage import Stage
from scenarios.verbs import OPTIONS, VERBS

assert line_verbs.join, "the line's verbs are in the table once this module is read"


async def play(text: str, stage: Stage) -> None:
    """AssertionError with the line that went otherwise; NotationError for one that means nothing. At the end the
    worker has its turns and the audit is in step."""
    steps = read(text)
    for step in steps:
        if step.verb not in VERBS:
            raise NotationError(f"line {step.line}: there is no verb {step.verb!r}; known are {sorted(VERBS)}")
        strange = step.options.keys() - OPTIONS[step.verb]
        if strange:
            raise NotationError(f"line {step.line}: {step.verb} knows no {sorted(strange)}: {step.text}")
    await stage.open()
    try:
        for step in [*steps, *read("work\naudit -> in_step")]:
            said = Counter(await VERBS[step.verb](stage, step))
            await stage.quiet()
            await _check(stage, step, said)
    finally:
        await stage.close()


async def _check(stage: Stage, step: Step, said: Counter[str]) -> None:
    where = f"line {step.line}: {step.text}"
    if step.said is not None:
        assert said == step.said, f"{where}\n  said {_plain(said)}"
    sale = await stage.ledger.sales.get(stage.sale_id)
    if sale is None:
        return
    await _check_laws(stage, sale, where)
    await line_laws.check(stage, sale, where)
    found = await _numbers(stage, step, sale)
    unknown = step.after.keys() - found.keys()
    if unknown:
        raise NotationError(f"{where}: there is no number {sorted(unknown)}; known are {sorted(found)}")
    different = {name: found[name] for name, value in step.after.items() if found[name] != value}
    assert not different, f"{where}\n  found {different}"


async def _numbers(stage: Stage, step: Step, sale: Sale) -> dict[str, str]:
    """What may be asked about after a step. `counter` is what the counter has free, `order` the first buyer's."""
    units = availability(sale)
    summary = await stage.stock.summary(stage.sale_id)
    order = None
    if step.names and step.names[0] in stage.latest:
        order = await stage.ledger.orders.get(stage.latest[step.names[0]])
    return {
        "free": str(units.free),
        "held": str(units.held),
        "sold": str(units.sold),
        "availability": units.state.value,
        "status": sale.status.value.lower(),
        "epoch": str(sale.epoch),
        "counter": "none" if summary is None else str(summary.stock),
        "pending": "none" if summary is None else str(summary.pending),
        "order": "none" if order is None else order.status.value.lower(),
        "charged": str(sum(row.captured_cents for row in stage.gateway.charges.values())),
        **await line_laws.numbers(stage, step, sale),
    }


async def _check_laws(stage: Stage, sale: Sale, where: str) -> None:
    """PostgreSQL agrees with itself (I1, I2, I6, I15), and so does the counter (I2)."""
    facts = await stage.ledger.audits.facts(sale.sale_id)
    assert facts is not None
    assert compare(facts, None, at_ms=0).drifts == (), where
    image = await stage.stock.summary(sale.sale_id)
    if image is not None:
        assert image.stock + image.held == image.available, where
        assert image.stock >= 0, where


def _plain(said: Counter[str]) -> str:
    return " ".join(f"{word}*{count}" if count > 1 else word for word, count in sorted(said.items())) or "nothing"
