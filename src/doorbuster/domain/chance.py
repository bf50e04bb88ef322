"""The chance that a place in line brings a unit, told as a word, from how the holds of this sale have ended so far.

Owns: the model and its words. Keeps: I14 by never promising more to who stands further back. No clock, no randomness.

A unit comes back unless its buyer pays, and goes to the next in line. So whoever stands at `position` gets one exactly
if, of all who hold a unit and all who stand ahead, fewer pay in the end than there are units. Whether one pays is a
coin of unknown weight: Beta, from the orders that have ended and a weak prior; how many pay is beta-binomial
(Johnson, Kemp, Kotz: Univariate Discrete Distributions, 6.2). Its upper tail is summed exactly where it is short, and
taken from the normal curve where it is long. The end of the sale is no part of it: close to the end the forecast is
too good. Read next: `calibration.py` (whether what was told came true), `place.py`.
"""

import math
from enum import StrEnum
from typing import Final


class Chance(StrEnum):
    """What a buyer is told; best first."""

    ALMOST_CERTAIN = "almost_certain"
    LIKELY = "likely"
    EVEN = "even"
    UNLIKELY = "unlikely"
    VERY_UNLIKELY = "very_unlikely"
    UNKNOWN = "unknown"


BANDS: Final[tuple[tuple[float, Chance], ...]] = (
    (0.95, Chance.ALMOST_CERTAIN),
    (0.70, Chance.LIKELY),
    (0.30, Chance.EVEN),
    (0.05, Chance.UNLIKELY),
    (0.0, Chance.VERY_UNLIKELY),
)
"""Each word with the least probability it stands for."""

ENDED_MIN: Final = 20
"""Orders that have ended before their share of payers counts for anything; below, only what every share agrees on."""

_PRIOR_PAID: Final = 1.4
_PRIOR_RETURNED: Final = 0.6
"""As if two orders had ended, and 70 % of them in a payment."""
_PAYS_LEAST: Final = 0.1
_PAYS_MOST: Final = 0.99
"""The shares of payers that a sale without a history may turn out to have."""
_SURE: Final = 1e6
"""The weight of a share that is given, not estimated."""
_TERMS_MAX: Final = 32
"""Terms of an exact tail: about five microseconds."""


def probability(position: int, *, free: int, held: int, paid: int, returned: int) -> float | None:
    """The probability of a unit for the buyer at this position, 1 being the next; None if it is not known.

    `paid` and `returned` count orders of this sale that have ended. Never higher for a higher position.
    """
    if position <= free:
        return 1.0
    if free + held <= 0:
        return 0.0
    if paid + returned >= ENDED_MIN:
        return _enough_left(position, free, held, paid + _PRIOR_PAID, returned + _PRIOR_RETURNED)
    best = _enough_left(position, free, held, _PAYS_LEAST * _SURE, (1 - _PAYS_LEAST) * _SURE)
    worst = _enough_left(position, free, held, _PAYS_MOST * _SURE, (1 - _PAYS_MOST) * _SURE)
    return (best + worst) / 2 if band(best) is band(worst) else None


def chance(position: int, *, free: int, held: int, paid: int, returned: int) -> Chance:
    """The word for it; `unknown` if too few orders have ended and the answer depends on how such orders end."""
    found = probability(position, free=free, held=held, paid=paid, returned=returned)
    return Chance.UNKNOWN if found is None else band(found)


def band(likelihood: float) -> Chance:
    """The word for a probability."""
    return next((word for least, word in BANDS if likelihood >= least), Chance.VERY_UNLIKELY)


def _enough_left(position: int, free: int, held: int, alpha: float, beta: float) -> float:
    """P(X < units), X of held + ahead being payers. More payers than that are `terms` outcomes."""
    terms = position - free
    nearest = min(terms, _TERMS_MAX)
    exact = 1.0 - _upper_tail(held + free + nearest - 1, nearest, alpha, beta)
    if terms <= _TERMS_MAX:
        return exact
    # The bound by the last exact value keeps the curve from rising where the two ways of reckoning meet.
    return min(exact, _normal(held + position - 1, free + held - 1, alpha, beta))


def _upper_tail(people: int, terms: int, alpha: float, beta: float) -> float:
    """P(X > people - terms), summed from the top, of a beta-binomial X."""
    log_all = math.lgamma(alpha + people) - math.lgamma(alpha)
    log_all -= math.lgamma(alpha + beta + people) - math.lgamma(alpha + beta)
    # Relative to the first term, which alone may be too small for a float.
    term = total = 1.0
    for misses in range(terms - 1):
        payers = people - misses
        term *= payers * (beta + misses) / ((misses + 1) * (alpha + payers - 1))
        total += term
    return min(1.0, math.exp(min(0.0, log_all + math.log(total))))


def _normal(people: int, most: int, alpha: float, beta: float) -> float:
    """P(X <= most) by a normal curve of the same mean and variance, with the correction for whole numbers."""
    weight = alpha + beta
    share = alpha / weight
    variance = people * share * (1 - share) * (weight + people) / (weight + 1)
    return 0.5 * math.erfc((people * share - most - 0.5) / math.sqrt(2 * variance))
