"""Every line of a log is one JSON object, whoever wrote it."""

import asyncio
import json
import sys
from typing import Any

_SCRIPT = """
import asyncio, logging, warnings
import structlog
from doorbuster.config import load_settings
from doorbuster.telemetry import configure_logging

configure_logging(load_settings(log_format="json"), process="gate 1")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    structlog.get_logger("x").warning("ours", sale="s")
    logging.getLogger("somebody").warning("of %s", "a library")

async def forgotten():
    async def fail():
        raise RuntimeError("first line\\nsecond line")
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

asyncio.run(forgotten())
"""


async def lines() -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SCRIPT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    return [json.loads(line) for line in said.decode().splitlines()]


async def test_every_line_is_one_object_with_what_was_bound() -> None:
    ours, library, forgotten = await lines()

    assert (ours["event"], ours["level"], ours["process"], ours["request_id"], ours["sale"]) == (
        "ours", "warning", "gate 1", "r-1", "s",
    )  # fmt: skip
    assert (library["event"], library["logger"], library["level"]) == ("of a library", "somebody", "warning")
    assert (library["process"], library["request_id"]) == ("gate 1", "r-1")
    assert (forgotten["logger"], forgotten["level"]) == ("asyncio", "error")
    assert forgotten["exception"].endswith("RuntimeError: first line\nsecond line")
    assert all(line["timestamp"] for line in (ours, library, forgotten))
