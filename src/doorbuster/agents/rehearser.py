"""Runs the rehearsals that were asked for, and clears away those of workers that died.

Owns: the pace. Read next: `engine/rehearsing.py`.
"""

from doorbuster.agents.loop import Counts
from doorbuster.engine.rehearsing import Rehearser


class RehearserAgent:
    name = "rehearser"
    interval_s = 1.0

    def __init__(self, rehearser: Rehearser) -> None:
        self._rehearser = rehearser

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms  # what is to be done is what the ledger says
        return dict(await self._rehearser.run_once())
