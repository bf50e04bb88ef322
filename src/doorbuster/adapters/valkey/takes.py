"""The takes of one turn of the event loop, in one call per sale (R2).

Owns: what a batch of takes says and how its answer is shared out. Read next: `turns.py`, which makes the batches;
`functions/take.lua`, which decides; `store.py`, which has the same for a ready-made batch.
"""

import asyncio
from collections.abc import Sequence

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.calls import Answer
from doorbuster.adapters.valkey.turns import Lane, Turns
from doorbuster.adapters.valkey.wire import Part
from doorbuster.engine.ports import Ask, TakenOne


class Takes(Turns[Ask, TakenOne]):
    """One per store."""

    name = "take"

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> asyncio.Future[TakenOne]:
        """See `ValkeyStockStore.take_one`."""
        return self.add(sale_id, ask, now_ms, epoch_min)

    def arguments(self, asks: Sequence[Ask], lane: Lane[Ask, TakenOne]) -> list[Part]:
        return functions.take_arguments(asks, now_ms=lane.now_ms, epoch_min=lane.epoch_min)

    def settle(self, waiting: Sequence[tuple[Ask, "asyncio.Future[TakenOne]"]], answer: Answer) -> None:
        """Losers with the same word share one answer."""
        decided = functions.read_decided(answer, len(waiting))
        numbers = (decided.epoch, decided.available, decided.stock, decided.tick, answer.run_id)
        if decided.word is not None:
            same = TakenOne(*numbers, decided.word, "")
            for _, future in waiting:
                if not future.done():
                    future.set_result(same)
            return
        shared = {part: TakenOne(*numbers, word, "") for part, word in functions.LOSING_WORDS.items()}
        for (ask, future), part in zip(waiting, decided.parts, strict=True):
            taken = shared.get(part) or TakenOne(*numbers, *functions.read_word(part, ask.hold_id))
            if not future.done():
                future.set_result(taken)
