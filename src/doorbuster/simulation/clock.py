"""The database's clock of a simulated world: virtual milliseconds."""

import asyncio

_BEGINNING_MS = 1_800_000_000_000


class VirtualClock:
    """Implements `engine.ports.Clock` on the loop's virtual time."""

    trusted = True

    def now_ms(self) -> int:
        return _BEGINNING_MS + int(asyncio.get_running_loop().time() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()
