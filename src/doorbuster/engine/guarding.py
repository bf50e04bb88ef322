"""A gateway with somebody who listens whether it answers at all.

Owns: what counts as an answer: anything definite does, a decline too; silence and a failure of its own do not.
Read next: `domain/breaker.py`.
"""

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from doorbuster.domain.balance import BookEntry
from doorbuster.domain.breaker import Breaker
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Found,
    Gateway,
    News,
    NoAnswer,
    NotExecuted,
    NotNews,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import Clock

_Answer = TypeVar(
    "_Answer",
    bound=Authorized | Declined | ActionRequired | Captured | CaptureRefused | Voided | Refunded | Absent | NoAnswer,
)


class GuardedGateway:
    """Passes every call on and tells the breaker how it went."""

    def __init__(self, gateway: Gateway, breaker: Breaker, clock: Clock) -> None:
        self._gateway = gateway
        self._breaker = breaker
        self._clock = clock

    @property
    def name(self) -> str:
        return self._gateway.name

    @property
    def default_method(self) -> str | None:
        return self._gateway.default_method

    async def authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        return self._noted(await self._gateway.authorize(charge))

    async def capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        return self._noted(await self._gateway.capture(charge, key))

    async def void(self, charge: Charge, key: str) -> Voided | Captured | NoAnswer:
        return self._noted(await self._gateway.void(charge, key))

    async def refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        return self._noted(await self._gateway.refund(charge, key))

    async def look_up(self, charge: Charge) -> Found:
        return self._noted(await self._gateway.look_up(charge))

    def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        return self._gateway.book(sale_id)

    def read_news(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> News | NotNews:
        return self._gateway.read_news(headers, body, now_ms)

    async def close(self) -> None:
        await self._gateway.close()

    def _noted(self, answer: _Answer) -> _Answer:
        if isinstance(answer, NotExecuted | Unknown):
            self._breaker.silent(self._clock.now_ms())
        else:
            self._breaker.answered()
        return answer
