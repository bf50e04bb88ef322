"""Every race is won by the real engine on real servers, and lost by the design that lost it elsewhere."""

import pytest

from twins import careful
from twins.careful import CarefulDesk
from twins.desk import broken
from twins.races import (
    RACES,
    Race,
    check_out_at_once,
    close_one_order_many_times,
    last_units,
    many_tabs,
    one_key_many_times,
    pay_and_cancel_one_order,
    reload_in_the_rush,
    several_units_at_once,
    ten_keys,
)
from twins.real import real_desk

TWINS: list[tuple[type[CarefulDesk], Race, str]] = [
    (careful.ChecksThenTakes, last_units, "I1"),
    (careful.ClaimsAfterPayment, check_out_at_once, "I1"),
    (careful.ReadsAGeneratorTwice, several_units_at_once, "I1"),
    (careful.LocksInOneProcess, last_units, "I1"),
    (careful.LeaseEndsMidway, last_units, "I1"),
    (careful.EndsWithoutLookingAgain, pay_and_cancel_one_order, "I13"),
    (careful.EndsWithoutLookingAgain, close_one_order_many_times, "I13"),
    (careful.RestoresBlindly, close_one_order_many_times, "I2"),
    (careful.ReloadSetsTheCounter, reload_in_the_rush, "I2"),
    (careful.CountsThenInserts, many_tabs, "I6"),
    (careful.LooksForTheKeyFirst, one_key_many_times, "I5"),
    (careful.TakesThenAsks, ten_keys, "I2"),
]
race = pytest.mark.parametrize("run", RACES, ids=[run.__name__ for run in RACES])


@race
async def test_real_engine_wins_the_race(run: Race, database_url: str, valkey_url: str) -> None:
    async with real_desk(RACES[run], database_url, valkey_url) as desk:
        history = await run(desk)

        assert broken(history, await desk.books()) == []


@race
async def test_careful_desk_wins_the_race(run: Race) -> None:
    """So what its twins lose they lose by the safeguard that is missing."""
    desk = CarefulDesk(*RACES[run])

    history = await run(desk)

    assert broken(history, await desk.books()) == []


@pytest.mark.parametrize(
    ("twin", "run", "promise"), TWINS, ids=[f"{twin.__name__}-{run.__name__}" for twin, run, _ in TWINS]
)
async def test_twin_loses_the_race(twin: type[CarefulDesk], run: Race, promise: str) -> None:
    """A race test that cannot fail proves nothing."""
    desk = twin(*RACES[run])

    history = await run(desk)

    found = broken(history, await desk.books())
    assert any(law.startswith(promise) for law in found), found


def test_every_race_has_a_loser() -> None:
    assert {run for _, run, _ in TWINS} == set(RACES)
