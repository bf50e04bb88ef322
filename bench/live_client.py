"""Ten thousand listeners in one process: `python -m bench.live_client`, a plan on stdin.

As little as a client can do: an upgrade, one masked frame, then counting what comes. One line when everybody was told
a place, one with the figures, and one when everybody was told that it is over.
"""

import asyncio
import os
import resource
import sys
import time
from typing import Final

import msgspec

from bench.load import Plan, buyer_token

_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_AT_ONCE: Final = 200
_END_S: Final = 5.0


class LivePlan(msgspec.Struct, kw_only=True):
    port: int
    sale_id: str
    secret: str
    listeners: int
    seconds: float


class LiveTally(msgspec.Struct, kw_only=True):
    """`gap_p99_ms` and `gap_max_ms`: between two messages to one listener, in a line that never stands still."""

    messages: int
    lost: int
    gap_p99_ms: float
    gap_max_ms: float
    bytes_each: float


class LiveEnd(msgspec.Struct, kw_only=True):
    """`last_at` is when the last one was told, on the machine's monotonic clock."""

    told: int
    last_at: float


class Listener(asyncio.Protocol):
    """Counts frames; never answers anything but the handshake."""

    def __init__(self, plan: LivePlan, user: str, token: str, told: "asyncio.Future[None]") -> None:
        self._plan, self._user, self._token, self._told = plan, user, token, told
        self._buffer = b""
        self._open = False
        self.times: list[float] = []
        self.size = 0
        self.lost = False
        self.ended: asyncio.Future[float] = told.get_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(
            f"GET /v1/sales/{self._plan.sale_id}/queue/live HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                self.connection_lost(None)
                return
            self._open, self._buffer = True, rest
            body = b'{"token":"%b"}' % self._token.encode()
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
            self._transport.write(b"\x81\xfe" + len(body).to_bytes(2, "big") + mask + masked)
        while len(self._buffer) >= 4:
            size, start = self._buffer[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < start + size:
                return
            if self._buffer[0] == 0x81:
                self.times.append(time.perf_counter())
                self.size += start + size
                if not self._told.done():
                    self._told.set_result(None)
            elif self._buffer[0] == 0x88:
                self.ended.set_result(time.monotonic())
            self._buffer = self._buffer[start + size :]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True
        if not self._told.done():
            self._told.set_result(None)


async def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LivePlan)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tokens = Plan(port=plan.port, sale_id=plan.sale_id, secret=plan.secret)
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(_AT_ONCE)
    listeners: list[Listener] = []

    async def connect(number: int) -> None:
        user = f"buyer-{number}"
        told: asyncio.Future[None] = loop.create_future()
        listener = Listener(plan, user, buyer_token(tokens, user), told)
        async with slots:
            await loop.create_connection(lambda: listener, "127.0.0.1", plan.port)
            await told
        listeners.append(listener)

    await asyncio.gather(*(connect(number) for number in range(plan.listeners)))
    print("listening", flush=True)
    for listener in listeners:
        listener.times.clear()
        listener.size = 0
    await asyncio.sleep(plan.seconds)
    gaps = sorted(
        (after - before) * 1000
        for listener in listeners
        for before, after in zip(listener.times, listener.times[1:], strict=False)
    )
    messages = sum(len(listener.times) for listener in listeners)
    tally = LiveTally(
        messages=messages,
        lost=sum(listener.lost for listener in listeners),
        gap_p99_ms=gaps[int(len(gaps) * 0.99)] if gaps else 0.0,
        gap_max_ms=gaps[-1] if gaps else 0.0,
        bytes_each=sum(listener.size for listener in listeners) / max(1, messages),
    )
    print(msgspec.json.encode(tally).decode(), flush=True)
    ended, _ = await asyncio.wait([listener.ended for listener in listeners], timeout=_END_S)
    end = LiveEnd(told=len(ended), last_at=max((one.result() for one in ended), default=0.0))
    print(msgspec.json.encode(end).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
