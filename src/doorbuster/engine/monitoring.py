"""Looks at every running sale twice a minute, keeps what it saw, and alarms by rule.

Owns: what a sample is made of. A figure that cannot be read is None and counts as unread: nothing is ever made up.
Read next: `domain/alerts.py`, `agents/monitor.py`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec
import structlog

from doorbuster.domain.alerts import ALERT_RULES, Alert, judge, severity_of, words_of
from doorbuster.domain.audit import Verdict
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.transitions import SALE_OVER, SaleStatus
from doorbuster.engine import step_alarms
from doorbuster.engine.day_ports import PageCall
from doorbuster.engine.granting import may_move
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import AuditStore, Clock, OutcomeUnknown, SaleStore, StockStore, StoreUnavailable
from doorbuster.engine.scaling import Fleet
from doorbuster.engine.timeline_ports import TimelineStore

log = structlog.get_logger(__name__)

SAMPLE_MS: Final = 30_000
TRAFFIC_SLOT_MS: Final = 10_000
Figures: TypeAlias = dict[str, float | int | None]
"""Of a sample, by name."""
_OF_A_CROWD: Final = ("answers_per_s", "decisions_per_s", "error_rate", "p99_ms", "database_pool_share")
_ERRORS: Final = frozenset({"unavailable"})
_DECISIONS: Final = frozenset(
    {"sold-out", "all-held", "already-purchased", "limit-exceeded", "blocked", "not-started", "paused", "ended"}
)
"""Refusals that are decisions about a unit; with the orders made and the places given out in the line they are what
the engine decided."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of all gates in some time. `took` counts them by k: they took less than 2**k * 64 microseconds."""

    codes: Mapping[str, int] = {}
    took: Mapping[int, int] = {}

    @property
    def answers(self) -> int:
        return sum(self.codes.values())

    def quantile_ms(self, share: float) -> float | None:
        """An upper bound within a factor of two; None without answers."""
        total, seen = sum(self.took.values()), 0
        for power in sorted(self.took):
            seen += self.took[power]
            if seen >= share * total:
                return 2**power * 0.064
        return None


class LedgerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What only the ledger knows. `granted`: orders made between two sizes of the log."""

    expiry_lag_ms: float
    recirculation_lag_ms: float
    granted: float
    quarantined: float
    database_connections_share: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A sale at one moment. None: it could not be read, or says nothing of the sale while a rehearsal makes traffic of
    its own. Rates are since the sample before; those of answers and refusals are of all gates and all sales together.
    `decisions_per_s`: refusals of units, and of this sale orders made and numbers given out in the line."""

    at_ms: int
    status: str
    free: int
    held: int
    sold: int
    log_size: int
    waiting: int | None = None
    joined: int | None = None
    """Numbers given out in the line; of a race None."""
    answers_per_s: float | None = None
    decisions_per_s: float | None = None
    error_rate: float | None = None
    p99_ms: float | None = None
    granted_per_s: float | None = None
    expiry_lag_ms: float | None = None
    recirculation_lag_ms: float | None = None
    quarantined: float | None = None
    valkey_memory_bytes: int | None = None
    valkey_memory_share: float | None = None
    database_connections_share: float | None = None
    database_pool_share: float | None = None
    gates_ready: float | None = None
    line_stands: float | None = None
    """Units that are free while buyers wait and none was granted any."""
    drifted: float | None = None
    unread: float = 0.0
    rehearsing: bool = False


class MonitorStore(Protocol):
    """May raise StoreUnavailable or OutcomeUnknown."""

    async def add_traffic(self, traffic: Traffic) -> None:
        """Of one gate since it last said so. Not idempotent: after OutcomeUnknown it is not repeated."""
        ...

    async def traffic(self, since_ms: int, until_ms: int) -> Traffic: ...
    async def take_mark(self, sale_id: str, *, every_ms: int) -> bool:
        """Whether the caller is to sample the sale now: one caller in `every_ms`."""
        ...

    async def ledger(self, sale_id: str, *, after: int, until: int) -> LedgerFigures:
        """`after` and `until` are sizes of the log."""
        ...

    async def keep(self, sale_id: str, sample: Sample) -> None: ...
    async def samples(self, sale_id: str, *, before_ms: int, limit: int) -> Sequence[Sample]:
        """The newest first."""
        ...

    async def open_alerts(self, sale_id: str) -> Mapping[str, Alert]: ...
    async def note_alerts(self, sale_id: str, alerts: Sequence[Alert]) -> None: ...
    async def alarmed(self) -> Sequence[str]:
        """Sales with open alerts."""
        ...

    async def alerts(self, sale_id: str, *, limit: int) -> Sequence[Alert]:
        """Those that fired, the newest first."""
        ...

    async def prune(self) -> int:
        """Drop what is older than thirty days and over."""
        ...


class Memory(Protocol):
    async def memory(self, sale_id: str) -> tuple[int, int]:
        """Bytes used by the server that has this sale, and how many it may use, without a limit those of its machine;
        0: it does not say."""
        ...


class Monitoring:
    def __init__(
        self,
        *,
        store: MonitorStore,
        sales: SaleStore,
        stock: StockStore,
        memory: Memory,
        audits: AuditStore,
        fleet: Fleet,
        timeline: TimelineStore,
        on_call: OnCall,
        clock: Clock,
        pool_share: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`pool_share`: of this process itself, which is no gate."""
        self._store = store
        self._sales = sales
        self._stock = stock
        self._memory = memory
        self._audits = audits
        self._fleet = fleet
        self._timeline = timeline
        self._on_call = on_call
        self._clock = clock
        self._own_pool_share = pool_share
        self._pool_share = 0.0

    async def run_once(self) -> Mapping[str, int]:
        """One pass over the live sales; those that another worker sampled just now are left to it."""
        sampled = fired = 0
        self._pool_share = self._own_pool_share()
        # Read before the sales: what is open now belongs to a sale that was there.
        matters, alarmed = await self._on_call.matters(), await self._store.alarmed()
        sales = await self._sales.live()
        watched = [sale for sale in sales if not sale.rehearsal_of and self._watched(sale)]
        await self._end_alerts(set(alarmed) - {sale.sale_id for sale in watched})
        await self._end_matters(matters, {sale.sale_id for sale in sales})
        for sale in watched:
            if not await self._store.take_mark(sale.sale_id, every_ms=SAMPLE_MS):
                continue
            sample = await self.look(sale, rehearsing=any(one.rehearsal_of for one in sales))
            await self._store.keep(sale.sale_id, sample)
            fired += await self._alarm(sale, sample)
            sampled += 1
        return {"sampled": sampled, "fired": fired}

    def _watched(self, sale: Sale) -> bool:
        """From an hour before the start until nothing is held any more."""
        return sale.status is not SaleStatus.SCHEDULED or sale.start_ms - self._clock.now_ms() <= 3_600_000

    async def look(self, sale: Sale, *, rehearsing: bool = False) -> Sample:
        """A sample of the sale now. What cannot be read is None."""
        now = self._clock.now_ms()
        before = next(iter(await self._store.samples(sale.sale_id, before_ms=now, limit=1)), None)
        # Slots that are whole: what is being counted now belongs to the next sample.
        until = now - now % TRAFFIC_SLOT_MS
        since = max(until - 4 * SAMPLE_MS, 0 if before is None else before.at_ms - before.at_ms % TRAFFIC_SLOT_MS)
        since = min(since, until - TRAFFIC_SLOT_MS) if before is not None else until - SAMPLE_MS
        figures: dict[str, float | int | None] = {}
        unread = 0
        for read in (
            lambda: self._traffic(since, until),
            lambda: self._of_ledger(sale, before, now),
            lambda: self._of_stock(sale),
            self._of_gates,
            lambda: self._of_audit(sale),
        ):
            try:
                figures |= await read()
            except (StoreUnavailable, OutcomeUnknown):
                unread += 1
        figures["decisions_per_s"] = _decisions(sale, figures, before, now)
        figures["line_stands"] = _stands(sale, figures, now)
        if rehearsing or (before is not None and before.rehearsing):
            figures |= dict.fromkeys(_OF_A_CROWD)  # ours: it says nothing of the sale
        return Sample(
            at_ms=now,
            status=sale.status.value,
            free=sale.quantity_available - sale.quantity_sold,
            held=sale.quantity_sold - sale.quantity_paid,
            sold=sale.quantity_paid,
            log_size=sale.log_size,
            unread=float(unread),
            rehearsing=rehearsing,
            **figures,  # pyright: ignore[reportArgumentType] - by name, and checked by the struct's users
        )

    async def _traffic(self, since_ms: int, until_ms: int) -> Figures:
        found = await self._store.traffic(since_ms, until_ms)
        seconds = max(1.0, (until_ms - since_ms) / 1000)
        errors = sum(count for code, count in found.codes.items() if code in _ERRORS)
        decisions = sum(count for code, count in found.codes.items() if code in _DECISIONS)
        return {
            "answers_per_s": round(found.answers / seconds, 1),
            "decisions_per_s": round(decisions / seconds, 1),
            "error_rate": errors / found.answers if found.answers else 0.0,
            "p99_ms": found.quantile_ms(0.99),
        }

    async def _of_ledger(self, sale: Sale, before: Sample | None, now_ms: int) -> Figures:
        after = sale.log_size if before is None else before.log_size
        found = await self._store.ledger(sale.sale_id, after=after, until=sale.log_size)
        seconds = None if before is None else max(0.001, (now_ms - before.at_ms) / 1000)
        return {
            "expiry_lag_ms": found.expiry_lag_ms,
            "recirculation_lag_ms": found.recirculation_lag_ms,
            "quarantined": found.quarantined,
            "database_connections_share": found.database_connections_share,
            "granted_per_s": None if seconds is None else round(found.granted / seconds, 2),
        }

    async def _of_stock(self, sale: Sale) -> Figures:
        image = await self._stock.summary(sale.sale_id)
        used, most = await self._memory.memory(sale.sale_id)
        return {
            "waiting": None if image is None else image.waiting,
            "joined": None if image is None or image.line is None else image.line.number_next,
            "valkey_memory_bytes": used,
            "valkey_memory_share": used / most if most else None,
        }

    async def _of_gates(self) -> Figures:
        gates = await self._fleet.gates()
        return {
            "gates_ready": float(sum(gate.ready for gate in gates)),
            "database_pool_share": round(max([gate.pool_share for gate in gates] + [self._pool_share]), 2),
        }

    async def _of_audit(self, sale: Sale) -> Figures:
        latest = await self._audits.latest(sale.sale_id)
        return {"drifted": None if latest is None else float(latest.verdict is Verdict.DRIFTED)}

    async def _alarm(self, sale: Sale, sample: Sample) -> int:
        """Open, fire and resolve; whoever is on duty hears of what fires, and of its end."""
        thresholds = (await self._timeline.plan(sale.sale_id)).thresholds
        known = await self._store.open_alerts(sale.sale_id)
        changed = judge(msgspec.structs.asdict(sample), known, thresholds, sample.at_ms, idle=_idle(sale, sample))
        await self._store.note_alerts(sale.sale_id, changed)
        fired = 0
        for alert in changed:
            key = f"{alert.rule} {sale.sale_id}"
            if alert.firing:
                fired += not (alert.rule in known and known[alert.rule].firing)
                await self._on_call.call(
                    PageCall(
                        key=key,
                        title=f"{alert.rule}: {sale.title}",
                        text=words_of(alert, thresholds),
                        severity=severity_of(alert),
                        sale_id=sale.sale_id,
                    )
                )
            elif alert.resolved_ms is not None and alert.fired_ms is not None:
                await self._on_call.resolve(key, f"{alert.rule} is good again")
        return fired

    async def _end_alerts(self, sale_ids: Collection[str]) -> None:
        """Of sales that nobody looks at any more: they are over, or were put off."""
        for sale_id in sale_ids:
            now = self._clock.now_ms()
            known = await self._store.open_alerts(sale_id)
            ended = [msgspec.structs.replace(alert, resolved_ms=now) for alert in known.values()]
            await self._store.note_alerts(sale_id, ended)

    async def _end_matters(self, matters: Sequence[PageCall], live: Collection[str]) -> None:
        """Pages whose alert is over (whoever ended it may have died before it said so), or whose step or sale is."""
        for call in matters:
            rule = call.key.partition(" ")[0]
            if call.sale_id and call.sale_id not in live:
                await self._on_call.resolve(call.key, "the sale is over")
            elif await step_alarms.is_over(self._timeline, call.key):
                await self._on_call.resolve(call.key, "the step is done, left out or planned anew")
            elif call.sale_id and rule in ALERT_RULES:
                alert = (await self._store.open_alerts(call.sale_id)).get(rule)
                if alert is None or not alert.firing:
                    await self._on_call.resolve(call.key, f"{rule} does not alarm any more")


def _decisions(sale: Sale, figures: Figures, before: Sample | None, now_ms: int) -> float | None:
    refusals, granted = figures.get("decisions_per_s"), figures.get("granted_per_s")
    if refusals is None or before is None:
        return refusals  # of the first sample nobody knows what was granted before it
    joined = before.joined if sale.mode is SaleMode.RACE else figures.get("joined")
    if granted is None or (sale.mode is not SaleMode.RACE and joined is None):
        return None
    joins = max(0, (joined or 0) - (before.joined or 0)) * 1000 / max(1, now_ms - before.at_ms)
    return round(refusals + granted + joins, 1)


def _stands(sale: Sale, figures: Figures, now_ms: int) -> float | None:
    free, waiting, granted = (
        sale.quantity_available - sale.quantity_sold,
        figures.get("waiting"),
        figures.get("granted_per_s"),
    )
    if sale.status is not SaleStatus.ACTIVE or not may_move(sale, now_ms):
        return 0.0
    if waiting is None or granted is None:
        return None
    return float(free) if waiting and not granted else 0.0


def _idle(sale: Sale, sample: Sample) -> Collection[str]:
    """Rules that look at buyers, when none are there."""
    idle: set[str] = set()
    if sale.status in SALE_OVER:
        idle.add("gates-ready")
    if sample.answers_per_s is not None and sample.p99_ms is None:
        idle.add("p99-ms")
    return idle
