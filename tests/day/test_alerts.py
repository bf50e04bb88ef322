"""The rules of alarm: first bad sample, enough of them, worst value, and the end."""

import re
from pathlib import Path

import pytest

from doorbuster.domain.alerts import ALERT_RULES, RULES, Alert, judge, words_of
from doorbuster.engine.monitoring import Sample

EMERGENCIES = Path(__file__).parents[2] / "docs" / "operating" / "emergencies.md"


def run(figure: str, *values: float | None, **thresholds: float) -> list[str]:
    """What the alert of a figure says after each sample: `-` none, `pending`, `FIRING`, `over`."""
    told: list[str] = []
    known: dict[str, Alert] = {}
    for at, value in enumerate(values):
        for alert in judge({figure: value}, known, {n.replace("_", "-"): t for n, t in thresholds.items()}, at):
            known[alert.rule] = alert
        [alert] = list(known.values()) or [None]
        told.append(
            "-"
            if alert is None
            else "over"
            if alert.resolved_ms is not None
            else "FIRING"
            if alert.firing
            else "pending"
        )
        known = {rule: one for rule, one in known.items() if one.resolved_ms is None}
    return told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((0.0, 0.01), ["-", "-"]),
        ((0.02, 0.0), ["pending", "over"]),
        ((0.02, 0.5, 0.03), ["pending", "FIRING", "FIRING"]),
        ((0.5, 0.5, 0.0, 0.5, 0.0, 0.0), ["pending", "FIRING", "FIRING", "FIRING", "FIRING", "over"]),
        ((0.5, None, 0.5), ["pending", "pending", "FIRING"]),
        ((0.5, 0.5, None, None), ["pending", "FIRING", "FIRING", "FIRING"]),
        ((0.5, 0.5, 0.0, 0.0, 0.5), ["pending", "FIRING", "FIRING", "over", "pending"]),
    ],
)
def test_error_rate(values: tuple[float | None, ...], told: list[str]) -> None:
    assert run("error_rate", *values) == told


def test_figure_that_is_bad_when_it_is_low() -> None:
    assert run("gates_ready", 1.0, 0.0, 0.0, 1.0, 1.0) == ["-", "pending", "FIRING", "FIRING", "over"]


def test_rule_with_nothing_to_be_bad_ends_as_after_good_samples() -> None:
    [first] = judge({"p99_ms": 900.0}, {}, {}, 1)
    [second] = judge({"p99_ms": 900.0}, {"p99-ms": first}, {}, 2)
    [third] = judge({}, {"p99-ms": second}, {}, 3, idle={"p99-ms"})
    [fourth] = judge({}, {"p99-ms": third}, {}, 4, idle={"p99-ms"})
    assert [alert.firing for alert in (second, third, fourth)] == [True, True, False]
    assert (fourth.value, fourth.worst) == (900.0, 900.0)
    assert judge({"p99_ms": 900.0}, {}, {}, 5, idle={"p99-ms"}) == []


def test_thresholds_of_the_sale() -> None:
    assert run("p99_ms", 600.0, 600.0, p99_ms=700.0) == ["-", "-"]
    assert run("p99_ms", 100.0, 100.0, p99_ms=100.0) == ["pending", "FIRING"]


def test_worst_value_is_kept() -> None:
    [first] = judge({"error_rate": 0.5}, {}, {}, 1)
    [second] = judge({"error_rate": 0.9}, {"error-rate": first}, {}, 2)
    [third] = judge({"error_rate": 0.1}, {"error-rate": second}, {}, 3)
    assert (third.value, third.worst, third.opened_ms, third.fired_ms) == (0.1, 0.9, 1, 2)
    assert "10.0% of all answers" in words_of(third, {})


def test_every_rule_looks_at_a_figure_that_there_is() -> None:
    assert {rule.figure for rule in RULES} <= set(Sample.__struct_fields__)
    assert len(ALERT_RULES) == len(RULES)


def test_every_rule_has_a_section_for_the_person_on_duty() -> None:
    titles = re.findall(r"^## (.+)$", EMERGENCIES.read_text(), re.MULTILINE)
    sections = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert {rule.section for rule in RULES} <= sections
