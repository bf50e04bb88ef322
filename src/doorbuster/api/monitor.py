"""The operator's view of a running sale: samples and alerts.

Owns: what each answers, in HTTP's words. Read next: `engine/monitoring.py`, `domain/alerts.py`.
"""

from collections.abc import Callable

import msgspec

from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import id_of, limit_of, query_of
from doorbuster.api.routes import Caller, Handler, Parameter, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import stamp, stamp_or_none
from doorbuster.domain import limits
from doorbuster.domain.alerts import Alert, severity_of, words_of
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.monitoring import Sample
from doorbuster.engine.ports import Clock, OutcomeUnknown, StoreUnavailable

_LIMIT = {
    "limit": Parameter(
        "how many, the newest first",
        {"type": "integer", "minimum": 1, "maximum": limits.PAGE_SIZE_MAX, "default": limits.PAGE_SIZE_DEFAULT},
    ),
}


class SampleView(msgspec.Struct, kw_only=True):
    """A sale at one moment; null: it could not be read, or says nothing of the sale while a rehearsal makes traffic
    of its own. Rates of answers and refusals are of all gates and all sales together."""

    at: str
    status: str
    free: int
    held: int
    sold: int
    waiting: int | None
    answers_per_s: float | None
    decisions_per_s: float | None
    granted_per_s: float | None
    error_rate: float | None
    p99_ms: float | None
    expiry_lag_ms: float | None
    recirculation_lag_ms: float | None
    quarantined: float | None
    valkey_memory_bytes: int | None
    valkey_memory_share: float | None
    database_connections_share: float | None
    database_pool_share: float | None
    gates_ready: float | None
    line_stands: float | None
    unread: float
    rehearsing: bool


class SampleList(msgspec.Struct):
    samples: list[SampleView]


class AlertView(msgspec.Struct, kw_only=True):
    """`firing` until `resolved_at`. `worst` is the worst value so far."""

    rule: str
    severity: str
    firing: bool
    fired_at: str | None
    resolved_at: str | None
    value: float
    worst: float
    words: str


class AlertList(msgspec.Struct):
    firing: int
    alerts: list[AlertView]


class MonitorRoutes:
    def __init__(self, services: Services, clock: Clock) -> None:
        self._services = services
        self._clock = clock

    async def samples(self, request: Request) -> Reply | Refusal:
        limit, sale_id = limit_of(query_of(request, "limit")), id_of(request, "sale_id")
        sale = await self._services.operating.read(sale_id)
        if isinstance(sale, Refusal):
            return sale
        try:
            found = await self._services.monitor.samples(sale_id, before_ms=self._clock.now_ms() + 1, limit=limit)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        return json_reply(200, SampleList([_sample_view(sample) for sample in found]))

    async def alerts(self, request: Request) -> Reply | Refusal:
        limit, sale_id = limit_of(query_of(request, "limit")), id_of(request, "sale_id")
        sale = await self._services.operating.read(sale_id)
        if isinstance(sale, Refusal):
            return sale
        try:
            found = await self._services.monitor.alerts(sale_id, limit=limit)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        views = [alert_view(alert) for alert in found]
        return json_reply(200, AlertList(firing=sum(view.firing for view in views), alerts=views))


def monitor_routes(services: Services, clock: Clock, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on, sale = MonitorRoutes(services, clock), "/v1/admin/sales/{sale_id}"
    return [
        Route(
            method="GET", path=f"{sale}/samples", name="list-samples", caller=Caller.OPERATOR, query=_LIMIT,
            summary="What the sale looked like every half minute, the newest first", handler=guarded(on.samples),
            answers={200: SampleList}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="GET", path=f"{sale}/alerts", name="list-alerts", caller=Caller.OPERATOR, query=_LIMIT,
            summary="What was alarming about the sale, the newest first", handler=guarded(on.alerts),
            answers={200: AlertList}, codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip


def _sample_view(sample: Sample) -> SampleView:
    fields = {name: getattr(sample, name) for name in SampleView.__struct_fields__ if name != "at"}
    return SampleView(at=stamp(sample.at_ms), **fields)


def alert_view(alert: Alert) -> AlertView:
    return AlertView(
        rule=alert.rule,
        severity=severity_of(alert),
        firing=alert.firing,
        fired_at=stamp_or_none(alert.fired_ms),
        resolved_at=stamp_or_none(alert.resolved_ms),
        value=alert.value,
        worst=alert.worst,
        words=words_of(alert, {}),
    )
