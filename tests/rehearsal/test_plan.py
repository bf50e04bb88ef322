"""The same seed gives the same crowd, and the shares are those that were asked for."""

from collections import Counter

import msgspec
import pytest

from doorbuster.rehearsal.line_plan import draw_line_crowd
from doorbuster.rehearsal.plan import CrowdPlan, Fate, draw_crowd


def test_same_seed_gives_the_same_crowd() -> None:
    plan = CrowdPlan(seed=7, buyers=500)

    assert list(draw_crowd(plan)) == list(draw_crowd(plan))


def test_another_seed_gives_another_crowd() -> None:
    assert list(draw_crowd(CrowdPlan(seed=7, buyers=50))) != list(draw_crowd(CrowdPlan(seed=8, buyers=50)))


def test_nobody_comes_twice() -> None:
    users = [buyer.user_id for buyer in draw_crowd(CrowdPlan(seed=1, buyers=5_000))]

    assert len(set(users)) == 5_000


@pytest.mark.parametrize(("share", "fate"), [("abandon", Fate.ABANDONS), ("cancel", Fate.CANCELS)])
def test_shares_are_kept(share: str, fate: Fate) -> None:
    plan = CrowdPlan(seed=3, buyers=20_000, **{share: 0.3})  # pyright: ignore[reportArgumentType] - both are shares

    fates = Counter(buyer.fate for buyer in draw_crowd(plan))

    assert 0.28 < fates[fate] / plan.buyers < 0.32


def test_front_of_the_crowd_comes_in_the_first_second() -> None:
    plan = CrowdPlan(seed=3, buyers=20_000)

    first = sum(0 <= buyer.arrives_s < 1 for buyer in draw_crowd(plan))

    assert first > plan.buyers / 5


def test_programs_are_there_at_the_start_and_leave_the_others_as_they_were() -> None:
    plan = CrowdPlan(seed=3, buyers=20_000)
    people = list(draw_crowd(plan))
    mixed = list(draw_crowd(msgspec.structs.replace(plan, bots=0.4, prefix="rehearsal:")))
    bots = [buyer for buyer in mixed if buyer.bot]

    assert 0.38 < len(bots) / plan.buyers < 0.42
    assert all(-0.2 <= bot.arrives_s <= 0.3 and bot.double_click and bot.fate is Fate.PAYS for bot in bots)
    assert all(buyer.user_id.startswith("rehearsal:3-") for buyer in mixed)
    same = [
        (one.arrives_s, one.fate) == (two.arrives_s, two.fate)
        for one, two in zip(people, mixed, strict=True)
        if not two.bot
    ]
    assert all(same)


def test_programs_join_a_line_from_three_tabs_and_never_give_up() -> None:
    plan = CrowdPlan(seed=3, buyers=2_000, bots=0.4, give_up=1.0)
    bots = [line for line in draw_line_crowd(plan, entries_s=5.0) if line.buyer.bot]

    assert all((bot.tabs, bot.listens, bot.gives_up_s) == (3, False, None) for bot in bots)
