"""The crowd of a rehearsal as a child process: implements `engine.rehearsal_ports.Crowd`.

Owns: the plan of that crowd, and that nobody is left of it. The process is nice to what it measures; when its worker
dies it has nobody to report to and ends by itself.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from doorbuster.domain.rehearsal import AUDIENCE, BOTS, STAY_S, USER_PREFIX, Seen
from doorbuster.engine.rehearsal_ports import CrowdFailed, CrowdOrder, CrowdSeen
from doorbuster.rehearsal.__main__ import Start
from doorbuster.rehearsal.crowd import Progress, Result
from doorbuster.rehearsal.plan import CrowdPlan

_NICE: Final = 10
_LISTENERS_MAX: Final = 500
_SETTLE_S: Final = 2.5
"""Gates ask for the secrets of crowds once a second."""
_LINE_BYTES_MAX: Final = 1 << 28
"""The last line names every order."""
_SHOWN: Final = ("arrived", "gone", "requests", "orders", "paid", "p99_ms", "peak_per_s")


class CrowdProcess:
    async def run(self, order: CrowdOrder, told: Callable[[Mapping[str, Any]], None]) -> CrowdSeen:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "doorbuster.rehearsal",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES_MAX,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            process.stdin.write(msgspec.json.encode(_start(order)) + b"\n")
            process.stdin.close()
            result: Result | None = None
            async for line in process.stdout:
                if msgspec.json.decode(line, type=Progress).done:
                    result = msgspec.json.decode(line, type=Result)
                else:
                    told(_shown(line))
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if result is None:
            raise CrowdFailed(f"the crowd ended with code {code} before it was done; the worker's output says why")
        return CrowdSeen(seen=_seen(result, clock() - began), acknowledged=result.acknowledged)


def _start(order: CrowdOrder) -> Start:
    """80 in 100 people come in the first third of the time, the front of them in the first seconds."""
    plan = CrowdPlan(
        seed=order.seed,
        buyers=order.who.buyers,
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
        opens_in_s=order.opens_ms / 1000,
        nice=_NICE,
    )


def _shown(line: bytes) -> Mapping[str, Any]:
    seen: dict[str, Any] = msgspec.json.decode(line)
    return {name: seen[name] for name in _SHOWN}


def _seen(result: Result, wall_s: float) -> Seen:
    return Seen(
        requests=result.requests,
        arrived=result.arrived,
        tired=result.tired,
        turned_away=result.turned_away,
        lost=result.unknown,
        answers=result.answers,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        max_ms=result.max_ms,
        peak_per_s=result.peak_per_s,
        orders=result.orders,
        paid=result.paid,
        bots_paid=result.bots_paid,
        cpu_share=round(result.cpu_s / max(wall_s, 1e-3), 3),
    )
