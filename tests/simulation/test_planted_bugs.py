"""The checkers themselves: each safeguard is taken away, and some world must notice it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from doorbuster.domain.order import Hold
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import CommitBatch, Committed, CommitWord, ImageSummary, PendingRelease, TakenOne
from doorbuster.engine.rebuilding import Keeper
from doorbuster.engine.selling import Selling
from doorbuster.reference.shop import ReferenceShop
from doorbuster.simulation.world import Plan, draw
from doorbuster.simulation.worlds import simulate

Spoil = Callable[[ReferenceShop], None]
WORLDS = 8


def what_worlds_notice(spoil: Spoil, promise: str, faults: Sequence[str], changes: dict[str, Any]) -> list[str]:
    """What worlds with these faults find broken, up to the first that names the promise."""
    found: list[str] = []
    for seed in range(WORLDS):
        finding = simulate(seed, plan=bad_world(seed, faults, changes), spoil=spoil)
        found += finding.broken
        if any(broken.startswith(promise) for broken in finding.broken):
            break
    return found


def bad_world(seed: int, faults: Sequence[str], changes: dict[str, Any]) -> Plan:
    wanted = {"units": 3, "buyers": 10, "limit": 1, "ttl_s": 5, "reply_lost": 0.05, "faults": tuple(faults)}
    return msgspec.structs.replace(draw(seed), **{**wanted, **changes})


def no_limit_guard(shop: ReferenceShop) -> None:
    """The limit is checked in Valkey only (A12): a world in which Valkey forgets sells a buyer two."""
    honest = shop.orders.commit

    async def commit(batch: CommitBatch) -> Sequence[Committed]:
        sale = shop.ledger.sales[batch.sale_id]
        shop.ledger.sales[batch.sale_id] = msgspec.structs.replace(sale, per_user_limit=100)
        try:
            return await honest(batch)
        finally:
            now = shop.ledger.sales[batch.sale_id]
            shop.ledger.sales[batch.sale_id] = msgspec.structs.replace(now, per_user_limit=sale.per_user_limit)

    shop.orders.commit = commit  # pyright: ignore[reportAttributeAccessIssue]


def acknowledged_and_lost(shop: ReferenceShop) -> None:
    """A commit that says it happened and did not."""
    honest = shop.orders.commit
    calls = 0

    async def commit(batch: CommitBatch) -> Sequence[Committed]:
        nonlocal calls
        calls += 1
        answers = await honest(batch)
        if calls % 3 == 0:
            for answer in answers:
                if answer.word is CommitWord.COMMITTED and answer.order is not None:
                    shop.ledger.orders.pop(answer.order.order_id, None)
        return answers

    shop.orders.commit = commit  # pyright: ignore[reportAttributeAccessIssue]


def releases_are_lost(shop: ReferenceShop) -> None:
    """The outbox row is closed although the counter never took it (A1)."""

    async def pending_releases(*, limit: int) -> Sequence[PendingRelease]:
        del limit
        for release_id in list(shop.ledger.releases):
            del shop.ledger.releases[release_id]
        return []

    shop.orders.pending_releases = pending_releases  # pyright: ignore[reportAttributeAccessIssue]


def holds_never_expire(shop: ReferenceShop) -> None:
    """A TTL that is only a label."""

    async def expire_due(*, limit: int) -> int:
        del limit
        return 0

    shop.orders.expire_due = expire_due  # pyright: ignore[reportAttributeAccessIssue]


def orphans_stay(shop: ReferenceShop) -> None:
    """Nobody looks for holds that never became orders (A1)."""

    async def pending_before(sale_id: str, before_ms: int, limit: int) -> Sequence[Hold]:
        del sale_id, before_ms, limit
        return []

    shop.stock.pending_before = pending_before  # pyright: ignore[reportAttributeAccessIssue]


def doubt_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is believed once it is there, so that only the ledger's guards are left."""
    honest = Keeper._reason

    def reason(keeper: Keeper, sale: Sale, image: ImageSummary | None) -> str:
        return honest(keeper, sale, image) if image is None else ""

    def no_doubt(selling: Selling, sale: Sale, answer: TakenOne) -> str:
        del selling, sale, answer
        return ""

    monkeypatch.setattr(Selling, "_doubt", no_doubt)
    monkeypatch.setattr(Keeper, "_reason", reason)


THROWN_BACK = {"abandon": 0.6, "greedy": 0.5, "buyers": 20, "units": 7, "ttl_s": 3, "faulty_s": 20.0}
LEAVING = {"leave": 0.5, "slow": 0.3, "reply_lost": 0.2, "buyers": 40, "faulty_s": 20.0}
PLANTED: list[tuple[Spoil, tuple[str, ...], dict[str, Any], str]] = [
    (acknowledged_and_lost, (), {}, "I4"),
    (releases_are_lost, (), {"abandon": 0.6}, "I3"),
    (holds_never_expire, (), {"abandon": 0.6}, "I3"),
    (orphans_stay, ("kill_gate",), LEAVING, "I3"),
]
GUARDS: list[tuple[Spoil, str]] = [(no_limit_guard, "I6")]


@pytest.mark.parametrize(("spoil", "faults", "changes", "promise"), PLANTED, ids=[e[0].__name__ for e in PLANTED])
def test_worlds_notice_a_missing_safeguard(
    spoil: Spoil, faults: tuple[str, ...], changes: dict[str, Any], promise: str
) -> None:
    """At least one of a few worlds names the promise that the safeguard keeps."""
    noticed = what_worlds_notice(spoil, promise, faults, changes)

    assert any(broken.startswith(promise) for broken in noticed), noticed


@pytest.mark.parametrize(("spoil", "promise"), GUARDS, ids=[e[0].__name__ for e in GUARDS])
def test_worlds_notice_a_missing_guard_of_the_ledger(
    spoil: Spoil, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's guards are the last line: they show only where the lines before them are gone too."""
    doubt_nothing(monkeypatch)

    noticed = what_worlds_notice(spoil, promise, ("stock_thrown_back",), THROWN_BACK)

    assert any(broken.startswith(promise) for broken in noticed), noticed


@pytest.mark.parametrize("seed", range(3))
def test_guards_of_the_ledger_hold_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with the guards in place no unit is oversold even by gates that believe every image."""
    doubt_nothing(monkeypatch)
    plan = bad_world(seed, ("stock_thrown_back",), THROWN_BACK)

    finding = simulate(seed, plan=plan)

    assert not [broken for broken in finding.broken if broken.startswith(("I1", "I4", "I5", "I6"))]
