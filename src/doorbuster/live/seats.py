"""A seat: one live connection of one buyer, whatever carries it.

Owns: what a room knows of a connection, and the words with which one is ended. Read next: `rooms.py`, `socket.py`.
"""

from typing import Final, Protocol

SEATS_PER_BUYER: Final = 5
"""Live connections of one account in one sale; the oldest gives way to a sixth. Tabs and devices, not crowds."""
BUFFER_BYTES_MAX: Final = 64 * 1024
"""What may wait for a slow reader: some hundred messages. More, and it is dropped; it comes back and asks anew."""

# Close codes (RFC 6455, section 7.4: 4000 to 4999 are ours).
DONE: Final = 1000
TOO_BIG: Final = 1009
RESTART: Final = 1012
BAD_FIRST: Final = 4400
UNAUTHENTICATED: Final = 4401
FORBIDDEN: Final = 4403
NOT_FOUND: Final = 4404
TOO_LATE: Final = 4408
REFUSED: Final = 4409
REPLACED: Final = 4410
TOO_MANY: Final = 4429
UNAVAILABLE: Final = 4503


class Wire(Protocol):
    """What carries messages to one buyer. Nothing here waits and nothing fails: a wire that is gone takes nothing."""

    def send(self, message: bytes) -> None:
        """One JSON text. A reader who does not keep up is dropped, not waited for."""
        ...

    def close(self, code: int, reason: str) -> None: ...


class Seat:
    """`number` 0: does not wait (any more). `position` is exact as of change `seq` of the line."""

    __slots__ = ("expires_ms", "number", "position", "seq", "shown", "ticket", "user_id", "wire")

    def __init__(self, user_id: str, wire: Wire, expires_ms: int) -> None:
        self.user_id = user_id
        self.wire = wire
        self.expires_ms = expires_ms
        self.number = 0
        self.position = 0
        self.seq = 0
        self.ticket = b"null"
        self.shown: object = None
