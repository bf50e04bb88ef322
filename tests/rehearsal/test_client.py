"""The crowd's client against servers that behave badly."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from doorbuster.rehearsal.client import Client, Lost

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@asynccontextmanager
async def server(talk: Talk, folder: str = "") -> AsyncGenerator[Client, None]:
    """A server that talks like this to every connection, and a client for it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    port: int = listening.sockets[0].getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}{folder}", connections=2)
    try:
        yield client
    finally:
        await client.close()
        listening.close()
        await listening.wait_closed()


async def _head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_connection_that_is_closed_before_the_answer_is_lost() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        del writer

    async with server(talk) as client:
        with pytest.raises(Lost):
            await client.ask("GET", "/")


async def test_answer_that_is_cut_short_is_lost() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(OK[:-1])
        await writer.drain()

    async with server(talk) as client:
        with pytest.raises(Lost):
            await client.ask("GET", "/")


async def test_what_is_not_http_is_lost() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(b"hello\r\n\r\n")
        await writer.drain()

    async with server(talk) as client:
        with pytest.raises(Lost):
            await client.ask("GET", "/")


async def test_nobody_listening_is_lost() -> None:
    client = Client("http://127.0.0.1:9", connections=1)

    with pytest.raises(Lost):
        await client.ask("GET", "/")


async def test_answer_in_pieces_is_put_together() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        for byte in b"HTTP/1.1 503 X\r\nRetry-After: 7\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()

    async with server(talk) as client:
        answer = await client.ask("GET", "/")

    assert (answer.status, answer.body, answer.retry_after_s) == (503, b"hi", 7.0)


async def test_connection_is_kept_and_used_again() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            await _head(reader)
            writer.write(OK)
            await writer.drain()

    async with server(talk) as client:
        for _ in range(3):
            assert (await client.ask("GET", "/")).body == b"hi"

    assert connections == 1


@pytest.mark.parametrize("folder", ["/shop", "/shop/"])
async def test_path_of_the_address_comes_first(folder: str) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await _head(reader))
        writer.write(OK)
        await writer.drain()

    async with server(talk, folder) as client:
        await client.ask("GET", "/v1/sales")

    assert heard[0].startswith(b"GET /shop/v1/sales HTTP/1.1\r\n")


async def test_server_that_closes_after_each_answer_is_asked_anew() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        await writer.drain()

    async with server(talk) as client:
        answers = [(await client.ask("GET", "/")).status for _ in range(3)]

    assert answers == [200, 200, 200]
