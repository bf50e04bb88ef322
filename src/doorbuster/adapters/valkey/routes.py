"""Which server has a sale: the one server there is, or the owner of the sale's slot in a cluster.

Owns: the map from slots to nodes and its refreshing. Keeps: I16 (a failover is followed without a restart).
The map is only a hint: a node that does not own the slot refuses (MOVED) before anything runs.
Read next: `calls.py`, which follows those refusals.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from hiredis import ReplyError

from doorbuster.adapters.valkey.address import Address
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node
from doorbuster.adapters.valkey.wire import Reply, known_reply
from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown, StoreUnavailable

_REFRESH_PAUSE_S: Final = 0.1
"""Between two readings of the topology: a cluster in trouble is not asked more often, however many calls fail."""


class Routes:
    """One per store. `find` is for hot paths; `locate` reads the topology when need be."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._limits = limits
        self._seed = Node(address, limits)
        self._nodes: dict[tuple[str, int], Node] = {} if address.path else {(address.host, address.port): self._seed}
        self._slots: dict[int, Node] = {}
        self._ranges: list[tuple[int, int, Node]] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._refresh_after = float("-inf")
        self.refreshes = 0

    async def start(self) -> None:
        """Begins connecting; returns when the first attempt is over, however it ended."""
        self._seed.start()
        await self._seed.tried()
        if self._seed.clustered:
            try:
                await self.refresh()
            except StoreUnavailable:
                return  # found again by the first call

    async def close(self) -> None:
        tasks = [*self._background, *([self._refreshing] if self._refreshing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self.nodes()))

    def nodes(self) -> list[Node]:
        return list({id(node): node for node in (self._seed, *self._nodes.values())}.values())

    def primaries(self) -> list[Node]:
        """The servers that have sales."""
        owners = {id(node): node for _, _, node in self._ranges}
        return list(owners.values()) or [self._seed]

    # ------------------------------------------------------------------------------------------------ finding

    def find(self, slot: int) -> Node | None:
        """The node to ask, or None if the topology has to be read first."""
        if not self._seed.clustered:
            return self._seed
        node = self._slots.get(slot)
        if node is None:
            for first, last, owner in self._ranges:
                if first <= slot <= last:
                    self._slots[slot] = node = owner
                    break
        if node is not None and not node.connected:
            self._refresh_soon()  # its slots may have a new owner by now
        return node

    async def locate(self, slot: int) -> Node:
        node = self.find(slot)
        if node is None:
            await self.refresh()
            node = self.find(slot)
        if node is None:
            raise StoreUnavailable(f"no valkey node owns slot {slot}")
        return node

    async def node_at(self, asked: Node, host: str, port: int) -> Node:
        """The node a redirection names; connected to, if that is possible."""
        address = asked.address.at(host, port)
        node = self._nodes.get((address.host, address.port))
        if node is None:
            node = self._nodes[address.host, address.port] = Node(address, self._limits)
            node.start()
        await node.tried()
        return node

    async def moved(self, slot: int, asked: Node, host: str, port: int) -> Node:
        """Notes the new owner of a slot and has the rest of the topology read again."""
        node = await self.node_at(asked, host, port)
        self._slots[slot] = node
        self._refresh_soon()
        return node

    # ------------------------------------------------------------------------------------------------ topology

    def _refresh_soon(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
            self._refreshing.add_done_callback(_note_end)

    async def refresh(self) -> None:
        """Read the topology; callers at the same time share one reading."""
        self._refresh_soon()
        assert self._refreshing is not None
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0, self._refresh_after - loop.time()))
        try:
            await self._read_topology()
        finally:
            self._refresh_after = loop.time() + _REFRESH_PAUSE_S

    async def _read_topology(self) -> None:
        for node in self.nodes():
            if not node.connected:
                continue
            try:
                reply = await node.mux.call(("CLUSTER", "SLOTS"))
            except (ReplyError, StoreUnavailable, OutcomeUnknown):
                continue
            await self._adopt(node, read_slots(known_reply(reply)))
            self.refreshes += 1
            return
        raise StoreUnavailable("no node of the valkey cluster answers")

    async def _adopt(self, asked: Node, ranges: Iterable[tuple[int, int, str, int]]) -> None:
        owners = [(first, last, await self.node_at(asked, host, port)) for first, last, host, port in ranges]
        self._ranges, self._slots = owners, {}
        kept = {id(node) for _, _, node in owners}
        for place, node in list(self._nodes.items()):
            if id(node) not in kept and node is not self._seed:
                del self._nodes[place]
                task = asyncio.get_running_loop().create_task(node.retire())
                self._background.add(task)
                task.add_done_callback(self._background.discard)


def _note_end(task: asyncio.Task[None]) -> None:
    """A refresh that nobody waits for may fail: the next call starts another."""
    if not task.cancelled():
        task.exception()


def read_slots(reply: Reply) -> list[tuple[int, int, str, int]]:
    """First slot, last slot, host and port of the primary, from a CLUSTER SLOTS reply; an empty host is the node
    that was asked."""
    ranges: list[tuple[int, int, str, int]] = []
    for entry in reply if isinstance(reply, list) else ():
        match entry:
            case [int() as first, int() as last, [host, int() as port, *_], *_]:
                name = host.decode() if isinstance(host, bytes) else ""
                ranges.append((first, last, "" if name == "?" else name, port))
            case _:
                raise InvariantViolation(f"valkey described its slots as {entry!r}")
    return ranges
