"""When a breaker opens, and how it closes again."""

from doorbuster.domain.breaker import FAILURES, PAUSE_MS, PAUSE_MS_MAX, Breaker, BreakerState


def silent(breaker: Breaker, times: int, now_ms: int = 0) -> None:
    for _ in range(times):
        breaker.silent(now_ms)


def opened() -> Breaker:
    breaker = Breaker()
    silent(breaker, FAILURES)
    return breaker


def test_some_silence_is_no_reason() -> None:
    breaker = Breaker()

    for _ in range(10):
        silent(breaker, FAILURES - 1)
        breaker.answered()

    assert breaker.allows(0, 64) == 64


def test_silence_in_a_row_opens_it() -> None:
    breaker = opened()

    assert breaker.state is BreakerState.OPEN
    assert breaker.allows(PAUSE_MS - 1, 64) == 0


def test_one_call_is_let_through_after_a_pause() -> None:
    breaker = opened()

    assert breaker.allows(PAUSE_MS, 64) == 1
    assert breaker.allows(PAUSE_MS, 64) == 0


def test_answer_closes_it() -> None:
    breaker = opened()
    breaker.allows(PAUSE_MS, 64)

    breaker.answered()

    assert breaker.allows(PAUSE_MS, 64) == 64
    silent(breaker, FAILURES - 1, PAUSE_MS)
    assert breaker.state is BreakerState.CLOSED


def test_every_failed_probe_doubles_the_pause_up_to_a_bound() -> None:
    breaker, now_ms, pause_ms = opened(), 0, PAUSE_MS
    for _ in range(8):
        assert breaker.allows(now_ms + pause_ms - 1, 1) == 0
        now_ms += pause_ms
        assert breaker.allows(now_ms, 1) == 1
        breaker.silent(now_ms)
        pause_ms = min(2 * pause_ms, PAUSE_MS_MAX)

    assert pause_ms == PAUSE_MS_MAX


def test_probe_that_was_never_made_is_no_answer_and_no_end() -> None:
    breaker = opened()
    assert breaker.allows(PAUSE_MS, 64) == 1

    breaker.not_asked()

    assert breaker.state is BreakerState.OPEN
    assert breaker.allows(PAUSE_MS, 64) == 1


def test_late_silence_of_calls_that_were_out_changes_nothing() -> None:
    breaker = opened()

    silent(breaker, 50, PAUSE_MS - 1)

    assert breaker.allows(PAUSE_MS, 64) == 1


def test_nothing_wanted_is_no_probe_that_fails() -> None:
    breaker = opened()

    assert breaker.allows(PAUSE_MS, 0) == 0
