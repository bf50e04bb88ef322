"""When somebody is called about a step of a sale's day that does not get done, and when that is over.

Owns: after how many tries, the words, and the key by which the step is found again. Read next: `running.py`.
"""

from typing import Final

from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import StepRow, StepState
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.timeline_ports import Outcome, TimelineStore

TRIES_UNHEARD: Final = 5
"""A step that is tried for ever is tried so often, for half a minute or more, before a person hears of it."""
_KIND: Final = "step"


def page_of(sale: Sale, row: StepRow, outcome: Outcome) -> PageCall | None:
    """None: it did not fail, may still succeed, or called somebody by itself. It belongs to no sale that could be over:
    what is left undone then is still undone."""
    if outcome.state is not StepState.FAILED or outcome.told:
        return None
    given_up, waits = outcome.wait_ms is None, not outcome.counts  # for so long that it is shown as failed
    if not given_up and not waits and row.attempts < TRIES_UNHEARD:
        return None
    ends = f"`doorbuster sale timeline {row.sale_id}` shows it, run-step and skip-step end this"
    return PageCall(
        key=f"{_KIND} {row.step.value} {row.sale_id}",
        title=f"{row.step.value} of {sale.title} is not done",
        text=f"{outcome.words}. It is {'given up' if given_up else 'tried again'}; {ends}.",
        severity="warning",
    )


async def is_over(store: TimelineStore, key: str) -> bool:
    """Whether a matter is one of a step that is done, left out, or planned anew."""
    kind, _, rest = key.partition(" ")
    step, _, sale_id = rest.partition(" ")
    if kind != _KIND:
        return False
    row = next((row for row in await store.steps(sale_id) if row.step == step), None)
    return row is None or row.state in {StepState.DONE, StepState.SKIPPED, StepState.DUE}
