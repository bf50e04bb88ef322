"""Does what a sale's day asks for, when it is due.

Owns: the pace. What is due and who has it is in the ledger; two workers share the work. Read next: `engine/running.py`.
"""

from doorbuster.agents.loop import Counts
from doorbuster.engine.running import DayRunner


class TimelineAgent:
    name = "timeline"
    interval_s = 0.5

    def __init__(self, runner: DayRunner) -> None:
        self._runner = runner

    async def run_once(self, now_ms: int) -> Counts:
        del now_ms  # due is what the ledger's clock says
        return dict(await self._runner.run_once())
