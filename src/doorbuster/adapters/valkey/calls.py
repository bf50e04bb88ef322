"""Carries one call to the server that has the sale, following redirections and reloading a lost library.

Owns: which refusals are answered by sending again. Keeps: I1: only a call that was refused before it ran is sent
again; one that left and got no answer is OutcomeUnknown for its caller. Read next: `functions.py`.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from hiredis import ReplyError

from doorbuster import tracing
from doorbuster.adapters.valkey.address import Address
from doorbuster.adapters.valkey.faults import Verdict, as_accident, redirect_of, verdict_of
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node
from doorbuster.adapters.valkey.routes import Routes
from doorbuster.adapters.valkey.wire import Command, Reply, known_reply
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_SENDS_MAX: Final = 5
"""A call is redirected a few times at most while slots move; more is a cluster that disagrees with itself."""


def _name_of(command: Command) -> str:
    """The function that is called, or the command: never a key or an argument."""
    parts = [part.decode() if isinstance(part, bytes) else str(part) for part in command[:2]]
    return " ".join(parts) if parts[0] == "FCALL" else parts[0]


class Answer(msgspec.Struct, frozen=True):
    """A reply, and the server process it came from."""

    reply: Reply
    run_id: str


class OtherServer(Exception):
    """The call was meant for one server process only and another one has the sale now. Nothing was sent."""


class CallStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start, and gauges of now."""

    nodes: int
    connected: int
    connects: int
    waiting: int
    calls: int
    unavailable: int
    unknown: int
    redirects: int
    library_loads: int
    refreshes: int


class Calls:
    """One per store."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.routes = Routes(address, limits)
        self.calls = 0
        self.unavailable = 0
        self.unknown = 0
        self._redirects = 0

    async def run(self, slot: int, command: Command, *, only_run_id: str = "") -> Answer:
        """The reply to this command from the owner of the slot. With `only_run_id`, OtherServer is raised instead of
        sending it to any other server process."""
        self.calls += 1
        try:
            traces = tracing.now()
            if traces is None:
                return await self._run(slot, command, only_run_id)
            with traces.part(f"valkey {_name_of(command)}", {"db.system.name": "valkey"}):
                return await self._run(slot, command, only_run_id)
        except StoreUnavailable:
            self.unavailable += 1
            raise
        except OutcomeUnknown:
            self.unknown += 1
            raise

    async def _run(self, slot: int, command: Command, only_run_id: str) -> Answer:
        node = await self.routes.locate(slot)
        asking = False
        loaded = False
        problem: Exception = StoreUnavailable("valkey redirects without end")
        for _ in range(_SENDS_MAX):
            mux, run_id = node.mux, node.run_id  # one connection: the run id is of the process that will answer
            if only_run_id and run_id != only_run_id:
                raise OtherServer
            try:
                return Answer(known_reply(await mux.call(command, asking=asking)), run_id)
            except ReplyError as refusal:
                problem = refusal
            asking = False
            match verdict_of(problem):
                case Verdict.MOVED | Verdict.ASK as verdict:
                    asking = verdict is Verdict.ASK
                    node = await self._follow(node, problem, asking=asking)
                case Verdict.NO_FUNCTION if not loaded:
                    loaded = True
                    await node.load_library()
                case verdict:
                    raise as_accident(problem, verdict) from None
        raise StoreUnavailable(f"valkey redirects without end: {problem}")

    async def _follow(self, node: Node, problem: Exception, *, asking: bool) -> Node:
        self._redirects += 1
        target = redirect_of(problem)
        if asking:
            return await self.routes.node_at(node, target.host, target.port)
        return await self.routes.moved(target.slot, node, target.host, target.port)

    async def load_library(self) -> None:
        """Load the function library on every server that has sales."""
        for node in self.routes.primaries():
            await node.load_library()

    async def close(self) -> None:
        await self.routes.close()

    def statistics(self) -> CallStatistics:
        nodes = self.routes.nodes()
        return CallStatistics(
            nodes=len(nodes),
            connected=_count(node.connected for node in nodes),
            connects=sum(node.connects for node in nodes),
            waiting=sum(node.waiting for node in nodes),
            calls=self.calls,
            unavailable=self.unavailable,
            unknown=self.unknown,
            redirects=self._redirects,
            library_loads=sum(node.library_loads for node in nodes),
            refreshes=self.routes.refreshes,
        )


def _count(truths: Iterable[bool]) -> int:
    return sum(1 for truth in truths if truth)
