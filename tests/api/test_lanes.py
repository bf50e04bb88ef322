"""The two lanes on a real socket: whatever is sent, the fast lane answers as the ASGI lane does."""

import re
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import NamedTuple

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from api.gate import ADMIN, Gate
from api.wire import Response, Served, order, request


class Case(NamedTuple):
    """What is sent, in pieces, and how many answers come."""

    parts: tuple[bytes, ...]
    answers: int = 1
    to_head: bool = False


@pytest.fixture
async def lanes(gate: Gate) -> AsyncIterator[tuple[Served, Served]]:
    fast, plain = await Served.gates(gate), await Served.plain(gate)
    yield fast, plain
    await fast.stop()
    await plain.stop()


_UUID_LENGTH = 36


def comparable(response: Response) -> tuple[object, ...]:
    """Without what differs from moment to moment."""
    moments = {"date", "retry-after", "content-length"}
    headers = {name: value for name, value in response.headers.items() if name not in moments}
    if len(headers.get("x-request-id", "")) == _UUID_LENGTH:
        headers["x-request-id"] = "made here"
    body = re.sub(rb'"(server_time|retry_after_ms)":("[^"]*"|\d+)', b"", response.body)
    return response.first, headers, body


def cases(gate: Gate) -> dict[str, Case]:
    sale = f"/v1/sales/{gate.sale_id}"
    whole, get_sale = order(gate), request("GET", sale)
    chunked = order(gate, "ann", "Transfer-Encoding: chunked", body=None)
    expecting = order(gate, "ann", "Content-Length: 14", "Expect: 100-continue", body=None)
    operator = f"Authorization: Bearer {ADMIN}"
    return {
        "order": Case((whole,)),
        "order twice on one connection": Case((whole, whole), 2),
        "order pipelined": Case((whole * 3,), 3),
        "order byte by byte": Case(tuple(bytes([byte]) for byte in whole)),
        "order in chunks": Case((chunked + b"5\r\n" + b'{"qua\r\n' + b"9\r\n" + b'ntity":1}\r\n' + b"0\r\n\r\n",)),
        "order expecting 100": Case((expecting, b'{"quantity":1}'), 2),
        "order behind another expecting 100": Case((whole + expecting, b'{"quantity":1}'), 3),
        "bad body": Case((order(gate, body=b"{"),)),
        "no body": Case((order(gate, body=b""),)),
        "body too large": Case((order(gate, body=b"x" * 100_000),)),
        "body too large in chunks": Case((chunked + b"9000\r\n" + b"x" * 0x9000 + b"\r\n",)),
        "no token": Case((request("POST", f"{sale}/orders", body=b""),)),
        "sale": Case((get_sale,)),
        "sale, head only": Case((request("HEAD", sale),), to_head=True),
        "sale by HTTP/1.0": Case((request("GET", sale, version="HTTP/1.0"),)),
        "sale by HTTP/1.0 to be kept": Case((request("GET", sale, ["Connection: keep-alive"], version="HTTP/1.0"),)),
        "sale and close": Case((request("GET", sale, ["Connection: close"]),)),
        "sale with a query": Case((request("GET", f"{sale}?x=1"),)),
        "sale with an escaped path": Case((request("GET", sale.replace("sales", "sal%65s")),)),
        "sale with a fragment": Case((request("GET", f"{sale}#top"),)),
        "sale by its whole address": Case((request("GET", f"http://x{sale}"),)),
        "sale and an upgrade nobody offers": Case((request("GET", sale, ["Connection: Upgrade", "Upgrade: h2c"]),)),
        "unknown sale": Case((request("GET", "/v1/sales/x"),)),
        "unknown path": Case((request("GET", "/v1/sales/x/y/z"),)),
        "wrong method": Case((request("PUT", sale, body=b""),)),
        "fast, handed over, fast": Case((get_sale + request("GET", "/%6civez") + get_sale,), 3),
        "request id": Case((request("GET", sale, ["X-Request-Id: abc"]),)),
        "list of the operator": Case(
            (request("PUT", f"/v1/admin{sale[3:]}/blocklist", [operator], b'{"user_ids":["%b"]}' % (b"x" * 20_000)),)
        ),
        "list of a stranger": Case((request("PUT", f"/v1/admin{sale[3:]}/blocklist", [], b"x" * 20_000),)),
        "documentation": Case((request("GET", "/docs"),)),
        "metrics": Case((request("GET", "/metrics", [operator]),)),
    }


@pytest.mark.parametrize("kind", cases(Gate()))
async def test_fast_lane_answers_as_the_plain_one(gate: Gate, lanes: tuple[Served, Served], kind: str) -> None:
    case = cases(gate)[kind]
    await gate.order("ann", key="k")  # so that both lanes see the same order

    fast, plain = [await lane.say(*case.parts, answers=case.answers, to_head=case.to_head) for lane in lanes]

    assert [comparable(response) for response in fast] == [comparable(response) for response in plain]


_STREAM = ("order", "sale", "no token", "bad body", "sale with an escaped path", "order in chunks", "unknown path")


@settings(deadline=None, max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(_STREAM), min_size=1, max_size=8), cuts=st.lists(st.integers(0, 3000), max_size=8)
)
def test_answers_do_not_depend_on_how_the_stream_is_cut(kinds: list[str], cuts: list[int]) -> None:
    """Law: what is answered follows from the bytes, not from the packets they came in."""

    async def both() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        gate = Gate()
        await gate.start()
        known = cases(gate)
        stream = b"".join(known[kind].parts[0] for kind in kinds)
        edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
        pieces = [stream[start:end] for start, end in pairwise(edges)]
        await gate.order("ann", key="k")
        lane = await Served.gates(gate)
        cut = await lane.say(*pieces, answers=len(kinds))
        single = [(await lane.say(known[kind].parts[0]))[0] for kind in kinds]
        await lane.stop()
        await gate.stop()
        return [comparable(each) for each in cut], [comparable(each) for each in single]

    cut, single = uvloop.run(both())

    assert cut == single


async def test_client_that_leaves_leaves_nothing_behind(gate: Gate, lanes: tuple[Served, Served]) -> None:
    """Sent, and gone before the answer: the order exists, and the server goes on."""
    fast, _ = lanes
    client = await fast.connect()
    client.writer.write(order(gate, "bob"))
    await client.close()

    again = (await fast.say(order(gate, "bob")))[0]

    assert again.status == 201
    assert len(await gate.shop.all_orders(gate.sale_id)) == 1
