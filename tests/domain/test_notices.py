"""Addresses that would break whoever sends to them are refused when they are given."""

import pytest

from doorbuster.domain.notices import email_problem


@pytest.mark.parametrize("email", ["ann@example.com", "ann+sale@shop.example", "a.b-c_d@xn--bcher-kva.example"])
def test_ordinary_addresses_are_taken(email: str) -> None:
    assert email_problem(email) is None


@pytest.mark.parametrize(
    "email", ["\u00fc@example.com", "=?utf-8?b??=@e.com", "a..b@example.com", "ann", "a b@example.com"]
)
def test_addresses_that_break_a_sender_are_refused(email: str) -> None:
    assert email_problem(email) == "email is not an address like ann@example.com"
