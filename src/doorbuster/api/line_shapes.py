"""The JSON of a place in line.

Owns: the shape that leaves by poll, socket and event stream alike. Read next: `queue.py`; `domain/place.py`.
"""

from typing import Annotated

import msgspec

from doorbuster.api.shapes import AvailabilityView, OrderView, order_view, stamp
from doorbuster.domain import limits
from doorbuster.domain.place import Place


class JoinBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Nothing has to be said to join. A ticket of an earlier place brings that place back if the line was lost."""

    ticket: Annotated[str, msgspec.Meta(max_length=limits.TICKET_BYTES_MAX)] | None = None


class EtaView(msgspec.Struct):
    """A range in seconds, or nulls when nothing can be said; `reason` is what it is based on."""

    low: float | None
    high: float | None
    reason: str


class LineAvailabilityView(AvailabilityView):
    returned_last_minute: int


class PlaceView(msgspec.Struct, kw_only=True):
    """A place in line. `position` is 1 for the next to get a unit, null when the buyer does not wait or the draw is not
    drawn yet. `poll_after_ms` null: there is nothing more to ask for. Keep `ticket`: it brings the place back."""

    state: str
    position: int | None
    ahead: int | None
    eta_seconds: EtaView
    chance: str
    poll_after_ms: int | None
    availability: LineAvailabilityView
    ticket: str | None
    order: OrderView | None
    entry_id: str | None
    as_of: str
    shop_pass: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="pass")
    """Of a unit that the shop charges for: what the shop is shown, until `expires_at`."""


def place_view(place: Place) -> PlaceView:
    found = place.availability
    return PlaceView(
        state=place.state.value,
        position=place.position,
        ahead=place.ahead,
        eta_seconds=EtaView(place.eta.low, place.eta.high, place.eta.reason),
        chance=place.chance.value,
        poll_after_ms=place.poll_after_ms,
        availability=LineAvailabilityView(
            found.state.value, found.free, found.held, found.sold, found.returned_last_minute
        ),
        ticket=place.ticket,
        order=None if place.order is None else order_view(place.order),
        entry_id=place.entry_id,
        as_of=stamp(place.as_of_ms),
        shop_pass=place.shop_pass or msgspec.UNSET,
    )
