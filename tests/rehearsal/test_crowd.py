"""The crowd measures from the intended moment: a server that stalls cannot hide it by keeping the crowd waiting."""

import asyncio

from doorbuster.rehearsal.client import Answer, Client
from doorbuster.rehearsal.crowd import Crowd, CrowdTask
from doorbuster.rehearsal.plan import CrowdPlan
from doorbuster.simulation.loop import run

SOLD_OUT = Answer(409, b'{"code":"sold-out"}', 0.0)


class StalledServer(Client):
    """Answers one request at a time, each after a second; nothing before virtual second 5."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", connections=1)
        self._turn = asyncio.Lock()

    async def ask(self, method: str, path: str, headers: bytes = b"", body: bytes = b"") -> Answer:
        del method, path, headers, body
        self.requests += 1
        async with self._turn:
            await asyncio.sleep(1.0)
        return SOLD_OUT


def test_latency_counts_from_the_intended_moment() -> None:
    """Ten buyers at once, one answer a second: the last one waited ten seconds, and the figures say so."""

    async def main() -> Crowd:
        plan = CrowdPlan(seed=1, buyers=10, early=0.0, double_click=0.0, burst_s=0.0, tail_s=0.0)
        task = CrowdTask(url="", sale_id="s", plan=plan, buyer_secret="s" * 32, audience="a")
        server = StalledServer()
        crowd = Crowd(task, server, server, asyncio.get_running_loop().time)
        await crowd.run(opens_at=0.0, now_s=0)
        return crowd

    crowd = run(main())

    assert crowd.latency.count == 10
    assert 9.9 < crowd.latency.max_s < 10.1
    assert 4.9 < crowd.latency.percentile(50) < 5.2
    assert crowd.answers == {"sold-out": 10}
    assert crowd.gone == 10
