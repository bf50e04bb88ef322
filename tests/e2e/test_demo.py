"""The demo as a newcomer runs it: one command, everything real, exit code 0 only if exact."""

import asyncio
import json
import sys
from pathlib import Path

import pytest


async def demo(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doorbuster", "demo", *arguments, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_demo_sells_exactly_what_it_has(tmp_path: Path) -> None:
    code, out, err = await demo("--units", "40", "--buyers", "400", "--seed", "11", "--data-dir", str(tmp_path / "d"))

    assert code == 0, (out, err)
    assert "EXACT" in out
    assert out.count("✓") == 8
    assert "40 of 40 units paid" in out


async def test_demo_as_json_is_one_document(tmp_path: Path) -> None:
    """Fewer buyers than units: everybody who pays gets one, and nothing is claimed that is not so."""
    code, out, err = await demo(
        "--units", "50", "--buyers", "20", "--seed", "3", "--json", "--data-dir", str(tmp_path / "d")
    )

    document = json.loads(out)
    assert code == 0, (out, err)
    assert document["held"] is True
    assert document["counted"]["paid_units"] == document["crowd"]["paid"] < 50
    assert document["audit"] == "in_step"


@pytest.mark.parametrize("mode", ["queue", "draw"])
async def test_demo_of_a_line_is_exact_and_in_order(mode: str, tmp_path: Path) -> None:
    """Units that are not paid for go to the next in line, and everybody is told how it ended."""
    code, out, err = await demo(
        "--mode", mode, "--units", "12", "--buyers", "45", "--abandon", "0.4", "--seed", "5", "--json",
        "--data-dir", str(tmp_path / "d"),
    )  # fmt: skip

    document = json.loads(out)
    assert code == 0, (out, err)
    assert document["mode"] == mode
    assert len([check for check in document["checks"] if check["held"]]) == 13
    assert document["counted"]["paid_units"] == 12
    orders = document["counted"]["orders"]  # whom a draw puts first is chance: how many of them do not pay, too
    assert document["line"]["offered_again"] == sum(orders.values()) - orders["PAID"]
