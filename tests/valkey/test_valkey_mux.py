"""The shared connection: who is told what when callers leave, servers die and networks stall."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.valkey.images import EPOCH, NOW, QUICK, SALE, Raw, ask, node_at, publish, store_at, words
from tests.valkey.proxy import Proxy, proxy_to
from tests.valkey.servers import Server

from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from helpers.waiting import until


@pytest.fixture
async def proxy(server: Server, raw: Raw) -> AsyncIterator[Proxy]:
    async with proxy_to(f"{server.folder}/socket") as proxy:
        yield proxy


@pytest.fixture
async def node(proxy: Proxy) -> AsyncIterator[Node]:
    async with node_at(proxy.url) as node:
        yield node


async def sent(proxy: Proxy, command: bytes) -> None:
    """Returns once a request with this in it has passed the proxy."""
    while command not in await proxy.requests.get():
        pass


async def test_cancelled_caller_does_not_shift_replies(proxy: Proxy, node: Node) -> None:
    proxy.hold_replies()
    calls = [node.mux.call(("ECHO", f"word-{number}")) for number in range(6)]
    await sent(proxy, b"word-5")

    calls[0].cancel()
    calls[3].cancel()
    proxy.pass_replies()

    assert [await calls[number] for number in (1, 2, 4, 5)] == [b"word-1", b"word-2", b"word-4", b"word-5"]
    assert await node.mux.call(("ECHO", "next")) == b"next"


async def test_call_cancelled_before_the_write_never_leaves(node: Node, raw: Raw) -> None:
    call = node.mux.call(("SET", "left", "yes"))

    call.cancel()

    assert await node.mux.call(("GET", "left")) is None


async def test_calls_of_one_turn_leave_in_one_write(proxy: Proxy, node: Node) -> None:
    while not proxy.requests.empty():
        proxy.requests.get_nowait()

    await asyncio.gather(*(node.mux.call(("ECHO", number)) for number in range(50)))

    assert proxy.requests.get_nowait().count(b"ECHO") == 50


async def test_connection_cut_in_flight_leaves_the_outcome_unknown(proxy: Proxy, node: Node) -> None:
    proxy.hold_replies()
    call = node.mux.call(("ECHO", "in flight"))
    await sent(proxy, b"in flight")

    proxy.cut()

    with pytest.raises(OutcomeUnknown, match="lost"):
        await call


async def test_call_not_yet_written_is_known_not_to_have_happened(node: Node) -> None:
    mux = node.mux
    mux.pause_writing()
    call = mux.call(("ECHO", "waiting"))

    mux.abort()

    with pytest.raises(StoreUnavailable, match="lost"):
        await call


async def test_waiting_calls_leave_when_the_socket_has_room(node: Node) -> None:
    node.mux.pause_writing()
    call = node.mux.call(("ECHO", "waiting"))
    await asyncio.sleep(0)

    node.mux.resume_writing()

    assert await call == b"waiting"


async def test_lost_connection_comes_back_by_itself(proxy: Proxy, node: Node) -> None:
    proxy.cut()
    await until(lambda: not node.connected)
    with pytest.raises(StoreUnavailable, match="not connected"):
        node.mux.call(("PING",))

    await until(lambda: node.connected)

    assert await node.mux.call(("PING",)) == b"PONG"
    assert node.connects == 2


async def test_connection_killed_by_the_server_comes_back(node: Node, raw: Raw) -> None:
    await raw.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    await until(lambda: node.connects == 2 and node.connected)

    assert await node.mux.call(("PING",)) == b"PONG"


async def test_silent_server_is_an_unknown_outcome_in_time(proxy: Proxy) -> None:
    async with node_at(proxy.url, QUICK) as node:
        proxy.hold_replies()

        with pytest.raises(OutcomeUnknown, match="in time"):
            await node.mux.call(("ECHO", "first"))


async def test_late_reply_finds_its_place(proxy: Proxy) -> None:
    async with node_at(proxy.url, QUICK) as node:
        proxy.hold_replies()
        late = node.mux.call(("ECHO", "late"))
        with pytest.raises(OutcomeUnknown):
            await late
        after = node.mux.call(("ECHO", "after"))

        proxy.pass_replies()

        assert await after == b"after"
        assert node.connects == 1


async def test_call_that_could_not_leave_in_time_did_not_happen(proxy: Proxy) -> None:
    async with node_at(proxy.url, QUICK) as node:
        node.mux.pause_writing()

        with pytest.raises(StoreUnavailable, match="took no call"):
            await node.mux.call(("ECHO", "waiting"))


async def test_connection_silent_for_long_is_given_up(proxy: Proxy) -> None:
    async with node_at(proxy.url, QUICK) as node:
        proxy.hold_replies()
        first = node.mux
        with pytest.raises(OutcomeUnknown):
            await first.call(("ECHO", "x"))

        await first.lost.wait()

        proxy.pass_replies()
        await until(lambda: node.connects == 2 and node.connected)


async def test_too_many_waiting_calls_are_refused_at_once(proxy: Proxy) -> None:
    async with node_at(proxy.url, Limits(in_flight_max=10)) as node:
        proxy.hold_replies()
        calls = [node.mux.call(("ECHO", number)) for number in range(10)]

        with pytest.raises(StoreUnavailable, match="10 calls"):
            node.mux.call(("ECHO", "one too many"))

        proxy.pass_replies()
        assert await asyncio.gather(*calls) == [str(number).encode() for number in range(10)]


async def test_error_reply_is_for_its_caller_only(node: Node) -> None:
    replies = await asyncio.gather(
        node.mux.call(("ECHO", "a")), node.mux.call(("NONSENSE",)), node.mux.call(("ECHO", "b")), return_exceptions=True
    )

    assert (replies[0], replies[2]) == (b"a", b"b")
    assert "unknown command" in str(replies[1])


async def test_big_replies_arrive_whole(node: Node) -> None:
    big = "x" * (8 << 20)

    replies = await asyncio.gather(*(node.mux.call(("ECHO", big)) for _ in range(4)))

    assert replies == [big.encode()] * 4


async def test_bytes_that_are_no_reply_end_the_connection(node: Node) -> None:
    mux = node.mux
    call = mux.call(("ECHO", "x"))
    await asyncio.sleep(0)

    mux.data_received(b"HTTP/1.1 200 OK\r\n")

    with pytest.raises(OutcomeUnknown):
        await call


async def test_reply_that_nobody_asked_for_ends_the_connection(node: Node) -> None:
    mux = node.mux

    mux.data_received(b"+OK\r\n")

    await mux.lost.wait()


async def test_finished_connection_answers_what_it_has_taken(proxy: Proxy, node: Node) -> None:
    mux = node.mux
    call = mux.call(("ECHO", "last"))

    mux.finish()

    with pytest.raises(StoreUnavailable):
        mux.call(("ECHO", "too late"))
    assert await call == b"last"
    await mux.lost.wait()


async def test_closing_tells_callers_in_flight(proxy: Proxy) -> None:
    async with node_at(proxy.url) as node:
        proxy.hold_replies()
        call = node.mux.call(("ECHO", "x"))
        await sent(proxy, b"ECHO")
        await node.close()

        with pytest.raises(OutcomeUnknown):
            await call


async def test_statistics_count_what_happened(proxy: Proxy) -> None:
    async with store_at(proxy.url, QUICK) as store:
        await publish(store)
        proxy.hold_replies()
        with pytest.raises(OutcomeUnknown):
            await words(store, ask(1))
        proxy.pass_replies()
        proxy.cut()
        await until(lambda: store.statistics().calls.connected == 0)
        with pytest.raises(StoreUnavailable):
            await words(store, ask(1))

        counts = store.statistics().calls

        assert (counts.unknown, counts.unavailable, counts.nodes) == (1, 1, 1)


async def test_store_is_closed_with_calls_in_flight(proxy: Proxy) -> None:
    store = await ValkeyStockStore.connect(proxy.url)
    await publish(store)
    proxy.hold_replies()
    one = store.take_one(SALE, ask(1), NOW, EPOCH)
    await sent(proxy, b"hold-1")

    await store.close()

    with pytest.raises(OutcomeUnknown):
        await one
