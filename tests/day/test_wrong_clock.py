"""A gate on a machine whose clock is ten minutes wrong opens nothing early, ends nothing late, and says so."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from cli.commands import environment
from day.test_day import inside
from faults.shop import ADMIN, SECRET, buyer_token, free_port
from helpers.waiting import until

WRONG_S = 600
_GATE = """
import sys, time
right, right_ns, wrong_s = time.time, time.time_ns, float(sys.argv.pop(1))
time.time = lambda: right() + wrong_s
time.time_ns = lambda: right_ns() + int(wrong_s * 1e9)
from doorbuster.cli.main import main
main()
"""
"""A gate as it is, in a process whose wall clock is wrong from the first line on."""


@contextlib.asynccontextmanager
async def a_gate(wrong_s: int, database_url: str, valkey_url: str, folder: Path) -> AsyncGenerator[str]:
    """Its address, once it answers."""
    port = free_port()
    settings = {
        "DOORBUSTER_DATABASE_URL": database_url,
        "DOORBUSTER_VALKEY_URL": valkey_url,
        "DOORBUSTER_BUYER_SECRET": SECRET,
        "DOORBUSTER_ADMIN_TOKEN": ADMIN,
        "DOORBUSTER_GATEWAY_URL": "http://127.0.0.1:1",
        "DOORBUSTER_DATA_DIR": str(folder),
    }
    with (folder / f"gate{wrong_s}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _GATE, str(wrong_s), "gate", "--port", str(port),
            env=environment(settings), stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:

            async def ready() -> bool:
                assert process.returncode is None, (folder / f"gate{wrong_s}.log").read_text()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/readyz") as answer:
                        return answer.status == 200
                return False

            await until(ready, within=30, what="the gate is ready")
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def created(session: aiohttp.ClientSession, url: str, **terms: object) -> dict[str, Any]:
    body = {
        "product_id": "lamp",
        "title": "Lamp",
        "quantity_available": 50,
        "price_cents": 0,
        "currency": "EUR",
        **terms,
    }
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with session.post(f"{url}/v1/admin/sales", json={**body, **terms}, headers=headers) as answer:
        found: dict[str, Any] = await answer.json()
        assert answer.status == 201, found
        return found


async def ordered(session: aiohttp.ClientSession, url: str, sale_id: str, user: str) -> str:
    """The code of the answer to an order."""
    headers = {"Authorization": f"Bearer {buyer_token(user)}", "Idempotency-Key": "k"}
    async with session.post(f"{url}/v1/sales/{sale_id}/orders", json={"quantity": 1}, headers=headers) as answer:
        return "reserved" if answer.status == 201 else (await answer.json())["code"]


@pytest.mark.parametrize("wrong_s", [WRONG_S, -WRONG_S])
async def test_wrong_clock_opens_nothing_early_and_ends_nothing_late(
    wrong_s: int, database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    """Asked through the wrong gate all the time; the database's own clock says when it was too early."""
    connection = await asyncpg.connect(database_url)
    try:
        async with a_gate(wrong_s, database_url, valkey_url, tmp_path) as url, aiohttp.ClientSession() as session:
            sale = await created(session, url, start_time=inside(seconds=3), end_time=inside(seconds=6))
            starts, ends = (sale[name].replace("Z", "+00:00") for name in ("start_time", "end_time"))
            early = "select clock_timestamp() < $1::text::timestamptz"
            answers: list[tuple[bool, bool, str]] = []
            while not answers or answers[-1][2] != "ended":
                assert len(answers) < 2_000, answers[-5:]
                begun = not await connection.fetchval(early, starts)
                code = await ordered(session, url, sale["sale_id"], f"buyer-{len(answers)}")
                surely_not = await connection.fetchval(early, starts)
                surely_open = begun and await connection.fetchval(early, ends)
                answers.append((surely_not, surely_open, code))
                await connection.fetchval("select pg_sleep(0.1)")
            sold = [row for row in answers if row[2] == "reserved"]
            before = [row for row in answers if row[0]]
            assert before, "nobody asked before the start"
            assert {code for _, _, code in before} == {"not-started"}
            assert len(sold) >= 10, answers
            over = answers[-1]
            assert not over[1], "it was ended while it was on"

            headers = {"Authorization": f"Bearer {ADMIN}"}
            async with session.get(f"{url}/v1/admin/gates", headers=headers) as answer:
                [gate] = (await answer.json())["gates"]
            assert abs(gate["clock_offset_ms"] + wrong_s * 1000) < 5_000
            assert gate["ready"]
    finally:
        await connection.close()
