"""The same seed gives the same crowd, and the shares are those that were asked for."""

from collections import Counter

import pytest

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
    plan = CrowdPlan(seed=3, buyers=20_000, **{share: 0.3})

    fates = Counter(buyer.fate for buyer in draw_crowd(plan))

    assert 0.28 < fates[fate] / plan.buyers < 0.32


def test_front_of_the_crowd_comes_in_the_first_second() -> None:
    plan = CrowdPlan(seed=3, buyers=20_000)

    first = sum(0 <= buyer.arrives_s < 1 for buyer in draw_crowd(plan))

    assert first > plan.buyers / 5
