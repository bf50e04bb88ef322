"""Amounts as people read them."""

import pytest

from doorbuster.domain.money import amount


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (4_900, "USD", "49.00 USD"),
        (5, "EUR", "0.05 EUR"),
        (123_456_789, "EUR", "1,234,567.89 EUR"),
        (5_000, "JPY", "5,000 JPY"),
        (1_500, "KWD", "1.500 KWD"),
    ],
)
def test_point_is_where_the_currency_has_it(minor: int, currency: str, text: str) -> None:
    assert amount(minor, currency) == text
