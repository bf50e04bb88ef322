"""A real cluster: wrong nodes, moving slots, a dead primary."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

import msgspec
import pytest
from tests.valkey.images import EPOCH, NOW, SALE, Raw, ask, hold, image, publish, raw_at, store_at, words
from tests.valkey.servers import Server, free_port

from doorbuster.adapters.valkey.keys import NAMES, sale_keys
from doorbuster.adapters.valkey.line import ValkeyLineStore
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.engine.image import LineHead
from doorbuster.engine.line_ports import LineAsk
from doorbuster.engine.ports import (
    OutcomeUnknown,
    StoreUnavailable,
    TakeWord,
)
from helpers.waiting import until

SLOTS = 16_384
SLOT = sale_keys(SALE).slot
PARTS = ((0, 5_460), (5_461, 10_922), (10_923, SLOTS - 1))
OWNER = next(number for number, (first, last) in enumerate(PARTS) if first <= SLOT <= last)
OTHER = (OWNER + 1) % len(PARTS)
THIRD = (OWNER + 2) % len(PARTS)
SPARE = len(PARTS)
"""Starts as an empty primary; one test makes it a replica."""
QUICK = Limits(call_timeout_s=0.5, connect_timeout_s=0.5, backoff_max_s=0.05)


class Cluster:
    def __init__(self, servers: Sequence[Server], raws: Sequence[Raw]) -> None:
        self.servers = servers
        self.raws = raws

    async def id_of(self, number: int) -> str:
        reply = await self.raws[number].do("CLUSTER", "MYID")
        assert isinstance(reply, bytes)
        return reply.decode()

    async def settled(self) -> bool:
        """Whether every node sees every slot served and knows all nodes."""
        for raw in self.raws:
            info = await raw.do("CLUSTER", "INFO")
            assert isinstance(info, bytes)
            known = f"cluster_known_nodes:{len(self.servers)}\r\n".encode()
            if b"cluster_state:ok" not in info or known not in info:
                return False
        return True

    async def migrate(self, source: int, target: int) -> None:
        """Move the sale's slot as `valkey-cli --cluster reshard` does."""
        await self.open_migration(source, target)
        await self.move_keys(source, target)
        await self.close_migration(target)

    async def open_migration(self, source: int, target: int) -> None:
        await self.raws[target].do("CLUSTER", "SETSLOT", SLOT, "IMPORTING", await self.id_of(source))
        await self.raws[source].do("CLUSTER", "SETSLOT", SLOT, "MIGRATING", await self.id_of(target))

    async def move_keys(self, source: int, target: int, *, limit: int = 100) -> None:
        names = await self.raws[source].names("CLUSTER", "GETKEYSINSLOT", SLOT, limit)
        if names:
            port = self.servers[target].port
            await self.raws[source].do("MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *names)

    async def close_migration(self, target: int) -> None:
        owner = await self.id_of(target)
        for raw in (self.raws[target], *self.raws):
            await raw.do("CLUSTER", "SETSLOT", SLOT, "NODE", owner)


@contextmanager
def formed() -> Generator[Sequence[Server]]:
    with ExitStack() as stack:
        made: list[Server] = []
        for _ in range(len(PARTS) + 1):
            bus = str(free_port())
            server = Server(
                tcp=True,
                cluster_enabled="yes",
                cluster_port=bus,
                cluster_node_timeout="2000",
                repl_diskless_sync_delay="0",
            )
            stack.callback(server.remove)
            server.start()
            made.append(server)
        asyncio.run(_form(made))
        yield made


@pytest.fixture(scope="module")
def servers() -> Iterator[Sequence[Server]]:
    with formed() as servers:
        yield servers


@pytest.fixture
def own_servers_of_a_cluster() -> Iterator[Sequence[Server]]:
    with formed() as servers:
        yield servers


@asynccontextmanager
async def cluster_of(servers: Sequence[Server]) -> AsyncGenerator[Cluster]:
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(raw_at(server.url)) for server in servers]
        yield Cluster(servers, raws)


async def _form(servers: Sequence[Server]) -> None:
    async with cluster_of(servers) as cluster:
        for number, (raw, (first, last)) in enumerate(zip(cluster.raws, PARTS, strict=False), start=1):
            await raw.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            await raw.do("CLUSTER", "SET-CONFIG-EPOCH", number)
        for server in servers[1:]:
            await cluster.raws[0].do("CLUSTER", "MEET", "127.0.0.1", server.port, server.setting("cluster-port"))
        await until(cluster.settled, within=20)


@pytest.fixture
async def cluster(servers: Sequence[Server]) -> AsyncIterator[Cluster]:
    """The cluster with the slot back at its owner, and empty."""
    async with cluster_of(servers) as cluster:
        for raw in cluster.raws:
            await raw.do("FLUSHALL")
        await cluster.close_migration(OWNER)
        yield cluster


@pytest.mark.parametrize("seed", [OWNER, OTHER, THIRD, SPARE])
async def test_any_node_may_be_named_in_the_url(cluster: Cluster, seed: int) -> None:
    async with store_at(cluster.servers[seed].url) as store:
        await publish(store, image(stock=1))

        assert await words(store, ask(1), ask(2)) == [TakeWord.HELD, TakeWord.NO_STOCK]
        assert (await store.take_one(SALE, ask(1), NOW, EPOCH)).word is TakeWord.SEEN
        assert store.statistics().calls.redirects == 0, "the topology was read before the first call"


async def test_every_key_of_a_sale_is_in_one_slot(cluster: Cluster) -> None:
    slots = {await cluster.raws[0].do("CLUSTER", "KEYSLOT", sale_keys(SALE).names[name]) for name in NAMES}

    assert slots == {SLOT}


async def test_library_is_loaded_on_every_primary(cluster: Cluster) -> None:
    for raw in cluster.raws:
        await raw.do("FUNCTION", "FLUSH")
    async with store_at(cluster.servers[OTHER].url) as store:
        await store.load_library()

        for number in (OWNER, OTHER, THIRD):
            assert await cluster.raws[number].do("FUNCTION", "LIST") != []


async def test_moved_slot_is_followed_without_loss(cluster: Cluster) -> None:
    async with store_at(cluster.servers[OWNER].url) as store:
        await publish(store, image(stock=3))
        await words(store, ask(1))
        await cluster.migrate(OWNER, OTHER)

        one = await store.take_one(SALE, ask(2), NOW, EPOCH)
        said = await words(store, ask(1), ask(3))

        assert (one.word, one.stock) == (TakeWord.HELD, 1)
        assert said == [TakeWord.SEEN, TakeWord.HELD]
        assert one.run_id == await store.run_id(SALE)
        assert store.statistics().calls.redirects >= 1
        await until(lambda: store.statistics().calls.refreshes >= 2)


async def test_key_on_its_way_is_asked_at_its_new_owner(cluster: Cluster) -> None:
    async with store_at(cluster.servers[OWNER].url) as store:
        before = await store.run_id(SALE)
        await cluster.open_migration(OWNER, OTHER)

        after = await store.run_id(SALE)

        assert after != before
        assert await store.claims(SALE, ["ann"]) == {}
        assert store.statistics().calls.redirects == 2


async def test_sale_without_keys_on_its_way_takes_nothing(cluster: Cluster) -> None:
    """A call with several keys that are not there yet is refused by both nodes (TRYAGAIN), image or not."""
    async with store_at(cluster.servers[OWNER].url) as store:
        await cluster.open_migration(OWNER, OTHER)

        with pytest.raises(StoreUnavailable, match="TRYAGAIN"):
            await words(store, ask(1))


async def test_slot_half_way_takes_nothing(cluster: Cluster) -> None:
    async with store_at(cluster.servers[OWNER].url) as store:
        await publish(store, image(stock=3))
        await words(store, ask(1))
        await cluster.open_migration(OWNER, OTHER)
        await cluster.move_keys(OWNER, OTHER, limit=2)

        with pytest.raises(StoreUnavailable, match="TRYAGAIN"):
            await words(store, ask(2))

        await cluster.move_keys(OWNER, OTHER)
        await cluster.close_migration(OTHER)
        assert await words(store, ask(2)) == [TakeWord.HELD]
        summary = await store.summary(SALE)
        assert summary is not None
        assert (summary.stock, summary.held) == (1, 2)


async def test_line_follows_its_slot(cluster: Cluster) -> None:
    async with store_at(cluster.servers[OWNER].url) as store:
        line = ValkeyLineStore(store)
        head = image(stock=1)
        await publish(store, msgspec.structs.replace(head, line=LineHead(number_next=0, number_high=9, moves_ms=0)))
        first = await line.ask_one(SALE, LineAsk("ann", join=True), NOW, EPOCH, 0)
        await cluster.migrate(OWNER, OTHER)

        second = await line.ask_one(SALE, LineAsk("bob", join=True), NOW, EPOCH, 0)
        granting = await line.grant(SALE, ["hold-1"], now_ms=NOW, epoch=EPOCH)

        assert (first.number, second.number, second.position) == (1, 2, 2)
        assert second.run_id != first.run_id
        assert await line.settle(SALE, granting.grants, (), mark=1, epoch=EPOCH)
        assert await line.first_numbers(SALE, 10) == [("bob", 2)]
        await line.close()


async def test_build_that_changes_servers_publishes_nothing(cluster: Cluster) -> None:
    async with store_at(cluster.servers[OWNER].url) as store:
        assert await store.begin_image(SALE, EPOCH)
        await cluster.migrate(OWNER, OTHER)

        assert await store.publish_image(SALE, EPOCH, image()) is None

        assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]


async def test_failover_is_followed_by_itself(own_servers_of_a_cluster: Sequence[Server]) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(cluster_of(own_servers_of_a_cluster))
        store = await stack.enter_async_context(store_at(cluster.servers[OTHER].url, QUICK))
        owner, replica = cluster.raws[OWNER], cluster.raws[SPARE]
        await replica.do("CLUSTER", "REPLICATE", await cluster.id_of(OWNER))
        await publish(store, image(stock=3))
        await words(store, ask(1))
        before = await store.run_id(SALE)
        await until(lambda: _in_step(owner, replica))

        cluster.servers[OWNER].end()
        with pytest.raises((StoreUnavailable, OutcomeUnknown)):
            await words(store, ask(2))
        await replica.do("CLUSTER", "FAILOVER", "TAKEOVER")

        await until(lambda: _sells(store))
        assert await store.run_id(SALE) != before
        assert {row.hold_id async for rows in store.holds(SALE) for row in rows} >= {hold(1).hold_id}


async def _in_step(owner: Raw, replica: Raw) -> bool:
    info = await replica.do("INFO", "replication")
    assert isinstance(info, bytes)
    sizes = (await owner.do("DBSIZE"), await replica.do("DBSIZE"))
    return b"master_link_status:up" in info and sizes[0] == sizes[1] != 0


async def _sells(store: ValkeyStockStore) -> bool:
    try:
        return await words(store, ask(3)) in ([TakeWord.HELD], [TakeWord.SEEN])
    except (StoreUnavailable, OutcomeUnknown):
        return False
