"""Images to test on, raw commands, and what an image looks like from outside."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from doorbuster.adapters.valkey.address import read_address
from doorbuster.adapters.valkey.keys import NAMES, Name, sale_keys
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.adapters.valkey.wire import Part, Reply, known_reply
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead, ImageState
from doorbuster.engine.ports import (
    Ask,
    TakeWord,
)

SALE = "0190a5b1-7c3e-7000-8000-000000000001"
OPENS, ENDS = 1_000, 2_000
NOW = 1_500
EPOCH = 3
QUICK = Limits(call_timeout_s=0.1, connect_timeout_s=0.2, backoff_max_s=0.05)
"""For tests that wait for a time-out."""


class Raw:
    """Commands as an operator would type them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def do(self, *command: Part) -> object:
        return await self._node.mux.call(command)

    async def names(self, *command: Part) -> list[bytes]:
        """The reply to a command that lists names."""
        return [name for name in _list(await self.do(*command)) if isinstance(name, bytes)]

    async def key(self, command: str, name: Name, *arguments: Part) -> object:
        return await self.do(command, sale_keys(SALE).names[name], *arguments)

    async def everything(self) -> Sequence[object]:
        """All that the server has of the sale, byte by byte: equal before and after means nothing was changed."""
        return [await self.key("DUMP", name) for name in NAMES]


def _list(reply: object) -> list[Reply]:
    known = known_reply(reply)
    assert isinstance(known, list)
    return known


@asynccontextmanager
async def node_at(url: str, limits: Limits | None = None) -> AsyncGenerator[Node]:
    node = Node(read_address(url), limits or Limits())
    node.start()
    await node.tried()
    try:
        yield node
    finally:
        await node.close()


@asynccontextmanager
async def raw_at(url: str) -> AsyncGenerator[Raw]:
    async with node_at(url) as node:
        yield Raw(node)


@asynccontextmanager
async def store_at(url: str, bounds: Limits | None = None) -> AsyncGenerator[ValkeyStockStore]:
    store = await ValkeyStockStore.connect(url, bounds)
    try:
        yield store
    finally:
        await store.close()


def ask(number: int, user: str = "", *, quantity: int = 1, key: str = "", digest: str = "body") -> Ask:
    return Ask(f"hold-{number}", user or f"buyer-{number}", quantity, key or f"key-{number}", digest)


def hold(number: int, user: str = "", *, quantity: int = 1) -> Hold:
    return Hold(
        hold_id=f"hold-{number}",
        user_id=user or f"buyer-{number}",
        quantity=quantity,
        key=f"key-{number}",
        digest="body",
        since_ms=NOW,
    )


def image(
    stock: int = 5, *, held: int = 0, limit: int = 2, state: ImageState = ImageState.SELLING, tick: int = 10
) -> ImageHead:
    return ImageHead(
        state=state,
        opens_ms=OPENS,
        ends_ms=ENDS,
        limit=limit,
        available=stock + held,
        stock=stock,
        held=held,
        tick=tick,
    )


async def publish(
    store: ValkeyStockStore, head: ImageHead | None = None, *chunks: ImageChunk, epoch: int = EPOCH
) -> None:
    assert await store.begin_image(SALE, epoch)
    for chunk in chunks:
        assert await store.write_image(SALE, epoch, chunk)
    assert await store.publish_image(SALE, epoch, head or image())


async def words(store: ValkeyStockStore, *asks: Ask, now_ms: int = NOW, epoch_min: int = EPOCH) -> list[TakeWord]:
    taken = await store.take(SALE, asks, now_ms=now_ms, epoch_min=epoch_min)
    return [take.word for take in taken.takes]
