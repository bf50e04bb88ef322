"""What rehearsals need from the world: a store, and a crowd.

Owns: the words of both. Read next: `rehearsing.py`.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.rehearsal import Cast, Counted, Seen, Sheet, Wish
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.engine.ports import Actor

LEASE_MS: Final = 20_000
"""A rehearsal whose worker was not heard of for this long is cleared away by another."""


class RehearsalState(StrEnum):
    ASKED = "asked"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """A rehearsal as stored. `words` say why it was stopped; `progress` is the crowd at its last word."""

    rehearsal_id: str
    sale_id: str
    state: RehearsalState
    wish: Wish
    asked_by: str
    reason: str
    asked_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    shadow_sale_id: str = ""
    words: str = ""
    progress: Mapping[str, Any] = {}
    sheet: Sheet | None = None

    @property
    def over(self) -> bool:
        return self.state in (RehearsalState.DONE, RehearsalState.STOPPED)


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """`crashed`: another worker had begun it and is gone. `secret` signs the tokens of its crowd."""

    rehearsal: Rehearsal
    crashed: bool
    secret: bytes


class RehearsalDesk(Protocol):
    """Where rehearsals are asked for. May raise StoreUnavailable or OutcomeUnknown; every method may be repeated."""

    async def ask(self, rehearsal_id: str, sale_id: str, wish: Wish, actor: Actor) -> Rehearsal | Refusal:
        """Put it down to be done. CONFLICT while one is under way, or, unless forced, while a real sale is on or begins
        within `CLEAR_MS`."""
        ...

    async def latest(self, sale_id: str) -> Rehearsal | None: ...
    async def get(self, rehearsal_id: str) -> Rehearsal | None: ...

    async def stop(self, sale_id: str, actor: Actor) -> None:
        """Wish that the one under way ends; one that nobody has begun is over at once."""
        ...


class RehearsalStore(RehearsalDesk, Protocol):
    """What a worker needs beside."""

    async def claim(self, lease: str) -> Claimed | None:
        """What was asked for, or what a dead worker left. What was asked for and may not begin any more, for what
        `ask` would refuse it now, is over."""
        ...

    async def create_shadow(self, rehearsal: Rehearsal, lease: str, shadow_id: str, terms: SaleTerms) -> Sale | None:
        """The shadow sale, with the block list of its sale. None: the rehearsal is not ours any more."""
        ...

    async def renew(self, rehearsal_id: str, lease: str, progress: Mapping[str, Any]) -> str | None:
        """Why it should end, in words: somebody wishes it, the sale is over, or, unless it is forced, a real sale is on
        or begins within `GIVE_WAY_MS`. Empty: go on. None: it is not ours any more."""
        ...

    async def count(self, shadow_id: str, acknowledged: Mapping[str, str]) -> Counted: ...

    async def remove_shadow(self, shadow_id: str) -> None:
        """All its rows. Refuses to touch a sale that is no rehearsal; does nothing if it is gone."""
        ...

    async def note(self, rehearsal_id: str, lease: str, words: str, sheet: Sheet | None) -> bool:
        """How it ended, before it is cleared away: whoever has to do that finishes it so."""
        ...

    async def finish(
        self, rehearsal_id: str, lease: str, state: RehearsalState, words: str, sheet: Sheet | None
    ) -> bool: ...

    async def secrets(self) -> Mapping[str, bytes]:
        """By rehearsal id, the secrets of the crowds that are at work."""
        ...


class CrowdOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a crowd is told. `seed` gives the same crowd again."""

    rehearsal_id: str
    url: str
    sale_id: str
    mode: str
    who: Cast
    secret: bytes
    seconds: int
    opens_ms: int
    seed: int


class CrowdSeen(msgspec.Struct, frozen=True, kw_only=True):
    seen: Seen
    acknowledged: Mapping[str, str]
    """Order to buyer."""


class Crowd(Protocol):
    async def run(self, order: CrowdOrder, told: Callable[[Mapping[str, Any]], None]) -> CrowdSeen:
        """Until everybody has gone home. When cancelled, nobody is left. CrowdFailed if it could not be made."""
        ...


class CrowdFailed(Exception):
    """There was no crowd; the words say why."""
