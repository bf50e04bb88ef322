"""Puts what is known of a line into the place that one buyer is told.

Owns: the truthful line: position, what is left, chance, waiting time and when to ask again, from one set of numbers.
Keeps: I14 (over, and sold out, only when nothing comes back). The same words leave by poll, socket and event stream.
Read next: `queueing.py`, which finds the numbers of one buyer; `live/hub.py`, which keeps those of many.
"""

from doorbuster.domain import limits
from doorbuster.domain.chance import Chance, chance
from doorbuster.domain.order import Order
from doorbuster.domain.place import LineAvailability, Place, line_availability, waiting_state
from doorbuster.domain.polling import poll_after_ms, poll_at_start_ms
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import EntryState, OrderStatus, SaleStatus
from doorbuster.domain.waiting import Eta
from doorbuster.engine.line_ports import Entry
from doorbuster.engine.passes import Passes
from doorbuster.engine.ports import Clock, Ids
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.watching import LineNow, LineWatch

_GRANTED_POLL_MS = 5_000
"""Who holds a unit asks now and then: it is also the sign of life that a claim window waits for."""


class Describer:
    """One per gate. Never waits. Without `passes` no place has one."""

    def __init__(
        self, watch: LineWatch, tickets: Tickets, clock: Clock, ids: Ids, passes: Passes | None = None
    ) -> None:
        self._watch = watch
        self._tickets = tickets
        self._clock = clock
        self._ids = ids
        self._passes = passes
        self.busy = 0.0
        """How busy this gate is, 0 to 1; polls from far back are spread wider when it is."""

    def availability(self, sale: Sale) -> LineAvailability:
        pulse = self._watch.now(sale.sale_id).pulse
        return line_availability(sale, 0 if pulse is None else pulse.returned_last_minute)

    def waits(self, sale: Sale, user_id: str, *, position: int, number: int, epoch: int, free: int) -> Place:
        """Somebody in the line. `free` is the number of units nobody holds, as the line itself has it."""
        line = self._watch.now(sale.sale_id)
        now_ms = self._clock.now_ms()
        return Place(
            state=waiting_state(position, free),
            position=position,
            eta=self.eta(sale, line, position, free, now_ms),
            chance=self.chance(sale, line, position, free),
            poll_after_ms=self.poll_after_ms(sale, line, position, free, now_ms),
            availability=self.availability(sale),
            ticket=self._tickets.seal(sale.sale_id, user_id, number, epoch),
            order=None,
            entry_id=None,
            as_of_ms=now_ms,
        )

    def eta(self, sale: Sale, line: LineNow, position: int, free: int, now_ms: int) -> Eta:
        if sale.status is SaleStatus.PAUSED:
            return Eta(None, None, "the sale is paused; the line stays as it is")
        return line.pace.eta(position, free, now_ms)

    def chance(self, sale: Sale, line: LineNow, position: int, free: int) -> Chance:
        pulse = line.pulse
        held = max(0, sale.quantity_available - free - sale.quantity_paid)
        if pulse is None:
            return chance(position, free=free, held=held, paid=0, returned=0)
        return chance(position, free=free, held=held, paid=pulse.paid, returned=pulse.returned)

    def poll_after_ms(self, sale: Sale, line: LineNow, position: int, free: int, now_ms: int) -> int:
        if now_ms < sale.start_ms:
            return self._until(sale, now_ms)
        pulse = line.pulse
        moving = 0.0 if pulse is None else pulse.granted_last_minute / 60
        return poll_after_ms(
            position,
            free=free,
            waiting=max(line.waiting, position),
            moving_per_second=moving,
            busy=self.busy,
            jitter=self._ids.jitter(),
            held=max(0, sale.quantity_available - free - sale.quantity_paid),
            offer_ms=1_000 * min(sale.checkout_ttl_seconds, sale.claim_window_seconds or sale.checkout_ttl_seconds),
        )

    def _until(self, sale: Sale, now_ms: int) -> int:
        """Before the start: come back soon after it, spread over two seconds; at the latest after half a minute."""
        waiting = self._watch.now(sale.sale_id).waiting
        return poll_at_start_ms(sale.start_ms - now_ms, waiting=waiting, jitter=self._ids.jitter())

    def entered(self, sale: Sale, entry: Entry) -> Place:
        """Somebody whose draw is not drawn yet: there is no position, and nothing to be first at."""
        now_ms = self._clock.now_ms()
        drawing = now_ms >= sale.start_ms
        reason = "the draw is being held" if drawing else "the order is drawn at the start; entering early wins nothing"
        return Place(
            state=EntryState.WAITING,
            position=None,
            eta=Eta(None, None, reason),
            chance=Chance.UNKNOWN,
            poll_after_ms=limits.POLL_MS_MIN if drawing else self._until(sale, now_ms),
            availability=self.availability(sale),
            ticket=None,
            order=None,
            entry_id=entry.entry_id,
            as_of_ms=now_ms,
        )

    def granted(self, sale: Sale, order: Order) -> Place:
        """Somebody who got a unit; of an order that ended otherwise than paid, somebody who has left the line."""
        ended = order.status in (OrderStatus.CANCELLED, OrderStatus.EXPIRED)
        return self._settled(
            sale,
            EntryState.LEFT if ended else EntryState.GRANTED,
            Eta(None, None, f"the order is {order.status.value}" if ended else "the unit is there"),
            order,
            poll=_GRANTED_POLL_MS if order.status is OrderStatus.RESERVED else None,
        )

    def left(self, sale: Sale, order: Order | None = None) -> Place:
        return self._settled(sale, EntryState.LEFT, Eta(None, None, "the place was given up"), order)

    def over(self, sale: Sale, order: Order | None = None) -> Place:
        """Nothing comes back any more, or nothing for this buyer."""
        return self._settled(sale, EntryState.OVER, Eta(None, None, over_reason(sale)), order)

    def _settled(
        self, sale: Sale, state: EntryState, eta: Eta, order: Order | None, *, poll: int | None = None
    ) -> Place:
        sure = Chance.ALMOST_CERTAIN if state is EntryState.GRANTED else Chance.VERY_UNLIKELY
        return Place(
            state=state,
            position=None,
            eta=eta,
            chance=sure,
            poll_after_ms=poll,
            availability=self.availability(sale),
            ticket=None,
            order=order,
            entry_id=None,
            as_of_ms=self._clock.now_ms(),
            shop_pass=None if order is None or self._passes is None else self._passes.of(sale, order),
        )


def over_reason(sale: Sale) -> str:
    """Why nobody waits any more."""
    match sale.status:
        case SaleStatus.CANCELLED:
            return "the sale was called off"
        case SaleStatus.ENDED:
            return "the sale is over"
        case _:
            return f"all {sale.quantity_available} units are sold and paid for"
