"""A finished draw in memory, for tests of what is published."""

from typing import Any

import msgspec

from conformance.draw_bench import DrawBench
from conformance.ledger_bench import ACTOR
from conformance.ledgers import MemoryLedger
from doorbuster.domain.sale import Sale
from doorbuster.engine.drawing import Beacon, BeaconAnswer
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.draws import ReferenceDrawLedger

VALUE = "ab" * 32


class Answers(Beacon):
    """A beacon that gives these answers, the last one for ever, and counts the questions."""

    def __init__(self, *answers: BeaconAnswer) -> None:
        self._answers = list(answers)
        self.asked: list[int] = []

    async def value(self, round_number: int) -> BeaconAnswer:
        self.asked.append(round_number)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def beacon(value: str = VALUE) -> Answers:
    return Answers(BeaconAnswer(value=value))


def memory_bench() -> DrawBench:
    memory = MemoryLedger(ManualClock())
    return DrawBench(memory, ReferenceDrawLedger(memory.rows))


async def held(
    users: int = 5, *, blocked: int = 0, beacon_round: int | None = None, answers: Beacon | None = None
) -> tuple[bytes, bytes, DrawBench, Sale]:
    """The published file before the start and after the draw."""
    bench = memory_bench()
    names = [f"buyer {number}" for number in range(users)]
    sale = await bench.open_draw(*names, beacon_round=beacon_round)
    await bench.sales.set_blocked(sale.sale_id, names[:blocked], ACTOR)
    drawing = bench.drawing(answers)
    before = await drawing.bundle(sale.sale_id)
    assert isinstance(before, bytes)
    await bench.start()
    assert await drawing.run_once(await bench.current(sale))
    after = await drawing.bundle(sale.sale_id)
    assert isinstance(after, bytes)
    return before, after, bench, sale


def changed(content: bytes, **changes: Any) -> bytes:
    """The same file with these fields replaced."""
    return msgspec.json.encode(msgspec.json.decode(content) | changes)
