"""The verbs of a line.

join, place, leave      what a buyer does, at gate `at=`; `ticket=own` shows the last ticket, `ticket=B2` another's
admit, draw             the turns of the worker `of=`, or of `workers=2` at once

A place answers with its state: waiting, standby, granted, left, over.
"""

import asyncio

from doorbuster.domain.outcomes import RULES, Code, Refusal
from doorbuster.domain.place import Place
from doorbuster.domain.waiting import LONGER
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from scenarios.notation import Step
from scenarios.stage import Stage
from scenarios.verbs import gate_of, verb, worker_of

_REMEMBERED_MS = 10_000
"""How long at least a gate knows that it has told somebody "at once"."""


@verb("join", "ticket", "at")
async def join(stage: Stage, step: Step) -> list[str]:
    """join B1 [ticket=own] [at=] -> the state of the place | a refusal; all named at once."""
    queueing = gate_of(stage, step).queueing

    async def one(buyer: str) -> str:
        return _told(stage, step, buyer, await queueing.join(stage.sale_id, buyer, _ticket(stage, step, buyer)))

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


@verb("place", "ticket", "at")
async def place(stage: Stage, step: Step) -> list[str]:
    """place B1 [ticket=own] [at=] -> the state of the place | a refusal; all named at once."""
    queueing = gate_of(stage, step).queueing

    async def one(buyer: str) -> str:
        return _told(stage, step, buyer, await queueing.place(stage.sale_id, buyer, _ticket(stage, step, buyer)))

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


@verb("leave", "at")
async def leave(stage: Stage, step: Step) -> list[str]:
    """leave B1 -> left | a refusal; all named at once."""
    queueing = gate_of(stage, step).queueing

    async def one(buyer: str) -> str:
        return _told(stage, step, buyer, await queueing.leave(stage.sale_id, buyer))

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


def _ticket(stage: Stage, step: Step, buyer: str) -> str | None:
    shown = step.options.get("ticket")
    return None if shown is None else stage.tickets[buyer if shown == "own" else shown]


def _told(stage: Stage, step: Step, buyer: str, answer: Place | Refusal) -> str:
    """The word of an answer, which is remembered as a buyer's browser remembers it."""
    if isinstance(answer, Refusal):
        stage.http = RULES[answer.code].status
        assert (stage.http < 500) == (answer.code is not Code.UNAVAILABLE)
        return answer.code.value
    before = stage.told.get((step.number("at", 1), buyer))
    assert before is None or not _longer_in_silence(before, answer), f"line {step.line}: {before.eta} {answer.eta}"
    stage.told[step.number("at", 1), buyer] = stage.places[buyer] = answer
    if answer.ticket is not None:
        stage.tickets[buyer] = answer.ticket
    if answer.order is not None:
        stage.latest[buyer] = answer.order.order_id
    return answer.state.value


def _longer_in_silence(before: Place, now: Place) -> bool:
    """C2: the same gate tells the same buyer, who stands no further back, a longer time and not why."""
    if before.position is None or now.position is None or now.position > before.position or before.eta.high is None:
        return False
    if now.as_of_ms - before.as_of_ms > _REMEMBERED_MS or now.eta.reason.startswith((LONGER, "the sale is paused")):
        return False
    return now.eta.high is None or now.eta.high > before.eta.high


# ---------------------------------------------------------------------------------------------------- the worker


@verb("admit", "of", "workers")
async def admit(stage: Stage, step: Step) -> list[str]:
    """admit -> how many were granted by one pass; `workers=2` at once, who may both count the same grant."""
    workers = stage.workers[: step.number("workers", 1)] if "workers" in step.options else [worker_of(stage, step)]
    sale = await stage.ledger.sales.get(stage.sale_id)
    assert sale is not None
    return [str(done.granted) for done in await asyncio.gather(*(each.admitter.run_once(sale) for each in workers))]


@verb("draw", "of", "workers")
async def draw(stage: Stage, step: Step) -> list[str]:
    """draw -> drawn | nothing | unavailable: one turn of the drawer; `workers=2` at once."""
    workers = stage.workers[: step.number("workers", 1)] if "workers" in step.options else [worker_of(stage, step)]

    async def one(number: int) -> str:
        workers[number].rows.forget()
        try:
            counts = await workers[number].drawer.run_once(stage.ledger.clock.now_ms())
        except (StoreUnavailable, OutcomeUnknown):
            return "unavailable"
        return "drawn" if counts["drawn"] else "nothing"

    return list(await asyncio.gather(*(one(number) for number in range(len(workers)))))
