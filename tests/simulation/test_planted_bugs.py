"""The checkers themselves: each safeguard is taken away, and some world must notice it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from doorbuster.domain.order import Hold
from doorbuster.engine.ports import CommitBatch, Committed, CommitWord, PendingRelease
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


LEAVING = {"leave": 0.5, "slow": 0.3, "reply_lost": 0.2, "buyers": 40, "faulty_s": 20.0}
PLANTED: list[tuple[Spoil, tuple[str, ...], dict[str, Any], str]] = [
    (acknowledged_and_lost, (), {}, "I4"),
    (releases_are_lost, (), {"abandon": 0.6}, "I3"),
    (holds_never_expire, (), {"abandon": 0.6}, "I3"),
    (orphans_stay, ("kill_gate",), LEAVING, "I3"),
]


@pytest.mark.parametrize(("spoil", "faults", "changes", "promise"), PLANTED, ids=[e[0].__name__ for e in PLANTED])
def test_worlds_notice_a_missing_safeguard(
    spoil: Spoil, faults: tuple[str, ...], changes: dict[str, Any], promise: str
) -> None:
    """At least one of a few worlds names the promise that the safeguard keeps."""
    noticed = what_worlds_notice(spoil, promise, faults, changes)

    assert any(broken.startswith(promise) for broken in noticed), noticed
