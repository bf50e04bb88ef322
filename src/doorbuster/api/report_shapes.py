"""The JSON of a sale's report.

Owns: the shape; what is in it is `engine/reporting.py`'s business.
"""

import msgspec

from doorbuster.api.shapes import AvailabilityView, availability_view, stamp
from doorbuster.domain.calibration import Calibration
from doorbuster.engine.reporting import SaleReport


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


class ReportView(msgspec.Struct, kw_only=True):
    """A sale in numbers. `calibration` judges the chances that buyers in line were told; null for a race."""

    sale_id: str
    status: str
    mode: str
    as_of: str
    availability: AvailabilityView
    orders_made: int
    orders_returned: int
    last_number_granted: int
    calibration: CalibrationView | None


def report_view(report: SaleReport) -> ReportView:
    sale = report.sale
    return ReportView(
        sale_id=sale.sale_id,
        status=sale.status.value,
        mode=sale.mode.value,
        as_of=stamp(report.as_of_ms),
        availability=availability_view(sale),
        orders_made=report.granted,
        orders_returned=report.returned,
        last_number_granted=sale.granted_mark,
        calibration=None if report.calibration is None else _calibration_view(report.calibration),
    )


def _calibration_view(found: Calibration) -> CalibrationView:
    return CalibrationView(
        told=found.told,
        unknown=found.unknown,
        brier=found.brier,
        brier_base_rate=found.brier_base_rate,
        bands=[BandView(row.band.value, row.count, row.forecast, row.observed) for row in found.rows],
    )
