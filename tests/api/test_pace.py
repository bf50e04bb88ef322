"""What is remembered of a crowd: how fast one buyer may go, and how much of it all is kept."""

import pytest

from doorbuster.api.lately import Lately
from doorbuster.api.pace import Pace

NOW_S = 1_800_000_000.0


def test_burst_passes_and_no_more() -> None:
    pace = Pace(per_second=20, burst=60)

    waits = [pace.wait_ms("ann", NOW_S) for _ in range(62)]

    assert waits[:60] == [0] * 60
    assert 1 <= waits[60] <= 51
    assert waits[61] == waits[60], "a refused request costs nothing"


def test_one_buyer_does_not_slow_another() -> None:
    pace = Pace(per_second=1, burst=1)
    pace.wait_ms("ann", NOW_S)

    assert pace.wait_ms("bob", NOW_S) == 0


def test_who_waits_as_told_may_pass() -> None:
    pace = Pace(per_second=20, burst=2)
    now_s = NOW_S
    pace.wait_ms("ann", now_s)

    for _ in range(100):
        wait_ms = pace.wait_ms("ann", now_s)
        now_s += wait_ms / 1000
        if wait_ms:
            assert pace.wait_ms("ann", now_s) == 0


def test_rate_over_a_long_time_is_the_rate() -> None:
    pace = Pace(per_second=20, burst=60)

    passed = sum(pace.wait_ms("ann", NOW_S + tick / 1000) == 0 for tick in range(10_000))

    assert 60 + 198 <= passed <= 60 + 200


@pytest.mark.parametrize("back_s", [0.5, 10, 3600])
def test_clock_that_is_set_back_locks_nobody_out(back_s: float) -> None:
    pace = Pace(per_second=20, burst=60)
    for _ in range(60):
        pace.wait_ms("ann", NOW_S)

    wait_ms = pace.wait_ms("ann", NOW_S - back_s)

    assert wait_ms <= 1000


def test_memory_is_bounded_and_keeps_the_latest() -> None:
    kept: Lately[int, int] = Lately(1000)

    for number in range(100_000):
        kept.put(number, number)

    assert len(kept) <= 1000
    assert all(kept.get(number) == number for number in range(99_500, 100_000))
    assert kept.get(0) is None


def test_what_is_used_is_kept() -> None:
    kept: Lately[str, int] = Lately(100)
    kept.put("ann", 1)

    for number in range(1000):
        kept.put(str(number), number)
        assert kept.get("ann") == 1
