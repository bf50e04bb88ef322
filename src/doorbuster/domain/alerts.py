"""When a figure of a running sale is a reason to alarm, and when it is over.

Owns: the rules, their thresholds, and how an alert opens and ends. Pure: figures in, alerts out. A figure that could
not be read is None, and no rule takes None for good or bad. Read next: `engine/monitoring.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

GOOD_TO_RESOLVE: Final = 2
"""Samples in a row that have to be good before an alert ends: one good moment in a bad minute is none."""


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """`figure` at or above `threshold` for `samples` samples in a row (below it, if `below`)."""

    name: str
    figure: str
    threshold: float
    samples: int = 2
    below: bool = False
    severity: str = "critical"
    words: str
    """What it means and what to do; `{value}` and `{threshold}` are filled in."""
    section: str
    """Of docs/operating/emergencies.md."""


RULES: Final = (
    AlertRule(
        name="error-rate", figure="error_rate", threshold=0.02, section="errors",
        words="{value:.1%} of all answers are `unavailable`; a store does not answer, or a gate is overloaded",
    ),
    AlertRule(
        name="p99-ms", figure="p99_ms", threshold=500.0, severity="warning", section="slow-answers",
        words="one answer in a hundred takes {value:.0f} ms; add gates",
    ),
    AlertRule(
        name="valkey-memory", figure="valkey_memory_share", threshold=0.8, section="valkey-memory",
        words="Valkey has used {value:.0%} of the memory it may have; when it is full nobody can join or reserve",
    ),
    AlertRule(
        name="database-connections", figure="database_connections_share", threshold=0.9, severity="warning",
        section="database-connections",
        words="{value:.0%} of PostgreSQL's connections are in use; a gate that starts now may find none",
    ),
    AlertRule(
        name="database-pool", figure="database_pool_share", threshold=2.0, severity="warning",
        section="slow-answers",
        words="a gate had {value:.1f} times as many calls to PostgreSQL as connections for them; add gates",
    ),
    AlertRule(
        name="expiry-lag", figure="expiry_lag_ms", threshold=5_000.0, samples=1, section="units-do-not-come-back",
        words="a hold has been over for {value:.0f} ms and its unit is not back; is a worker running?",
    ),
    AlertRule(
        name="recirculation-lag", figure="recirculation_lag_ms", threshold=5_000.0, samples=1,
        section="units-do-not-come-back",
        words="a unit that came back has waited for {value:.0f} ms to be on sale; is a worker running?",
    ),
    AlertRule(
        name="line-stands", figure="line_stands", threshold=1.0, section="units-do-not-come-back",
        words="{value:.0f} units are free, buyers wait, and nobody was granted any; is a worker running?",
    ),
    AlertRule(
        name="gates-ready", figure="gates_ready", threshold=1.0, below=True, section="too-few-gates",
        words="{value:.0f} gates are ready; buyers get no answer",
    ),
    AlertRule(
        name="drift", figure="drifted", threshold=1.0, samples=1, section="drift",
        words="the audit found that the sides of the sale are not in step",
    ),
    AlertRule(
        name="quarantine", figure="quarantined", threshold=1.0, samples=1, severity="warning", section="quarantine",
        words="{value:.0f} payments have no end and withhold units; a person has to look at the gateway",
    ),
    AlertRule(
        name="blind", figure="unread", threshold=1.0, section="errors",
        words="{value:.0f} groups of figures of the sale could not be read; a store does not answer",
    ),
)  # fmt: skip
ALERT_RULES: Final = frozenset(rule.name for rule in RULES)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`bad` and `good` count samples in a row. It fires from `fired_ms` until `resolved_ms`."""

    rule: str
    value: float
    worst: float
    bad: int = 1
    good: int = 0
    opened_ms: int
    fired_ms: int | None = None
    resolved_ms: int | None = None

    @property
    def firing(self) -> bool:
        return self.fired_ms is not None and self.resolved_ms is None


def judge(
    figures: Mapping[str, float | None],
    open_alerts: Mapping[str, Alert],
    thresholds: Mapping[str, float],
    now_ms: int,
    *,
    idle: Collection[str] = (),
) -> Sequence[Alert]:
    """The alerts that changed: opened, fired, went on, resolved. One that never fired and is good again is resolved,
    too, and nobody needs to hear of it. `idle`: rules with nothing to be bad any more, such as answers when nobody
    asks; each such sample is a good one."""
    changed: list[Alert] = []
    for rule in RULES:
        known = open_alerts.get(rule.name)
        if rule.name in idle:
            changed += [] if known is None else [_better(known, known.value, now_ms)]
            continue
        value = figures.get(rule.figure)
        if value is None:
            continue
        threshold = thresholds.get(rule.name, rule.threshold)
        is_bad = value < threshold if rule.below else value >= threshold
        if known is None and not is_bad:
            continue
        changed.append(_next(rule, known, value, now_ms) if is_bad else _better(known, value, now_ms))
    return changed


def _next(rule: AlertRule, known: Alert | None, value: float, now_ms: int) -> Alert:
    if known is None:
        known = Alert(rule=rule.name, value=value, worst=value, bad=0, opened_ms=now_ms)
    bad = known.bad + 1
    fired = known.fired_ms if known.fired_ms is not None else (now_ms if bad >= rule.samples else None)
    worst = min(known.worst, value) if rule.below else max(known.worst, value)
    return msgspec.structs.replace(known, value=value, worst=worst, bad=bad, good=0, fired_ms=fired)


def _better(known: Alert | None, value: float, now_ms: int) -> Alert:
    assert known is not None
    good = known.good + 1
    over = good >= GOOD_TO_RESOLVE or known.fired_ms is None
    return msgspec.structs.replace(known, value=value, good=good, bad=0, resolved_ms=now_ms if over else None)


def words_of(alert: Alert, thresholds: Mapping[str, float]) -> str:
    """What the person on duty reads."""
    rule = next(rule for rule in RULES if rule.name == alert.rule)
    said = rule.words.format(value=alert.value, threshold=thresholds.get(rule.name, rule.threshold))
    return f"{said}. docs/operating/emergencies.md#{rule.section}"


def severity_of(alert: Alert) -> str:
    return next(rule.severity for rule in RULES if rule.name == alert.rule)
