"""What can be said of a sale afterwards, from its log alone.

Owns: the report. Today it judges the chances that buyers in line were told; nothing has to be recorded for it while the
sale runs. Read next: `domain/calibration.py`.
"""

import msgspec

from doorbuster.domain.calibration import Calibration, Event, Happening, SaleHistory, calibrate
from doorbuster.domain.chain import LogKind
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.engine.ports import AuditStore, Clock, OutcomeUnknown, SaleStore, StoreUnavailable

_HAPPENINGS = {
    LogKind.RESERVED: Happening.GRANTED,
    LogKind.PAID: Happening.PAID,
    LogKind.CANCELLED: Happening.RETURNED,
    LogKind.EXPIRED: Happening.RETURNED,
}


class SaleReport(msgspec.Struct, frozen=True, kw_only=True):
    """`granted` and `returned` count orders. `calibration` is None for a race, where nobody is told a chance."""

    sale: Sale
    granted: int
    returned: int
    calibration: Calibration | None
    as_of_ms: int


class Reporting:
    """Reads only; the whole log of a sale, so it is for the operator and not for a crowd."""

    def __init__(self, sales: SaleStore, audits: AuditStore, clock: Clock) -> None:
        self._sales = sales
        self._audits = audits
        self._clock = clock

    async def report(self, sale_id: str) -> SaleReport | Refusal:
        try:
            sale = await self._sales.get(sale_id)
            if sale is None:
                return Refusal(Code.NOT_FOUND, "there is no such sale")
            events = [
                Event(row.at_ms, _HAPPENINGS[row.kind])
                async for rows in self._audits.log_rows(sale_id)
                for row in rows
                if row.kind in _HAPPENINGS
            ]
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)
        now = self._clock.now_ms()
        return SaleReport(
            sale=sale,
            granted=sum(event.kind is Happening.GRANTED for event in events),
            returned=sum(event.kind is Happening.RETURNED for event in events),
            calibration=None if sale.mode is SaleMode.RACE else calibrate(_history(sale, events, now)),
            as_of_ms=now,
        )


def _history(sale: Sale, events: list[Event], now_ms: int) -> SaleHistory:
    """Until the last thing that happened: after it there was nothing to forecast any more."""
    last = max((event.at_ms for event in events), default=sale.start_ms)
    return SaleHistory(
        units=sale.quantity_available,
        start_ms=sale.start_ms,
        end_ms=min(now_ms, last + 1),
        events=events,
    )
