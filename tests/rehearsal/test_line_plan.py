"""The crowd of a line: the same from the same seed, and early where it has to be."""

from doorbuster.rehearsal.line_plan import draw_line_crowd
from doorbuster.rehearsal.plan import CrowdPlan, draw_crowd

PLAN = CrowdPlan(seed=4, buyers=2_000)


def test_same_seed_gives_the_same_line_and_the_buyers_of_the_race() -> None:
    first, second = (list(draw_line_crowd(PLAN, entries_s=0.0)) for _ in range(2))

    assert first == second
    assert [one.buyer for one in first] == list(draw_crowd(PLAN))
    assert [one.arrives_s for one in first] == [one.buyer.arrives_s for one in first]


def test_most_enter_a_draw_before_it_starts_and_none_before_there_is_a_crowd() -> None:
    crowd = list(draw_line_crowd(PLAN, entries_s=6.0))

    early = [one for one in crowd if one.arrives_s <= -0.3]
    assert 0.85 < len(early) / len(crowd) < 0.95
    assert min(one.arrives_s for one in crowd) >= -6.0


def test_who_gives_up_does_not_listen_and_tabs_are_few() -> None:
    crowd = list(draw_line_crowd(PLAN, entries_s=0.0))

    assert not [one for one in crowd if one.listens and one.gives_up_s is not None]
    assert {one.tabs for one in crowd} == {1, 2, 3}
