"""The demo's proof catches what it claims to catch; the demo refuses what it cannot do."""

from collections.abc import Callable
from typing import Any

import pytest

from doorbuster.api.money import BreakView, ReconciliationView
from doorbuster.api.shapes import AuditView
from doorbuster.cli.demo import run
from doorbuster.cli.demo_proof import Counted, prove, prove_balance
from doorbuster.rehearsal.crowd import Result


class Facts:
    """A demo of two units that went well; each test spoils one thing."""

    def __init__(self) -> None:
        self.counted = Counted(
            paid_units=2,
            reserved_units=0,
            orders={"PAID": 2, "EXPIRED": 1},
            most_per_buyer=1,
            stored={"o1": "ann", "o2": "bob", "o3": "cy"},
            paid={"o1", "o2"},
        )
        self.audit = AuditView(
            verdict="in_step", sale_id="s", epoch=1, at="", available=2, free=0, held=0, sold=2, orders={}, log_size=9,
            log_head="", drifts=[], note="",
        )  # fmt: skip
        self.book: list[dict[str, Any]] = [
            {"order_id": "o1", "captured_cents": 100, "refunded_cents": 0},
            {"order_id": "o2", "captured_cents": 100, "refunded_cents": 0},
        ]
        self.result = Result(
            requests=9, arrived=3, gone=3, orders=3, paid=2, unknown=0, tired=0, answers={}, p50_ms=1, p99_ms=1,
            max_ms=1, acknowledged={"o1": "ann", "o2": "bob", "o3": "cy"}, paid_orders=["o1", "o2"],
        )  # fmt: skip

        self.balance = ReconciliationView(
            verdict="in_balance", sale_id="s", gateway="simulated", at="", charges=2, captured=2, captured_cents=200,
            refunded_cents=0, paid_orders=2, paid_cents=200, under_way=0, quarantined=0, breaks=[], note="",
        )  # fmt: skip

    def broken(self) -> list[str]:
        proof = prove(self.counted, self.audit, self.book, self.result, units=2, price_cents=100)
        proof.checks.append(prove_balance(self.balance))
        assert proof.held == all(check.held for check in proof.checks)
        return [check.claim for check in proof.checks if not check.held]


def one_too_many(facts: Facts) -> None:
    facts.counted.paid_units = 3


def crowd_gave_up(facts: Facts) -> None:
    facts.counted.paid_units, facts.result.tired = 1, 5


def one_left(facts: Facts) -> None:
    facts.counted.reserved_units, facts.counted.paid_units = 1, 1


def two_for_one(facts: Facts) -> None:
    facts.counted.most_per_buyer = 2


def forgotten(facts: Facts) -> None:
    del facts.counted.stored["o3"]


def somebody_elses(facts: Facts) -> None:
    facts.counted.stored["o3"] = "eve"


def charged_twice(facts: Facts) -> None:
    facts.book.append(dict(facts.book[0]))


def charged_for_nothing(facts: Facts) -> None:
    facts.book.append({"order_id": "o3", "captured_cents": 100, "refunded_cents": 0})


def never_charged(facts: Facts) -> None:
    facts.book.pop()


def wrong_amount(facts: Facts) -> None:
    facts.book[0]["captured_cents"] = 99


def audit_drifted(facts: Facts) -> None:
    facts.audit.verdict = "drifted"


def books_differ(facts: Facts) -> None:
    facts.balance.verdict = "breaks"
    facts.balance.breaks = [
        BreakView(
            key="k", order_id="o1", payment_id=None, kind="missing_money", expected="100 EUR", found="nothing",
            repair="operator", repaired=False,
        )
    ]  # fmt: skip


def sums_differ(facts: Facts) -> None:
    facts.balance.refunded_cents = 100


def money_under_way(facts: Facts) -> None:
    facts.balance.under_way = 1


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (one_too_many, "never one over"),
        (crowd_gave_up, "sold exactly"),
        (one_left, "nothing left hanging"),
        (two_for_one, "nobody has two"),
        (forgotten, "nothing acknowledged was lost"),
        (somebody_elses, "nothing acknowledged was lost"),
        (charged_twice, "charged means owns"),
        (charged_for_nothing, "charged means owns"),
        (never_charged, "charged means owns"),
        (wrong_amount, "charged means owns"),
        (audit_drifted, "the audit agrees"),
        (books_differ, "the books are one"),
        (sums_differ, "the books are one"),
        (money_under_way, "the books are one"),
    ],
)
def test_proof_names_what_is_broken(spoil: Callable[[Facts], None], claim: str) -> None:
    facts = Facts()
    assert facts.broken() == []

    spoil(facts)

    assert claim in facts.broken()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "lottery"}, "--mode lottery"),
        ({"gateway_chaos": "earthquake"}, "--gateway-chaos earthquake"),
        ({"units": 0}, "--units"),
        ({"buyers": -5}, "--buyers"),
        ({"abandon": 1.5}, "--abandon"),
        ({"abandon": 0.7, "decline": 0.7}, "at most 1"),
    ],
)
def test_demo_says_what_it_cannot_do(changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked: dict[str, Any] = {
        "units": 10, "buyers": 10, "mode": "race", "abandon": 0.2, "decline": 0.05, "gateway_chaos": "none", "seed": 1,
        "keep": False,
        "port": 0, "data_dir": None, "as_json": False, **changes,
    }  # fmt: skip

    code = run(**asked)

    assert code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
