"""The crowd of a rehearsal as child processes: implements `engine.rehearsal_ports.Crowd`.

Owns: the plan of that crowd, how it is divided and what its parts saw together, and that nobody is left of it. The
processes are nice to what they measure; when their worker dies they have nobody to report to and end by themselves.
"""

import asyncio
import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from doorbuster.domain.rehearsal import AUDIENCE, BOTS, PROCESS_CROWD_MAX, STAY_S, USER_PREFIX, Seen
from doorbuster.engine.rehearsal_ports import CrowdFailed, CrowdOrder, CrowdSeen
from doorbuster.rehearsal.__main__ import Start
from doorbuster.rehearsal.crowd import Progress, Result
from doorbuster.rehearsal.histogram import Histogram
from doorbuster.rehearsal.plan import CrowdPlan

_NICE: Final = 10
_LISTENERS_MAX: Final = 500
_SETTLE_S: Final = 2.5
"""Gates ask for the secrets of crowds once a second."""
_LINE_BYTES_MAX: Final = 1 << 28
"""The last line names every order."""
_SHOWN: Final = ("arrived", "gone", "requests", "orders", "paid", "p99_ms", "peak_per_s")


class CrowdProcess:
    """As many processes as it takes; `most` buyers in each."""

    def __init__(self, most: int = PROCESS_CROWD_MAX) -> None:
        self._most = most

    async def run(self, order: CrowdOrder, told: Callable[[Mapping[str, Any]], None]) -> CrowdSeen:
        loop = asyncio.get_running_loop()
        began = loop.time()
        shown: dict[int, Mapping[str, Any]] = {}

        def tell(number: int, line: bytes) -> None:
            shown[number] = _shown(line)
            told(_together(list(shown.values())))

        parts = [
            loop.create_task(_part(start, partial(tell, number)))
            for number, start in enumerate(_starts(order, self._most, began))
        ]
        try:
            results = await asyncio.gather(*parts)
        finally:
            for part in parts:
                if not part.cancelling():  # a second time would keep it from seeing its process off
                    part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        acknowledged = {order_id: buyer for one in results for order_id, buyer in one.acknowledged.items()}
        return CrowdSeen(seen=_seen(results, loop.time() - began), acknowledged=acknowledged)


async def _part(start: Start, told: Callable[[bytes], None]) -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doorbuster.rehearsal",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES_MAX,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(start) + b"\n")
        process.stdin.close()
        result: Result | None = None
        async for line in process.stdout:
            if msgspec.json.decode(line, type=Progress).done:
                result = msgspec.json.decode(line, type=Result)
            else:
                told(line)
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if result is None:
        raise CrowdFailed(f"the crowd ended with code {code} before it was done; the worker's output says why")
    return result


def _starts(order: CrowdOrder, most: int, now: float) -> list[Start]:
    """The crowd in parts of one size, give or take a buyer; each part has a seed, and so accounts, of its own."""
    parts = max(1, math.ceil(order.who.buyers / most))
    less, more = divmod(order.who.buyers, parts)
    opens_at = now + order.opens_ms / 1000
    return [_start(order, order.seed + number, less + (number < more), opens_at) for number in range(parts)]


def _start(order: CrowdOrder, seed: int, buyers: int, opens_at: float) -> Start:
    """80 in 100 people come in the first third of the time, the front of them in the first seconds."""
    plan = CrowdPlan(
        seed=seed,
        buyers=buyers,
        burst_s=order.seconds / 3,
        tail_s=float(order.seconds),
        decline=0.0,
        bots=BOTS,
        prefix=USER_PREFIX,
        listen=min(0.2, _LISTENERS_MAX / order.who.buyers),
    )
    return Start(
        url=order.url.rstrip("/"),
        sale_id=order.sale_id,
        plan=plan,
        buyer_secret=order.secret.hex(),
        audience=AUDIENCE,
        kid=order.rehearsal_id,
        give_up_s=float(order.seconds + STAY_S),
        mode=order.mode,
        settle_s=_SETTLE_S,
        opens_at=opens_at,
        nice=_NICE,
    )


def _shown(line: bytes) -> Mapping[str, Any]:
    seen: dict[str, Any] = msgspec.json.decode(line)
    return {name: seen[name] for name in _SHOWN}


def _together(parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """While it goes on, the p99 of the whole is not known: that of the slowest part stands for it."""
    return {name: (max if name == "p99_ms" else sum)(part[name] for part in parts) for name in _SHOWN}


def _seen(results: Sequence[Result], wall_s: float) -> Seen:
    latency, answers, seconds = Histogram(), Counter[str](), Counter[int]()
    for one in results:
        latency.add(one.latency, one.max_ms / 1000)
        answers.update(one.answers)
        seconds.update(one.seconds)
    return Seen(
        requests=sum(one.requests for one in results),
        arrived=sum(one.arrived for one in results),
        tired=sum(one.tired for one in results),
        turned_away=sum(one.turned_away for one in results),
        lost=sum(one.unknown for one in results),
        answers=dict(answers),
        p50_ms=latency.percentile(50) * 1000,
        p99_ms=latency.percentile(99) * 1000,
        max_ms=latency.max_s * 1000,
        peak_per_s=float(max(seconds.values(), default=0)),
        orders=sum(one.orders for one in results),
        paid=sum(one.paid for one in results),
        bots_paid=sum(one.bots_paid for one in results),
        cpu_share=round(sum(one.cpu_s for one in results) / max(wall_s, 1e-3), 3),
    )
