"""`python -m doorbuster.rehearsal`: a crowd as a process of its own.

Reads one line, a CrowdTask with `opens_in_s`, as JSON from standard input; writes a line of progress five times a
second and the result as the last line.
"""

import asyncio
import os
import resource
import signal
import sys

import msgspec
import setproctitle
import uvloop

from doorbuster.adapters.system import wall_ms
from doorbuster.rehearsal.client import Client
from doorbuster.rehearsal.crowd import Crowd, CrowdTask
from doorbuster.rehearsal.line_crowd import LineCrowd

_PROGRESS_S = 0.2


class Start(CrowdTask, kw_only=True):
    """A task and when it begins: seconds from the moment it is read, or at a moment of the machine's monotonic clock,
    for several that are to begin together."""

    opens_in_s: float = 0.0
    opens_at: float | None = None
    nice: int = 0
    """Steps below what it measures in the order of the machine's processes."""


async def _run(start: Start) -> None:
    loop = asyncio.get_running_loop()
    opens_at = loop.time() + start.opens_in_s if start.opens_at is None else start.opens_at
    client, checkout = Client(start.url, start.connections), Client(start.url, start.connections)
    kind = Crowd if start.mode == "race" else LineCrowd
    crowd = kind(start, client, checkout, loop.time)
    work = loop.create_task(crowd.run(opens_at, wall_ms() // 1000))
    loop.add_signal_handler(signal.SIGTERM, work.cancel)  # enough was seen: everybody goes home
    while not work.done():
        await asyncio.wait([work], timeout=_PROGRESS_S)
        _say(crowd.progress())
    if not work.cancelled():
        work.result()
    await client.close()
    await checkout.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    _say(crowd.result(used.ru_utime + used.ru_stime))


def _say(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Read the task, run the crowd."""
    setproctitle.setproctitle("doorbuster crowd")
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    os.nice(start.nice)
    uvloop.run(_run(start))


if __name__ == "__main__":
    main()
