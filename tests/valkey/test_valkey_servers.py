"""Servers that are down, restarted, frozen, shut, full or busy: nothing is taken, and service comes back by itself."""

import asyncio
import signal
from collections.abc import Awaitable

import psutil
import pytest
from tests.valkey.images import EPOCH, NOW, QUICK, SALE, ask, image, node_at, publish, store_at, words
from tests.valkey.servers import Server, running

from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable, TakeWord
from helpers.waiting import until


async def test_server_that_is_down_is_told_at_once_and_found_later() -> None:
    server = Server()
    try:
        async with store_at(server.url, QUICK) as store:
            with pytest.raises(StoreUnavailable, match="No such file"):
                await words(store, ask(1))

            server.start()

            await until(lambda: _said(words(store, ask(1)), [TakeWord.NO_IMAGE]))
    finally:
        server.remove()


async def test_restarted_server_is_used_again_with_its_library() -> None:
    with running(appendonly="yes", appendfsync="always") as server:
        async with store_at(server.url, QUICK) as store:
            await publish(store)
            first = (await store.take(SALE, [ask(1)], now_ms=NOW, epoch_min=EPOCH)).run_id

            server.end()
            server.start()

            await until(lambda: _said(words(store, ask(1)), [TakeWord.SEEN]))
            second = (await store.take(SALE, [ask(2)], now_ms=NOW, epoch_min=EPOCH)).run_id
            assert second != first
            assert await store.run_id(SALE) == second


async def test_frozen_server_is_an_unknown_outcome() -> None:
    with running() as server:
        async with store_at(server.url, QUICK) as store:
            await publish(store)
            server.send(signal.SIGSTOP)

            with pytest.raises(OutcomeUnknown):
                await words(store, ask(1))

            server.send(signal.SIGCONT)
            await until(lambda: _said(words(store, ask(1)), [TakeWord.HELD], [TakeWord.SEEN]))


@pytest.mark.parametrize(("maxmemory", "most"), [("64mb", 64 << 20), ("0", psutil.virtual_memory().total)])
async def test_memory_it_may_have_is_its_limit_or_the_machines(maxmemory: str, most: int) -> None:
    with running(maxmemory=maxmemory) as server:
        async with store_at(server.url, QUICK) as store:
            used, may = await store.memory(SALE)
    assert 0 < used < may
    assert may == pytest.approx(most, rel=0.01)


async def _said(call: Awaitable[list[TakeWord]], *wanted: list[TakeWord]) -> bool:
    try:
        return await call in wanted
    except (StoreUnavailable, OutcomeUnknown):
        return False


async def test_wrong_password_is_told_and_not_shown() -> None:
    with running(requirepass="right") as server:
        url = server.url.replace("unix://", "unix://:wr0ng@")
        async with store_at(url) as store:
            with pytest.raises(StoreUnavailable, match="WRONGPASS") as told:
                await words(store, ask(1))

            assert "wr0ng" not in str(told.value)


async def test_missing_password_is_told() -> None:
    with running(requirepass="right") as server:
        async with store_at(server.url) as store:
            with pytest.raises(StoreUnavailable, match="NOAUTH"):
                await words(store, ask(1))


async def test_user_and_database_are_entered() -> None:
    with running() as server:
        url = server.url.replace("unix://", "unix://gate:p%25s@") + "?db=3"
        async with node_at(server.url) as operator:
            await operator.mux.call(("ACL", "SETUSER", "gate", "on", ">p%s", "~*", "+@all"))
        async with store_at(url) as store, node_at(url) as node:
            await publish(store)

            assert await words(store, ask(1)) == [TakeWord.HELD]
            assert b"db3:" in _bytes(await node.mux.call(("INFO", "keyspace")))


def _bytes(reply: object) -> bytes:
    assert isinstance(reply, bytes)
    return reply


async def test_address_of_the_sixth_version_is_reached() -> None:
    with running(tcp=True, bind="::1") as server:
        async with store_at(f"redis://[::1]:{server.port}") as store:
            assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("maxmemory", "1", "OOM"),
        ("min-replicas-to-write", "1", "NOREPLICAS"),
    ],
)
async def test_server_that_refuses_writes_takes_nothing(setting: str, value: str, word: str) -> None:
    with running() as server:
        async with store_at(server.url) as store, node_at(server.url) as node:
            await publish(store)
            await node.mux.call(("CONFIG", "SET", setting, value))

            with pytest.raises(StoreUnavailable, match=word):
                await words(store, ask(1))

            await node.mux.call(("CONFIG", "SET", setting, "0"))
            assert await words(store, ask(1)) == [TakeWord.HELD]


async def test_replica_takes_nothing() -> None:
    with running(tcp=True) as primary, running(replicaof=f"127.0.0.1 {primary.port}") as replica:
        async with store_at(primary.url) as writer, store_at(replica.url) as store:
            await publish(writer, image())

            async def refused() -> bool:
                try:
                    await words(store, ask(1))
                except StoreUnavailable as problem:
                    return "READONLY" in str(problem)
                return False

            await until(refused)


async def test_busy_server_takes_nothing() -> None:
    with running(busy_reply_threshold="1") as server:
        async with store_at(server.url) as store, node_at(server.url) as node, node_at(server.url) as operator:
            await publish(store)
            endless = node.mux.call(("EVAL", "while true do end", 0))

            async def busy() -> bool:
                try:
                    await words(store, ask(1))
                except StoreUnavailable as problem:
                    return "BUSY" in str(problem)
                return False

            await until(busy)
            await operator.mux.call(("SCRIPT", "KILL"))
            await asyncio.gather(endless, return_exceptions=True)
            assert await words(store, ask(2)) == [TakeWord.HELD]
