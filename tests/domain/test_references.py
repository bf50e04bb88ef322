"""A shop's name of a payment: anything it likes, but a card number."""

import pytest

from doorbuster.domain.references import REFERENCE_LENGTH_MAX, reference_problem

UUID = "01234567-8901-4234-8901-23456789012b"
CARD = "4242424242424242"


@pytest.mark.parametrize(
    "reference",
    ["pi_123", UUID, f"a {UUID}", f"pay:{UUID}/2", "0019a4424242424242424200ffab12", "x" * REFERENCE_LENGTH_MAX],
)
def test_names_of_payments(reference: str) -> None:
    assert reference_problem(reference) is None


@pytest.mark.parametrize("reference", [CARD, "4242 4242 4242 4242", f"card {CARD}", f"{UUID} {CARD}", f"a{CARD}"])
def test_card_number_is_refused_and_not_repeated(reference: str) -> None:
    problem = reference_problem(reference)

    assert problem is not None
    assert "card number" in problem
    assert CARD[:6] not in problem


@pytest.mark.parametrize("reference", ["", " x", "x ", "a\nb", "x" * (REFERENCE_LENGTH_MAX + 1)])
def test_unreadable_names_are_refused(reference: str) -> None:
    assert reference_problem(reference) is not None
