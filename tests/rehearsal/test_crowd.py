"""The crowd measures from the intended moment: a server that stalls cannot hide it by keeping the crowd waiting."""

import asyncio

import pytest

from doorbuster.rehearsal.client import Answer, Client
from doorbuster.rehearsal.crowd import Crowd, CrowdTask
from doorbuster.rehearsal.plan import CrowdPlan
from doorbuster.simulation.loop import run

SOLD_OUT = Answer(409, b'{"code":"sold-out"}', 0.0)
A_PAGE = b"<html><body>Bad gateway</body></html>"


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


class AskedServer(Client):
    """Answers with the next of a list, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__("http://127.0.0.1:1", connections=1)
        self._answers = list(answers)

    async def ask(self, method: str, path: str, headers: bytes = b"", body: bytes = b"") -> Answer:
        del method, path, headers, body
        self.requests += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def one_buyer(server: Client) -> Crowd:
    """In a race, to the end."""

    async def main() -> Crowd:
        plan = CrowdPlan(seed=1, buyers=1, early=0.0, double_click=0.0, burst_s=0.0, tail_s=0.0)
        task = CrowdTask(url="", sale_id="s", plan=plan, buyer_secret="s" * 32, audience="a", give_up_s=5.0)
        crowd = Crowd(task, server, server, asyncio.get_running_loop().time)
        await crowd.run(opens_at=0.0, now_s=0)
        return crowd

    return run(main())


@pytest.mark.parametrize(("status", "code"), [(502, "502"), (503, "503"), (429, "429"), (200, "502"), (302, "502")])
def test_a_page_of_a_proxy_is_no_answer_and_is_asked_again(status: int, code: str) -> None:
    crowd = one_buyer(AskedServer(Answer(status, A_PAGE, 0.0), SOLD_OUT))

    assert crowd.answers == {code: 1, "sold-out": 1}
    assert (crowd.gone, crowd.tired, crowd.turned_away) == (1, 0, 1)


def test_nothing_but_pages_tires_a_buyer() -> None:
    crowd = one_buyer(AskedServer(Answer(502, A_PAGE, 0.0)))

    assert set(crowd.answers) == {"502"}
    assert (crowd.gone, crowd.tired, crowd.turned_away) == (1, 1, 0)


@pytest.mark.parametrize("code", ["sold-out", "ended", "not-found"])
def test_who_is_told_that_nothing_is_left_was_turned_away(code: str) -> None:
    crowd = one_buyer(AskedServer(Answer(409, b'{"code":"%s"}' % code.encode(), 0.0)))

    assert (crowd.progress().turned_away, crowd.tired) == (1, 0)
