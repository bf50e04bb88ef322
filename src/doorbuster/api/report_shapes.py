"""The JSON of a sale's report.

Owns: the shape; what is in it is `engine/reporting.py`'s business.
"""

from typing import Any

import msgspec

from doorbuster.api.monitor import AlertView, alert_view
from doorbuster.api.shapes import AvailabilityView, availability_view, stamp, stamp_or_none
from doorbuster.api.timeline import StepView, step_view
from doorbuster.domain.calibration import Calibration
from doorbuster.domain.figures import SaleFigures
from doorbuster.domain.outcomes import Refusal
from doorbuster.engine.reporting import Reporting, SaleReport
from doorbuster.engine.wrapping_up import why_not_final


class BandView(msgspec.Struct):
    """What one word of the chance was worth: how probable it meant a unit to be, and how often that came true."""

    band: str
    count: int
    forecast: float
    observed: float


class CalibrationView(msgspec.Struct, kw_only=True):
    """`brier` is 0 for forecasts that always come true; `brier_base_rate` is that of always telling the observed share.
    Both are null when nothing was told; `unknown` counts samples of which nothing was said."""

    told: int
    unknown: int
    brier: float | None
    brier_base_rate: float | None
    bands: list[BandView]


class MoneyView(msgspec.Struct, kw_only=True):
    """`revenue_cents`: of orders that are paid and not refunded."""

    currency: str
    revenue_cents: int
    refunded_cents: int


class CancelledView(msgspec.Struct, kw_only=True):
    """`cancelled` orders by cause; the numbers add up to it. `declined`: after the last decline. `payment_failed`: the
    capture was refused, or nobody could charge it. `given_back`: by the buyer. `by_shop`: by an outside shop, or by
    somebody's hand."""

    declined: int
    payment_failed: int
    given_back: int
    aborted: int
    by_shop: int


class OrdersView(msgspec.Struct, kw_only=True):
    """How the sale's orders ended. `refunded` ones were paid before and are among `paid`. `lapsed` ran out unpaid.
    `joined`: numbers given out in the line; more than joined if Valkey was lost meanwhile; null for a race."""

    joined: int | None
    made: int
    paid: int
    cancelled: int
    cancelled_by_cause: CancelledView
    lapsed: int
    reserved: int
    refunded: int
    payment_attempts: int
    declined_attempts: int


class PaceView(msgspec.Struct, kw_only=True):
    """Milliseconds after the start; null: it did not happen. `all_held_ms`: when for the first time no unit was free.
    `sold_out_ms`: when the last unit was paid for good. Times to pay are from the reservation."""

    first_reserved_ms: int | None
    all_held_ms: int | None
    sold_out_ms: int | None
    reserved_in_first_second: int
    units_returned: int
    pay_p50_ms: int | None
    pay_p95_ms: int | None


class FairnessView(msgspec.Struct, kw_only=True):
    """`grants_out_of_order` is 0, or the line was broken."""

    buyers: int
    buyers_of_several_orders: int
    most_units_of_one_buyer: int
    blocked_accounts: int
    grants_out_of_order: int


class TrafficView(msgspec.Struct, kw_only=True):
    """What all gates answered, from the start of the sale to its end, also an early one, to ten seconds: by code, `ok`
    for success. Gates do not count by sale: what other sales and rehearsals answered meanwhile is in it. Times are
    upper bounds within a factor of two."""

    answers: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None


class ReportView(msgspec.Struct, kw_only=True):
    """A sale in numbers. `calibration` judges the chances that buyers in line were told; null for a race.
    `final`: made when the sale's day was over and the last audit was in step; it does not change any more. One that is
    not says why in `why_not_final`, and from when it may be; null: not before a person has done something."""

    sale_id: str
    status: str
    mode: str
    title: str
    rehearsal_of: str | None = None
    """The sale that this one rehearses; null: it is a real sale."""
    as_of: str
    final: bool
    why_not_final: str
    final_at_earliest: str | None
    audit: str | None
    availability: AvailabilityView
    orders_made: int
    orders_returned: int
    last_number_granted: int
    orders: OrdersView
    money: MoneyView
    pace: PaceView
    fairness: FairnessView
    traffic: TrafficView
    alerts: list[AlertView]
    calibration: CalibrationView | None
    timeline: list[StepView]


def report_view(report: SaleReport) -> ReportView:
    sale, found, pace = report.sale, report.figures, report.pace
    why, earliest_ms = why_not_final(sale, report.steps)
    return ReportView(
        sale_id=sale.sale_id,
        status=sale.status.value,
        mode=sale.mode.value,
        title=sale.title,
        rehearsal_of=sale.rehearsal_of or None,
        as_of=stamp(report.as_of_ms),
        final=False,
        why_not_final=why,
        final_at_earliest=stamp_or_none(earliest_ms),
        audit=report.audit,
        availability=availability_view(sale),
        orders_made=report.granted,
        orders_returned=report.returned,
        last_number_granted=sale.granted_mark,
        orders=OrdersView(
            joined=report.joined,
            made=found.orders,
            paid=found.paid_orders,
            cancelled=found.cancelled_orders,
            cancelled_by_cause=_cancelled_view(found),
            lapsed=found.expired_orders,
            reserved=found.reserved_orders,
            refunded=found.refunded_orders,
            payment_attempts=found.attempts,
            declined_attempts=found.declined_attempts,
        ),
        money=MoneyView(currency=sale.currency, revenue_cents=found.revenue_cents, refunded_cents=found.refunded_cents),
        pace=PaceView(**msgspec.structs.asdict(pace), pay_p50_ms=found.pay_p50_ms, pay_p95_ms=found.pay_p95_ms),
        fairness=FairnessView(
            buyers=found.buyers,
            buyers_of_several_orders=found.buyers_of_several,
            most_units_of_one_buyer=found.top_buyer_units,
            blocked_accounts=found.blocked_accounts,
            grants_out_of_order=found.grants_out_of_order,
        ),
        traffic=TrafficView(
            answers=dict(report.traffic.codes),
            p50_ms=report.traffic.quantile_ms(0.5),
            p99_ms=report.traffic.quantile_ms(0.99),
        ),
        alerts=[alert_view(alert) for alert in report.alerts],
        timeline=[step_view(row) for row in report.steps],
        calibration=None if report.calibration is None else _calibration_view(report.calibration),
    )


def _cancelled_view(found: SaleFigures) -> CancelledView:
    named = found.declined_orders + found.payment_failed_orders + found.given_back_orders + found.aborted_orders
    return CancelledView(
        declined=found.declined_orders,
        payment_failed=found.payment_failed_orders,
        given_back=found.given_back_orders,
        aborted=found.aborted_orders,
        by_shop=found.cancelled_orders - named,
    )


def _calibration_view(found: Calibration) -> CalibrationView:
    return CalibrationView(
        told=found.told,
        unknown=found.unknown,
        brier=found.brier,
        brier_base_rate=found.brier_base_rate,
        bands=[BandView(row.band.value, row.count, row.forecast, row.observed) for row in found.rows],
    )


async def composed(reporting: Reporting, sale_id: str) -> dict[str, Any] | Refusal:
    """The report as of now, as JSON values."""
    report = await reporting.report(sale_id)
    return report if isinstance(report, Refusal) else msgspec.to_builtins(report_view(report))
