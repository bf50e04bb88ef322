"""What charging by itself and reconciling need from the ledger.

Owns: two ports. Read next: `payment_ports.py` (the gateway, and the steps of one attempt).
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from doorbuster.domain.balance import Break, Reconciliation
from doorbuster.domain.payment import Attempt
from doorbuster.engine.ports import Actor


class DueCharge(msgspec.Struct, frozen=True, kw_only=True):
    """An order that wants charging. `method` is the buyer's stored one, if there is any; `tries` were made before."""

    order_id: str
    user_id: str
    method: str | None
    tries: int


class ChargeStore(Protocol):
    """Orders of sales that charge by themselves, and the methods buyers have stored. Every method is one transaction,
    may raise StoreUnavailable or OutcomeUnknown, and may be repeated."""

    async def due_charges(self, *, limit: int) -> Sequence[DueCharge]:
        """RESERVED orders of auto sales without an open attempt, the first to expire first. Claims nothing: two
        chargers at once begin one attempt, because its idempotency key is derived from the number of tries."""
        ...

    async def cancel_uncharged(self, *, limit: int) -> int:
        """CANCELLED for orders whose every try failed without a decline; how many."""
        ...

    async def extend_uncharged(self, *, limit: int) -> int:
        """While no charge can begin: holds of auto sales that are about to run out go on by a minute, by
        EXTENSION_SECONDS_MAX in all. How many went on."""
        ...

    async def store_method(self, user_id: str, payment_method: str) -> None:
        """The buyer's stored method, in place of the one before."""
        ...

    async def forget_method(self, user_id: str) -> None: ...


class BalanceStore(Protocol):
    """The ledger's side of a reconciliation. May raise StoreUnavailable or OutcomeUnknown."""

    def attempts_of(self, sale_id: str, gateway: str) -> AsyncIterator[Sequence[Attempt]]:
        """All attempts of a sale at a gateway, in chunks, each once; not in one snapshot."""
        ...

    async def by_keys(self, keys: Sequence[str]) -> Sequence[Attempt]:
        """Attempts with these gateway keys, whatever their sale."""
        ...

    async def paid(self, sale_id: str) -> tuple[int, int]:
        """PAID orders of the sale whose money was not given back and that a gateway of ours took, and their sum."""
        ...

    async def record(self, found: Reconciliation, actor: Actor) -> None:
        """Store a reconciliation and its breaks; open breaks of the sale that it did not find are repaired ones."""
        ...

    async def note(self, sale_id: str, gateway: str, found: Break) -> None:
        """Store one break found between reconciliations."""
        ...

    async def latest(self, sale_id: str) -> Reconciliation | None: ...

    async def wanting(self, gateway: str, before_ms: int) -> Sequence[str]:
        """Sales with payments that moved after their last reconciliation, which is older than this."""
        ...

    async def quarantined(self) -> int:
        """Attempts without an end that withhold a unit for longer than they may, of all sales."""
        ...
