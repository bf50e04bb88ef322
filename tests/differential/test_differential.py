"""One seeded stream of commands drives the oracle and the real stores; everything is equal after every step.

The run prints its seed first, and ends when every word of every operation has been seen. A stream that never gets
there says nothing about the words it missed, so that is a failure too.
"""

import os
import random
from collections import Counter, deque
from typing import cast

import pytest

from conformance.ledgers import MemoryLedger, postgres_ledger
from differential import ledger_commands, money_commands, stock_commands
from differential.commands import OPERATIONS, WORDS, Command
from differential.side import Side
from differential.view import SALES_AT_ONCE, View
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.stock import ReferenceStockStore

SEEDS = [int(seed) for seed in os.environ.get("DOORBUSTER_DIFFERENTIAL_SEEDS", "26 28").split()]
"""Any seed will do; these get everywhere soon."""
STEPS_MIN, STEPS_MAX = 300, 10_000
ACCOUNTS_EVERY = 25
USUAL = (
    *("take", "reserve", "reserve", "commit", "rebuild", "relay", "advance"),
    *("begin_payment", "send_payment", "confirm_payment", "capture_payment"),
)
"""What makes a sale go on; the rest happens to it."""


class Stream:
    """Draws the next command; words not seen yet are looked for first."""

    def __init__(self, seed: int, ledger: MemoryLedger, stock: ReferenceStockStore) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self._rng = random.Random(seed)
        self._ids = SeededIds(seed)
        self._ledger = ledger
        self._stock = stock

    @property
    def missing(self) -> set[tuple[str, str]]:
        return WORDS - self.seen.keys()

    def next(self) -> tuple[str, Command]:
        view = View(self._rng, self._ids, self._ledger, self._stock)
        while True:
            name = self._name(view)
            command = OPERATIONS[name](view)
            if command is not None:
                return name, command

    def _name(self, view: View) -> str:
        if not view.recent():
            return "create"
        if view.needs_a_sale() and self._rng.random() < 0.3:
            return "create"
        wanted = sorted({name for name, _ in self.missing})
        if wanted and self._rng.random() < 0.4:
            return self._rng.choice(wanted)
        return self._rng.choice(USUAL if self._rng.random() < 0.5 else tuple(OPERATIONS))


async def compare(oracle: Side, real: Side, sale_ids: list[str], *, accounts: bool) -> list[str]:
    """What differs, in words."""
    expected, found = await oracle.state(sale_ids), await real.state(sale_ids)
    if accounts:
        expected |= await oracle.accounts(sale_ids)
        found |= await real.accounts(sale_ids)
    return [
        f"{name}\n  oracle: {only(expected[name], found[name])}\n  real:   {only(found[name], expected[name])}"
        for name in expected
        if expected[name] != found[name]
    ]


def only(one: object, other: object) -> object:
    """Of two lists that differ, what only the one has; else the whole."""
    if isinstance(one, list) and isinstance(other, list):
        return [row for row in cast("list[object]", one) if row not in cast("list[object]", other)]
    return cast("object", one)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
async def test_real_stores_do_what_the_oracle_does(seed: int, database_url: str, valkey_url: str) -> None:
    print(f"seed {seed}")
    memory, stock = MemoryLedger(ManualClock()), ReferenceStockStore()
    stream = Stream(seed, memory, stock)
    valkey = await ValkeyStockStore.connect(valkey_url)
    try:
        async with postgres_ledger(database_url, ManualClock()) as ledger:
            await drive(stream, Side("oracle", memory, stock), Side("real", ledger, valkey), memory)
    finally:
        await valkey.close()


async def drive(stream: Stream, oracle: Side, real: Side, memory: MemoryLedger) -> None:
    last: deque[str] = deque(maxlen=12)
    for step in range(STEPS_MAX):
        name, command = stream.next()
        last.append(f"{step}: {command.text}")
        expected = await command.run(oracle)
        found = await command.run(real)
        story = "\n".join(last)
        assert found.answer == expected.answer, f"the answers differ after\n{story}"
        stream.seen.update((name, str(word)) for word in expected.words)
        every = sorted(memory.rows.sales)
        sale_ids = sorted({*every[-SALES_AT_ONCE:], every[step % len(every)]})  # and the older ones in turn
        differences = await compare(oracle, real, sale_ids, accounts=step % ACCOUNTS_EVERY == 0)
        assert differences == [], "\n".join(["the states differ after", story, *differences])
        if step >= STEPS_MIN and not stream.missing:
            print(f"{step} steps")
            return
    raise AssertionError(f"never seen in {STEPS_MAX} steps: {sorted(stream.missing)}")


def test_every_operation_has_its_words() -> None:
    named = {name for name, _ in WORDS}

    assert named == set(OPERATIONS)
    assert {draw.__module__ for draw in OPERATIONS.values()} == {
        ledger_commands.__name__,
        money_commands.__name__,
        stock_commands.__name__,
    }
