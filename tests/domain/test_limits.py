"""The bounds, and what has to be true between them."""

import math

import pytest

from doorbuster.domain import limits
from doorbuster.domain.payment import PAYMENT_ATTEMPT_MS, PAYMENT_QUIET_MS

BOUNDS = {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int | float)}


@pytest.mark.parametrize("name", BOUNDS)
def test_bound_is_a_positive_number(name: str) -> None:
    assert 0 < BOUNDS[name] < math.inf


def test_default_is_within_its_bounds() -> None:
    assert limits.CHECKOUT_TTL_SECONDS_MIN <= limits.CHECKOUT_TTL_SECONDS_DEFAULT <= limits.CHECKOUT_TTL_SECONDS_MAX
    assert 1 <= limits.PAYMENT_ATTEMPTS_DEFAULT <= limits.PAYMENT_ATTEMPTS_MAX
    assert limits.PAGE_SIZE_DEFAULT <= limits.PAGE_SIZE_MAX


def test_orphan_is_older_than_any_honest_commit() -> None:
    """Else the sweep would bury holds whose buyer still waits (R7)."""
    assert limits.ORPHAN_AGE_MS >= 2 * limits.COMMIT_DEADLINE_MS


def test_every_fault_is_mended_within_a_minute() -> None:
    """I2: the slowest repair is the sweep of an orphan, or an interrupted payment."""
    assert limits.ORPHAN_AGE_MS + limits.EXPIRY_INTERVAL_MS < 60_000
    assert PAYMENT_QUIET_MS + PAYMENT_ATTEMPT_MS < 60_000


def test_public_view_is_at_most_a_second_old() -> None:
    assert limits.SNAPSHOT_INTERVAL_MS <= 1_000


def test_unit_that_is_due_comes_back_within_a_second() -> None:
    assert limits.EXPIRY_INTERVAL_MS < 1_000


def test_dearest_order_fits_the_ledger() -> None:
    """Amounts are 64-bit integers of cents."""
    assert limits.PRICE_CENTS_MAX * limits.PER_USER_LIMIT_MAX < 2**63
    assert limits.QUANTITY_MAX < 2**31


def test_full_batch_fits_one_call() -> None:
    assert limits.TAKE_BATCH_MAX <= limits.COMMIT_QUEUE_MAX
    assert limits.COMMIT_BATCH_MAX <= limits.COMMIT_QUEUE_MAX
