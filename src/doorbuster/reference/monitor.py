"""Traffic, samples and alerts in memory: implements `engine.monitoring.MonitorStore`.

Owns: rows in lists. What only a real ledger has (lags, connections) is told by the test that needs it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from doorbuster.domain.alerts import Alert
from doorbuster.engine.monitoring import TRAFFIC_SLOT_MS, LedgerFigures, Sample, Traffic
from doorbuster.engine.ports import Clock


class ReferenceMonitor:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.figures = LedgerFigures(
            expiry_lag_ms=0.0, recirculation_lag_ms=0.0, granted=0.0, quarantined=0.0, database_connections_share=0.1
        )
        self._slots: list[tuple[int, Traffic]] = []
        self._marks: dict[str, int] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._alerts: dict[str, list[Alert]] = {}

    async def add_traffic(self, traffic: Traffic) -> None:
        now = self._clock.now_ms()
        self._slots.append((now - now % TRAFFIC_SLOT_MS, traffic))

    async def traffic(self, since_ms: int, until_ms: int) -> Traffic:
        codes, took = Counter[str](), Counter[int]()
        for at, traffic in self._slots:
            if since_ms - since_ms % TRAFFIC_SLOT_MS <= at < until_ms:
                codes.update(traffic.codes)
                took.update(traffic.took)
        return Traffic(codes=codes, took=took)

    async def take_mark(self, sale_id: str, *, every_ms: int) -> bool:
        now, last = self._clock.now_ms(), self._marks.get(sale_id)
        if last is not None and last > now - every_ms:
            return False
        self._marks[sale_id] = now
        return True

    async def ledger(self, sale_id: str, *, after: int, until: int) -> LedgerFigures:
        del sale_id, after, until
        return self.figures

    async def keep(self, sale_id: str, sample: Sample) -> None:
        self._samples.setdefault(sale_id, []).insert(0, sample)

    async def samples(self, sale_id: str, *, before_ms: int, limit: int) -> Sequence[Sample]:
        return [sample for sample in self._samples.get(sale_id, ()) if sample.at_ms < before_ms][:limit]

    async def open_alerts(self, sale_id: str) -> Mapping[str, Alert]:
        return {alert.rule: alert for alert in self._alerts.get(sale_id, ()) if alert.resolved_ms is None}

    async def note_alerts(self, sale_id: str, alerts: Sequence[Alert]) -> None:
        rows = self._alerts.setdefault(sale_id, [])
        for alert in alerts:
            at = next((n for n, row in enumerate(rows) if row.rule == alert.rule and row.resolved_ms is None), None)
            if at is None:
                rows.append(msgspec.structs.replace(alert))
            else:
                rows[at] = alert

    async def alarmed(self) -> Sequence[str]:
        return [sale_id for sale_id in self._alerts if await self.open_alerts(sale_id)]

    async def alerts(self, sale_id: str, *, limit: int) -> Sequence[Alert]:
        return [alert for alert in reversed(self._alerts.get(sale_id, ())) if alert.fired_ms is not None][:limit]

    async def prune(self) -> int:
        return 0
