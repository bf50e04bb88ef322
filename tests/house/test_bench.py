"""The measuring tools measure what they say."""

import asyncio
import os
import subprocess
import sys

import jwt
import pytest
from bench import processes
from bench.load import Crowd, Plan, Tally, buyer_token, requests
from bench.report import Target, table


async def answer_in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server whose every second answer is a refusal, sent in three writes."""
    number = 0
    while await reader.readuntil(b"\r\n\r\n"):
        number += 1
        await reader.readexactly(14)
        status = b"201 Created" if number % 2 else b"409 Conflict"
        for piece in (b"HTTP/1.1 " + status + b"\r\nContent-", b"Length: 5\r\n\r\nab", b"cde"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


async def run(plan_of: Plan) -> Tally:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer_in_pieces(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        plan_of.port = server.sockets[0].getsockname()[1]
        return await Crowd(plan_of).run()


async def test_every_answer_is_counted_once() -> None:
    plan = Plan(port=0, sale_id="s", secret="x" * 32, buyers=10, repeat=False, warm_seconds=0, connections=1)

    tally = await run(plan)

    assert tally.by_status == {201: 5, 409: 5}
    assert tally.answers == 10
    assert tally.broken == 0
    assert 0 < tally.p50_ms <= tally.p99_ms


async def test_lost_connections_are_told() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tally = await Crowd(Plan(port=port, seconds=0.2, warm_seconds=0, connections=3)).run()

    assert tally.answers == 0
    assert tally.broken == 3


def test_each_buyer_has_a_token_the_library_accepts() -> None:
    plan = Plan(port=0, sale_id="s", secret="x" * 32, buyers=2, repeat=False)

    claims = jwt.decode(buyer_token(plan, "ann"), plan.secret, ["HS256"], audience="doorbuster")

    assert claims["sub"] == "ann"
    assert len(set(requests(plan))) == 2


def test_cpu_of_a_family_includes_its_children() -> None:
    child = "subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])"
    script = f"import subprocess, sys; {child}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()

        spent = processes.family_cpu_seconds(parent.pid)

        parent.stdin.write(b"\n")
        parent.stdin.close()
    assert spent > 0.02
    assert os.getpid() in processes.family(os.getppid())


@pytest.mark.parametrize(
    ("measured", "sense", "verdict"),
    [(2.0, "at most", "met"), (4.0, "at most", "MISSED"), (4.0, "at least", "met"), (None, "at least", "n/a")],
)
def test_target_says_whether_it_is_met(measured: float | None, sense: str, verdict: str) -> None:
    target = Target(id="P1", text="cost", measured=measured, bound=3, sense=sense)  # pyright: ignore[reportArgumentType]

    assert target.verdict == verdict
    assert verdict in table([target])[0]
