"""A place in line, as it is told to its buyer: where, what is left, what to expect, when to ask again.

Owns: the shape of a place and when it is called standby. Keeps: I14 (over is said only when nothing can come back).
Read next: `chance.py`, `waiting.py`, `polling.py`.
"""

import msgspec

from doorbuster.domain.chance import Chance
from doorbuster.domain.order import Order
from doorbuster.domain.sale import AvailabilityState, Sale, availability, status_at
from doorbuster.domain.transitions import SALE_OVER, EntryState
from doorbuster.domain.waiting import Eta


class LineAvailability(msgspec.Struct, frozen=True):
    """Units by where they are, and how many came back in the last minute."""

    state: AvailabilityState
    free: int
    held: int
    sold: int
    returned_last_minute: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """`position` is 1-based among those who wait, and None for who does not or whose draw is not drawn yet.
    `poll_after_ms` None: there is nothing more to ask for. Times are milliseconds of the database's clock."""

    state: EntryState
    position: int | None
    eta: Eta
    chance: Chance
    poll_after_ms: int | None
    availability: LineAvailability
    ticket: str | None
    order: Order | None
    entry_id: str | None
    as_of_ms: int
    shop_pass: str | None = None
    """What the shop that charges for the order is shown; see `passes.py`."""

    @property
    def ahead(self) -> int | None:
        return None if self.position is None else self.position - 1


def line_availability(sale: Sale, returned_last_minute: int) -> LineAvailability:
    found = availability(sale)
    return LineAvailability(found.state, found.free, found.held, found.sold, returned_last_minute)


def nothing_comes_back(sale: Sale, now_ms: int) -> bool:
    """Whether who waits now waits for nothing: the sale is over, or every unit is paid for (I14)."""
    return status_at(sale, now_ms) in SALE_OVER or sale.quantity_paid >= sale.quantity_available


def waiting_state(position: int, free: int) -> EntryState:
    """Waiting as long as a free unit is there for this position, else standby for one that comes back."""
    return EntryState.WAITING if position <= free else EntryState.STANDBY
