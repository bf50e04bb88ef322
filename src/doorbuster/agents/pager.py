"""Calls the person on duty again about what is not over, and tries those again who were not reached.

Owns: the pace. Read next: `engine/paging.py`.
"""

from doorbuster.agents.loop import Counts
from doorbuster.engine.paging import OnCall


class PagerAgent:
    name = "pager"
    interval_s = 5.0

    def __init__(self, on_call: OnCall) -> None:
        self._on_call = on_call

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms
        return dict(await self._on_call.run_once())
