"""Sends prepared HTTP requests over kept-open connections and counts the answers; a process of its own.

    echo '{"port": 8000, …}' | python -m bench.load

Owns: the load. Closed loop: each connection sends its next request when the answer to the last has come, so the server
sets the pace; the rate is what it can do, and latencies are those of a full house. Costs about 10 µs per request.
Prints `begin` when counting starts, then a line of JSON.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, repeat
from typing import cast

import msgspec
import uvloop


class Plan(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to send. With `sale_id` every request is an order of another buyer; without it, GET `path`.

    `repeat` goes through the buyers again and again (for refusals); without it a buyer asks once and the run ends when
    all have. `seconds` ends it in any case.
    """

    port: int
    host: str = "127.0.0.1"
    connections: int = 64
    seconds: float = 5.0
    warm_seconds: float = 1.0
    path: str = "/"
    sale_id: str = ""
    secret: str = ""
    audience: str = "doorbuster"
    buyers: int = 1
    prefix: str = "b"
    repeat: bool = True


class Tally(msgspec.Struct, kw_only=True):
    """What came back while counting. Latencies are in milliseconds."""

    seconds: float
    answers: int
    by_status: dict[int, int]
    broken: int
    p50_ms: float
    p99_ms: float


def requests(plan: Plan) -> Iterator[bytes]:
    """The bytes to send, in order."""
    if not plan.sale_id:
        return repeat(f"GET {plan.path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    made = [_order(plan, f"{plan.prefix}-{number}") for number in range(plan.buyers)]
    return cycle(made) if plan.repeat else iter(made)


def buyer_token(plan: Plan, user_id: str) -> str:
    """A buyer's token (JWT, HS256), good for a day."""
    claims = msgspec.json.encode({"sub": user_id, "aud": plan.audience, "exp": int(time.time()) + 86_400})
    head = _b64(b'{"alg":"HS256","typ":"JWT"}')
    body = f"{head}.{_b64(claims)}"
    return f"{body}.{_b64(hmac.digest(plan.secret.encode(), body.encode(), hashlib.sha256))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _order(plan: Plan, user_id: str) -> bytes:
    return (
        f"POST /v1/sales/{plan.sale_id}/orders HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {buyer_token(plan, user_id)}\r\nIdempotency-Key: {user_id}\r\n"
        'Content-Length: 14\r\n\r\n{"quantity":1}'
    ).encode()


class Caller(asyncio.Protocol):
    """One connection. Answers must have a Content-Length."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not declared as such
        self._next()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0 or len(buffer) < head_end + 4 + _length(buffer, head_end):
            self._buffer = buffer
            return
        self._buffer = b""
        self._crowd.answered(int(buffer[9:12]), self._sent_at)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._crowd.lost()

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        request = self._crowd.next_request()
        if request is None or self._transport is None:
            self.stop()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _length(buffer: bytes, head_end: int) -> int:
    at = buffer.lower().find(b"content-length:", 0, head_end)
    return int(buffer[at + 15 : buffer.find(b"\r\n", at)]) if at >= 0 else 0


class Crowd:
    """All connections of one run, and what they were told."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = requests(plan)
        self._by_status: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._counting = False
        self._over = False
        self._broken = 0
        self._open = plan.connections
        self._empty = asyncio.Event()

    def next_request(self) -> bytes | None:
        return None if self._over else next(self._requests, None)

    def answered(self, status: int, sent_at: float) -> None:
        if self._counting:
            self._by_status[status] += 1
            self._latencies.append(time.perf_counter() - sent_at)

    def lost(self) -> None:
        self._open -= 1
        if not self._over and self._plan.repeat:
            self._broken += 1
        if self._open == 0:
            self._empty.set()

    async def run(self) -> Tally:
        plan, loop = self._plan, asyncio.get_running_loop()
        callers = [Caller(self) for _ in range(plan.connections)]
        # A run in which each buyer asks once is counted from its first request.
        self._counting = plan.warm_seconds == 0
        if self._counting:
            print("begin", flush=True)
        begun = time.perf_counter()
        for caller in callers:
            await loop.create_connection(lambda caller=caller: caller, plan.host, plan.port)
        if not self._counting:
            await asyncio.sleep(plan.warm_seconds)
            print("begin", flush=True)
            begun, self._counting = time.perf_counter(), True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), plan.seconds)
        seconds = time.perf_counter() - begun
        self._counting, self._over = False, True
        for caller in callers:
            caller.stop()
        ranks = sorted(self._latencies)
        return Tally(
            seconds=seconds,
            answers=len(ranks),
            by_status=dict(self._by_status),
            broken=self._broken,
            p50_ms=_rank(ranks, 0.50),
            p99_ms=_rank(ranks, 0.99),
        )


def _rank(ranks: list[float], share: float) -> float:
    return round(ranks[min(len(ranks) - 1, int(len(ranks) * share))] * 1000, 2) if ranks else 0.0


if __name__ == "__main__":
    crowd_plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    async def main() -> Tally:
        """The crowd needs a running loop from the start."""
        return await Crowd(crowd_plan).run()

    print(msgspec.json.encode(uvloop.run(main())).decode(), flush=True)
