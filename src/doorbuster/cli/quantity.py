"""`doorbuster sale top-up` and `cut`: how many units are on sale.

Owns: that nobody undoes what somebody else has just done, and that a repeat with `--to` does nothing.
"""

from doorbuster.cli import client


def top_up(operator: client.Operator, path: str, units: int | None, to: int | None, reason: str) -> client.Body:
    """The sale as it is then."""
    sale, quantity, wanted = _read(operator, path, units, to, sign=1)
    if wanted < quantity:
        client.fail(f"it has {quantity:,} units, more than {wanted:,}; `sale cut` takes some away", client.REFUSED)
    return sale if wanted == quantity else _set(operator, path, quantity, wanted, reason)


def cut(operator: client.Operator, path: str, units: int | None, to: int | None, reason: str) -> client.Body:
    """The sale as it is then."""
    sale, quantity, wanted = _read(operator, path, units, to, sign=-1)
    if wanted > quantity:
        client.fail(f"it has {quantity:,} units, fewer than {wanted:,}; `sale top-up` adds some", client.REFUSED)
    if wanted < 1:
        client.fail(f"it has {quantity:,} units; one has to stay, and `sale end` ends it", client.REFUSED)
    return sale if wanted == quantity else _set(operator, path, quantity, wanted, reason)


def _read(
    operator: client.Operator, path: str, units: int | None, to: int | None, *, sign: int
) -> tuple[client.Body, int, int]:
    """The sale, how many units it has, and how many it is to have."""
    if (units is None) == (to is None):
        client.fail("say how many units, or with --to how many there are to be in all")
    sale = operator.ask("GET", path)
    quantity: int = sale["quantity_available"]
    return sale, quantity, quantity + sign * units if units is not None else (to or 0)


def _set(operator: client.Operator, path: str, quantity: int, wanted: int, reason: str) -> client.Body:
    # The interface sets the quantity; with what was read, it refuses if somebody else changed it between these lines.
    body = {"quantity_available": wanted, "expected_quantity": quantity, "reason": reason}
    return operator.ask("PATCH", path, body)
