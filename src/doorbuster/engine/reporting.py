"""What can be said of a sale, from the ledger: what was sold, how fast, to whom, and what the forecasts were worth.

Owns: the report. Nothing has to be recorded for it while the sale runs, but what the gates answered. Read next:
`domain/figures.py`, `domain/calibration.py`, `wrapping_up.py`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from doorbuster.domain.alerts import Alert
from doorbuster.domain.calibration import Calibration, Event, Happening, SaleHistory, calibrate
from doorbuster.domain.chain import LogKind
from doorbuster.domain.figures import Pace, PaceReader, SaleFigures
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.timeline import StepName, StepRow
from doorbuster.engine.monitoring import MonitorStore, Traffic
from doorbuster.engine.ports import AuditStore, Clock, OutcomeUnknown, SaleStore, StockStore, StoreUnavailable
from doorbuster.engine.timeline_ports import KeptReport, TimelineStore

_HAPPENINGS = {
    LogKind.RESERVED: Happening.GRANTED,
    LogKind.PAID: Happening.PAID,
    LogKind.CANCELLED: Happening.RETURNED,
    LogKind.EXPIRED: Happening.RETURNED,
}


ALERTS_MAX: Final = 100


class FigureStore(Protocol):
    """May raise StoreUnavailable. Reads every order of a sale: for the operator, not for a crowd."""

    async def figures(self, sale_id: str) -> SaleFigures: ...


class SaleReport(msgspec.Struct, frozen=True, kw_only=True):
    """`granted` and `returned` count orders. `calibration` is None for a race, where nobody is told a chance;
    `audit` is the latest verdict, None before the first."""

    sale: Sale
    granted: int
    returned: int
    calibration: Calibration | None
    figures: SaleFigures
    pace: Pace
    audit: str | None
    steps: Sequence[StepRow]
    traffic: Traffic
    """Of all gates and all sales, from the start of this one to its real end, or to now: gates do not count by sale, so
    what ran beside it, a rehearsal too, is in it."""
    alerts: Sequence[Alert]
    joined: int | None
    """Numbers given out in the line, those of a draw included; a line that was made anew after a loss of Valkey leaves
    some out, so it is then an upper bound. None: a race, or nobody knows any more."""
    as_of_ms: int


class Reporting:
    """Reads only; the whole log of a sale, so it is for the operator and not for a crowd."""

    def __init__(
        self,
        *,
        sales: SaleStore,
        audits: AuditStore,
        figures: FigureStore,
        timeline: TimelineStore,
        monitor: MonitorStore,
        stock: StockStore,
        clock: Clock,
    ) -> None:
        self._stock = stock
        self._sales = sales
        self._audits = audits
        self._figures = figures
        self._timeline = timeline
        self._monitor = monitor
        self._clock = clock

    async def kept(self, sale_id: str) -> KeptReport | Refusal | None:
        """The report that was kept when the sale's day was over; None before."""
        try:
            return await self._timeline.report(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()

    async def report(self, sale_id: str) -> SaleReport | Refusal:
        """As of now."""
        try:
            sale = await self._sales.get(sale_id)
            if sale is None:
                return Refusal(Code.NOT_FOUND, "there is no such sale")
            reader, events = PaceReader(sale.start_ms), list[Event]()
            async for rows in self._audits.log_rows(sale_id):
                reader.add(rows)
                events += [Event(row.at_ms, _HAPPENINGS[row.kind]) for row in rows if row.kind in _HAPPENINGS]
            figures = await self._figures.figures(sale_id)
            audit = await self._audits.latest(sale_id)
            steps = await self._timeline.steps(sale_id)
            now = self._clock.now_ms()
            traffic = await self._monitor.traffic(sale.start_ms, max(sale.start_ms, min(now, _ended_ms(sale, steps))))
            alerts = await self._monitor.alerts(sale_id, limit=ALERTS_MAX)
            joined = await self._joined(sale, now)
        except (StoreUnavailable, OutcomeUnknown):
            return _unavailable()
        return SaleReport(
            sale=sale,
            granted=sum(event.kind is Happening.GRANTED for event in events),
            returned=sum(event.kind is Happening.RETURNED for event in events),
            calibration=None if sale.mode is SaleMode.RACE else calibrate(_history(sale, events, now)),
            figures=figures,
            pace=reader.pace,
            audit=None if audit is None else audit.verdict.value,
            steps=steps,
            traffic=traffic,
            alerts=alerts,
            joined=joined,
            as_of_ms=now,
        )

    async def _joined(self, sale: Sale, now_ms: int) -> int | None:
        """From the image of the line while there is one, then from what was last seen of it."""
        if sale.mode is SaleMode.RACE:
            return None
        try:
            image = await self._stock.summary(sale.sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            image = None
        if image is not None and image.line is not None:
            return image.line.number_next
        seen = await self._monitor.samples(sale.sale_id, before_ms=now_ms + 1, limit=1)
        return seen[0].joined if seen and seen[0].joined is not None else sale.draw_size or None


def _ended_ms(sale: Sale, steps: Sequence[StepRow]) -> int:
    """When it really ended, or will: the step of a sale that was ended early is due when that was done."""
    return next((row.due_ms for row in steps if row.step is StepName.END), sale.end_ms)


def _history(sale: Sale, events: list[Event], now_ms: int) -> SaleHistory:
    """Until the last thing that happened: after it there was nothing to forecast any more."""
    last = max((event.at_ms for event in events), default=sale.start_ms)
    return SaleHistory(
        units=sale.quantity_available,
        start_ms=sale.start_ms,
        end_ms=min(now_ms, last + 1),
        events=events,
    )


def _unavailable() -> Refusal:
    return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
