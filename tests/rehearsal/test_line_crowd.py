"""A crowd in a line that is played: everybody ends told, and what goes wrong is written down."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from doorbuster.api.shapes import stamp
from doorbuster.rehearsal.client import Answer, Client
from doorbuster.rehearsal.crowd import CrowdTask, Result
from doorbuster.rehearsal.line_crowd import LineCrowd
from doorbuster.rehearsal.plan import CrowdPlan
from doorbuster.simulation.loop import run

NOW = 1_800_000_000_000


def answer(status: int, **body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body), 0.0)


def place(state: str, *, poll: int | None = 1_000, **more: Any) -> Answer:
    return answer(200, state=state, poll_after_ms=poll, as_of=stamp(NOW), **more)


AN_ORDER = {"order_id": "o1", "status": "RESERVED", "reserved_at": stamp(NOW)}


class PlayedLine(Client):
    """Takes every join and answers each look with the next of a list, the last one for ever."""

    def __init__(self, *looks: Answer) -> None:
        super().__init__("http://127.0.0.1:1", connections=1)
        self._looks = list(looks)
        self.asked: list[tuple[float, str, str]] = []

    async def ask(self, method: str, path: str, headers: bytes = b"", body: bytes = b"") -> Answer:
        del headers, body
        self.asked.append((asyncio.get_running_loop().time(), method, path))
        self.requests += 1
        if path.endswith("/payment"):
            return answer(200)
        if method == "DELETE":
            return place("left", poll=None)
        if method == "POST":
            return msgspec.structs.replace(place("standby", position=1, poll=3_000), status=202)
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


def played(line: PlayedLine, *, change: Callable[[CrowdPlan], CrowdPlan] = lambda plan: plan) -> Result:
    """One buyer who pays, in one tab, asking."""

    async def main() -> Result:
        plan = CrowdPlan(
            seed=1, buyers=1, early=0.0, double_click=0.0, burst_s=0.0, tail_s=0.0, abandon=0.0, decline=0.0,
            cancel=0.0, tabs=0.0, listen=0.0, give_up=0.0,
        )  # fmt: skip
        task = CrowdTask(url="", sale_id="s", plan=change(plan), buyer_secret="s" * 32, audience="a", mode="queue")
        crowd = LineCrowd(task, line, line, asyncio.get_running_loop().time)
        await crowd.run(opens_at=0.0, now_s=0)
        return crowd.result(0.0)

    return run(main())


def test_who_is_told_that_it_is_over_goes_home() -> None:
    result = played(PlayedLine(place("standby", position=1), place("over", poll=None)))

    assert result.seen is not None
    assert (result.seen.told_over, result.seen.waiting, result.gone, result.tired) == (1, 0, 1, 0)
    assert result.turned_away == 1


@pytest.mark.parametrize("code", ["ended", "sold-out"])
def test_a_refusal_that_says_so_is_being_told_too(code: str) -> None:
    result = played(PlayedLine(answer(410, code=code)))

    assert result.seen is not None
    assert (result.seen.told_over, result.seen.lost_entries, result.turned_away) == (1, 0, 1)


def test_an_entry_that_is_not_found_any_more_is_lost() -> None:
    result = played(PlayedLine(answer(404, code="not-found")))

    assert result.seen is not None
    assert (result.seen.lost_entries, result.seen.told_over, result.turned_away) == (1, 0, 1)
    assert result.seen.examples == ["buyer-1-0, who had joined, was told not-found"]


def test_a_page_of_a_proxy_is_asked_again() -> None:
    page = Answer(200, b"<html>please wait</html>", 0.0)

    result = played(PlayedLine(page, place("over", poll=None)))

    assert result.answers["502"] == 1
    assert (result.tired, result.turned_away) == (0, 1)


def test_who_is_never_told_anything_is_tired_and_still_waits() -> None:
    result = played(PlayedLine(place("standby", position=1)))

    assert result.seen is not None
    assert (result.tired, result.seen.waiting) == (1, 1)


def test_a_granted_unit_is_paid_for_and_kept_in_mind() -> None:
    result = played(PlayedLine(place("granted", order=AN_ORDER)))

    assert result.acknowledged == {"o1": "buyer-1-0"}
    assert result.paid_orders == ["o1"]
    assert result.seen is not None
    assert (result.seen.granted, result.seen.waiting, result.seen.grants_ms) == (1, 0, [NOW])


def test_polls_come_when_the_line_asked_for_them() -> None:
    line = PlayedLine(place("standby", position=1, poll=5_000), place("over", poll=None))

    played(line)

    looks = [at for at, method, _ in line.asked if method == "GET"]
    assert looks == pytest.approx([3.0, 8.0])


def test_several_tabs_join_at_once_and_are_one_buyer() -> None:
    line = PlayedLine(place("over", poll=None))

    result = played(line, change=lambda plan: msgspec.structs.replace(plan, tabs=1.0))

    joins = [at for at, method, _ in line.asked if method == "POST"]
    assert len(joins) in {2, 3}
    assert len(set(joins)) == 1
    assert result.seen is not None
    assert (result.seen.joined, result.seen.tabs) == (1, len(joins) - 1)


def test_who_gives_up_leaves() -> None:
    line = PlayedLine(place("standby", position=1))

    result = played(line, change=lambda plan: msgspec.structs.replace(plan, give_up=1.0))

    assert result.seen is not None
    assert (result.seen.left, result.seen.waiting, result.tired) == (1, 0, 0)
    assert line.asked[-1][1] == "DELETE"
