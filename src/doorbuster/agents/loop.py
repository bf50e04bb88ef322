"""Runs agents: each in its own loop, at its own pace, through every accident.

Owns: pacing, back-off and the one place where an unexpected exception is logged and outlived.
Keeps: I16 (an agent that fails goes on trying, ever less often, never in step with the others).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from doorbuster import tracing
from doorbuster.engine.ports import Clock, Ids, OutcomeUnknown, StoreUnavailable

_BACKOFF_MAX_S = 5.0

log = structlog.get_logger(__name__)

Counts = Mapping[str, int]


class Agent(Protocol):
    """`interval_s` is the pause between two passes; a pass that found work is followed by the next at once."""

    @property
    def name(self) -> str: ...
    @property
    def interval_s(self) -> float: ...
    async def run_once(self, now_ms: int) -> Counts:
        """One pass. Returns what was done by name; `more` above 0 asks for another pass without a pause."""
        ...


class AgentReport:
    """What an agent has done since the start; read by the metrics."""

    def __init__(self) -> None:
        self.passes = 0
        self.failures = 0
        self.done: dict[str, int] = {}
        self.last_pass_at = float("-inf")


class AgentLoops:
    """All agents of one worker."""

    def __init__(self, agents: Sequence[Agent], clock: Clock, ids: Ids) -> None:
        self._agents = agents
        self._clock = clock
        self._ids = ids
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = {agent.name: asyncio.Event() for agent in agents}
        self.reports = {agent.name: AgentReport() for agent in agents}

    def start(self) -> None:
        self._tasks = [
            asyncio.get_running_loop().create_task(self._run(agent), name=agent.name) for agent in self._agents
        ]

    def wake(self, name: str) -> None:
        """Let this agent make its next pass now; one that is not here is not missed."""
        event = self._wake.get(name)
        if event is not None:
            event.set()

    async def stop(self) -> None:
        """Let every agent finish its pass, then stop."""
        self._stopping.set()
        for event in self._wake.values():
            event.set()
        await asyncio.gather(*self._tasks)

    async def _run(self, agent: Agent) -> None:
        backoff = 0.0
        while not self._stopping.is_set():
            wake = self._wake[agent.name]
            wake.clear()
            more = await self._pass(agent)
            backoff = min(max(backoff * 2, agent.interval_s, 0.1), _BACKOFF_MAX_S) if more is None else 0.0
            if not more:
                await self._pause(wake, (backoff or agent.interval_s) * (1 + 0.1 * self._ids.jitter()))

    async def _pass(self, agent: Agent) -> int | None:
        """Runs one pass; None if it failed."""
        report = self.reports[agent.name]
        try:
            with tracing.whole(f"agent {agent.name}") as span:
                counts = await agent.run_once(self._clock.now_ms())
                if span is not None:
                    span.set_attributes({f"doorbuster.{what}": count for what, count in counts.items()})
        except (StoreUnavailable, OutcomeUnknown) as problem:
            report.failures += 1
            log.warning("agent waits for a store", agent=agent.name, problem=str(problem))
            return None
        except Exception:
            report.failures += 1
            log.exception("agent failed; it goes on", agent=agent.name)
            return None
        report.passes += 1
        report.last_pass_at = self._clock.monotonic()
        for what, count in counts.items():
            report.done[what] = report.done.get(what, 0) + count
        done = {what: count for what, count in counts.items() if count and what != "more"}
        if done:
            log.debug("agent", agent=agent.name, **done)
        return counts.get("more", 0)

    async def _pause(self, wake: asyncio.Event, seconds: float) -> None:
        try:
            await asyncio.wait_for(wake.wait(), seconds)
        except TimeoutError:
            return
