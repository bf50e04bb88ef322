"""What `doorbuster sale report` shows of a sale's report, and what a figure looks like."""

from typing import Any

import pytest

from conformance.ledger_bench import MINUTE, SECOND
from day.closing import a_closing
from doorbuster.cli.sale_report import show
from doorbuster.cli.words import detail_of, duration
from doorbuster.domain.alerts import Alert
from doorbuster.domain.timeline import StepName
from doorbuster.engine.monitoring import Traffic


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (None, "—"), (0, "0 ms"), (0.064, "0.064 ms"), (16.384, "16.4 ms"), (999, "999 ms"), (1_000, "1.0 s"),
        (59_949, "59.9 s"), (59_950, "1 min 00 s"), (183_000, "3 min 03 s"), (3_599_499, "59 min 59 s"),
        (3_599_500, "1 h 00 min"), (90_060_000, "25 h 01 min"),
    ],
)  # fmt: skip
def test_duration(ms: float | None, words: str) -> None:
    assert duration(ms) == words


@pytest.mark.parametrize(
    ("reason", "detail", "words"),
    [
        ("", {}, ""),
        ("no answer", {"tried": 3, "pages": {"/": 404}, "host": ""}, "no answer; tried 3"),
        ("", {"revenue_cents": 9_800, "currency": "EUR", "sold_out_after_ms": 183_000},
         "revenue 98.00 EUR, sold out after 3 min 03 s"),
        ("", {"revenue_cents": 9_800, "currency": "JPY", "sold_out_after_ms": None}, "revenue 9,800 JPY"),
    ],
)  # fmt: skip
def test_what_a_step_found(reason: str, detail: dict[str, Any], words: str) -> None:
    assert detail_of({"reason": reason, "detail": detail}) == words


def shown(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Line by line, with one space where there are several."""
    capsys.readouterr()  # what was logged
    show(report)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


async def test_report_that_is_not_final_says_why_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_closing() as closing:
        await closing.buy("ann")
        closing.shop.ledger.allowances[closing.sale_id]["ann"] += 1
        opened = await closing.report()
        await closing.verb("end")
        await closing.pass_time(10 * MINUTE)
        failed = await closing.report()
        await closing.pass_time(70 * MINUTE)
        given_up = await closing.report()

    lines = shown(opened, capsys)
    assert lines[0] == "Sneaker: ACTIVE, a race"
    final_at = opened["timeline"][-1]["due_at"]
    assert lines[1] == f"As of {opened['as_of']}, not final: the sale is not over. Final at the earliest at {final_at}."
    assert "sold out —" in lines
    assert "none" in lines
    assert "Alerts: none" in lines
    assert f"warm-up {opened['timeline'][0]['due_at']} due —" in lines

    lines = shown(failed, capsys)
    step = next(step for step in failed["timeline"] if step["step"] == StepName.FINAL_AUDIT)
    told = f"failed, again at {step['next_attempt_at']} 0 ms the audit says drifted: I6 eligibility"
    assert any(line.startswith(f"final-audit {step['due_at']} {told}") for line in lines)

    lines = shown(given_up, capsys)
    assert "not final: the last audit was given up (the audit says drifted: I6 eligibility" in lines[1]
    assert lines[1].endswith("It does not become final by itself.")


async def test_report_is_read_without_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_closing(quantity_available=2, price_cents=4_900) as closing:
        start = (await closing.sale()).start_ms
        closing.gate.clock.advance_ms(start + 3 * MINUTE + 3 * SECOND - closing.gate.clock.now_ms())
        alert = Alert(rule="error-rate", value=0.5, worst=0.6, opened_ms=start, fired_ms=start)
        await closing.shop.monitor.note_alerts(closing.sale_id, [alert])
        await closing.shop.monitor.add_traffic(Traffic(codes={"ok": 2, "sold-out": 1_900}, took={8: 1_902}))
        await closing.buy("ann")
        await closing.buy("bob")
        await closing.verb("end")
        await closing.pass_time(11 * MINUTE)
        report = await closing.report()

    lines = shown(report, capsys)

    assert lines[1] == f"Final, as of {report['as_of']}; the last audit was in step."
    for line in (
        "units 2 sold, 0 held, 0 free",
        "revenue 98.00 EUR",
        "given back 0.00 EUR",
        "joined the line —",
        "sold out 3 min 03 s",
        "time to pay 0 ms for half, 0 ms for 95 %",
        "sold-out 1,900",
        "took up to 16.4 ms for half, up to 16.4 ms for 99 %",
    ):
        assert line in lines
    [fired] = [line for line in lines if line.startswith("error-rate ")]
    assert " FIRING 50.0% of all answers" in fired
    [end] = [line for line in lines if line.startswith("end ")]
    assert end.endswith(" done 0 ms status ENDED, paid 2, held 0, free 0")


async def test_report_kept_by_an_earlier_release_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_closing() as closing:
        await closing.verb("end")
        await closing.pass_time(11 * MINUTE)
        report = await closing.report()
    for name in ("why_not_final", "final_at_earliest"):
        del report[name]
    for name in ("joined", "cancelled_by_cause"):
        del report["orders"][name]

    lines = shown(report, capsys)

    assert "joined the line —" in lines
    assert "cancelled 0" in lines
