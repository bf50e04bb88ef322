"""What the HTTP layer needs from the engine: the use cases, and a few words about the process itself."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from doorbuster.engine.actions import ActionStore
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.external import External
from doorbuster.engine.money_ports import ChargeStore
from doorbuster.engine.monitoring import MonitorStore
from doorbuster.engine.news import Newsroom
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.passes import Passes
from doorbuster.engine.paying import Paying
from doorbuster.engine.planning import Planning
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.reconciling import Reconciler
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.rehearsing import Rehearsing
from doorbuster.engine.reporting import Reporting
from doorbuster.engine.scaling import Fleet
from doorbuster.engine.selling import Selling
from doorbuster.engine.shop_endpoints import Webhooks
from doorbuster.engine.waitlist import Waitlist
from doorbuster.engine.watching import LineWatch


class Counts(Protocol):
    """Counts answers by code; called once per request, so it has to be cheap."""

    def count(self, code: str) -> None: ...
    def took(self, seconds: float) -> None: ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gate answers with. `ready` names what is not: an empty list means ready."""

    selling: Selling
    board: SaleBoard
    ordering: Ordering
    operating: Operating
    auditing: Auditing
    paying: Paying
    queueing: Queueing
    drawing: Drawing
    watch: LineWatch
    reporting: Reporting
    planning: Planning
    waitlist: Waitlist
    rehearsing: Rehearsing
    fleet: Fleet
    monitor: MonitorStore
    actions: ActionStore
    webhooks: Webhooks
    refunding: Refunding
    reconciler: Reconciler
    charges: ChargeStore
    newsroom: Newsroom
    passes: Passes
    external: External
    ready: Callable[[], Awaitable[list[str]]]
    metrics: Callable[[], Awaitable[bytes]]
    counters: Counts
    book: Callable[[], Awaitable[Sequence[object]]] | None = None
    """The simulated gateway's own list of charges; None with a real gateway, whose book is not ours to show."""
