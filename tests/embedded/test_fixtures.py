"""The fixtures other tests stand on."""

from pathlib import Path

import asyncpg

from helpers.servers import Servers, call


async def test_first_database_is_empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("select count(*) from flash_sales") == 0
        await connection.execute("create table left_behind (n int)")
    finally:
        await connection.close()


async def test_second_database_is_empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("select to_regclass('left_behind')") is None
        await connection.execute("create table left_behind (n int)")
    finally:
        await connection.close()


def test_valkey_has_the_library(valkey_url: str) -> None:
    assert call(Path(valkey_url.removeprefix("unix://")), "FUNCTION", "LIST")


async def test_own_servers_survive_a_kill(own_servers: Servers) -> None:
    postgres, valkey = await own_servers.postgres(), await own_servers.valkey()
    valkey.call("SET", "kept", "1")
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("create table kept as select 1 as n")

    await postgres.kill()
    await valkey.kill()
    await postgres.start()
    await valkey.start()

    connection.terminate()
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("select n from kept") == 1
    await connection.close()
    assert valkey.call("GET", "kept") == b"1"
