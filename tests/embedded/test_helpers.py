"""The helpers that other tests trust: what they break is really broken, and whole again afterwards."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from helpers.proxy import Proxy, proxy_to
from helpers.waiting import until

PING = b"PING\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def door(valkey_url: str) -> AsyncIterator[Proxy]:
    async with proxy_to(valkey_url) as proxy:
        yield proxy


@pytest.fixture
async def line(door: Proxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    yield reader, writer
    writer.transport.abort()


async def ask(line: Streams, within: float = 5.0) -> bytes:
    line[1].write(PING)
    return await asyncio.wait_for(line[0].readline(), within)


async def test_nothing_comes_out_of_a_black_hole(door: Proxy, line: Streams) -> None:
    await ask(line)

    door.black_hole()
    with pytest.raises(TimeoutError):
        await ask(line, within=0.1)

    door.heal()
    assert await line[0].readline() == b"+PONG\r\n"


async def test_kept_answers_come_later(door: Proxy, line: Streams) -> None:
    door.answers = False
    with pytest.raises(TimeoutError):
        await ask(line, within=0.1)

    door.answers = True

    assert await line[0].readline() == b"+PONG\r\n"


async def test_reset_is_felt_by_the_client(door: Proxy, line: Streams) -> None:
    await ask(line)

    door.reset()

    with pytest.raises(ConnectionResetError):
        await line[0].read(1)


async def test_closed_port_refuses_and_opens_again(door: Proxy, line: Streams) -> None:
    await door.refuse()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", door.port)

    await door.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    assert await ask((reader, writer)) == b"+PONG\r\n"
    writer.transport.abort()


async def test_server_hears_the_end_of_a_half_closed_line(door: Proxy, line: Streams) -> None:
    await ask(line)

    door.half_close()

    assert await line[0].read() == b""


async def test_latency_is_added_each_way(door: Proxy, line: Streams) -> None:
    door.latency_s = 0.05
    loop = asyncio.get_running_loop()
    begun = loop.time()

    await ask(line)

    assert loop.time() - begun >= 0.1


async def test_postgres_is_reached_through_a_door(database_url: str) -> None:
    async with proxy_to(database_url) as door:
        connection = await asyncpg.connect(door.url)

        assert await connection.fetchval("select count(*) from flash_sales") == 0

        await connection.close()


async def test_waiting_in_vain_says_what_was_last() -> None:
    with pytest.raises(AssertionError, match="last: 0"):
        await until(lambda: 0, within=0.02)


async def test_waiting_takes_assertions_as_not_yet() -> None:
    left = [3]

    def countdown() -> bool:
        left[0] -= 1
        assert left[0] == 0
        return True

    assert await until(countdown, within=1)
