"""Seals and opens tickets with the keys that all gates share (Q3).

Owns: which key seals, how long keys are remembered, and what is said to a ticket that is no good.
The keys live in the ledger, so a new gate on another machine opens what an old one sealed, with nothing to configure.
"""

from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.ticket import BadTicket, Ticket, open_ticket, seal
from doorbuster.engine.line_ports import LineLedger, SealingKey


class Tickets:
    """One per gate. `refresh` before use, and again from time to time: keys may be added."""

    def __init__(self, ledger: LineLedger) -> None:
        self._ledger = ledger
        self._sealing: SealingKey | None = None
        self._secrets: dict[str, bytes] = {}

    async def refresh(self) -> None:
        """Read the keys. May raise StoreUnavailable or OutcomeUnknown; the old keys go on."""
        keys = await self._ledger.sealing_keys()
        self._secrets = {key.key_id: key.secret for key in keys}
        self._sealing = keys[0] if keys else None

    def seal(self, sale_id: str, user_id: str, number: int, epoch: int) -> str | None:
        """A ticket; None while the keys are not known, which costs its holder nothing as long as Valkey lives."""
        if self._sealing is None:
            return None
        ticket = Ticket(self._sealing.key_id, sale_id, user_id, number, epoch)
        return seal(ticket, self._sealing.secret)

    async def number_of(self, text: str, sale_id: str, user_id: str) -> int | Refusal:
        """The number on this buyer's ticket of this sale, or why it counts for nothing."""
        if len(text) > limits.TICKET_BYTES_MAX:
            return Refusal(Code.INVALID_REQUEST, f"a ticket has at most {limits.TICKET_BYTES_MAX} characters")
        try:
            if self._sealing is None:
                await self.refresh()
            ticket = open_ticket(text, self._secrets)
        except BadTicket as problem:
            return Refusal(Code.INVALID_REQUEST, str(problem))
        if ticket.user_id != user_id:
            return Refusal(Code.FORBIDDEN, "the ticket belongs to another account")
        if ticket.sale_id != sale_id:
            return Refusal(Code.INVALID_REQUEST, "the ticket belongs to another sale")
        return ticket.number
