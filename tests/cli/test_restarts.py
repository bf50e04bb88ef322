"""Keeping a process: it comes back at once, a sick one ever more rarely, and not when nobody wants it any more."""

import asyncio
import socket
from collections import deque
from pathlib import Path

import pytest
import structlog

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.cli.child import Kept
from doorbuster.cli.supervisor import Stack
from doorbuster.config import load_settings
from helpers.waiting import until


class Patient:
    """Something that is started and dies when the test says so."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.refusals: deque[EmbeddedError] = deque()
        self._deaths: asyncio.Queue[int] = asyncio.Queue()

    async def start(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        if self.refusals:
            raise self.refusals.popleft()

    async def wait(self) -> int:
        return await self._deaths.get()

    def die(self) -> None:
        self._deaths.put_nowait(-9)


@pytest.fixture
def patient() -> Patient:
    return Patient()


async def test_first_start_that_fails_is_told_not_repeated(patient: Patient) -> None:
    patient.refusals.append(EmbeddedError("no disk"))
    kept = Kept("patient", patient.start, patient.wait)

    with pytest.raises(EmbeddedError, match="no disk"):
        await kept.start()

    assert len(patient.starts) == 1
    await kept.release()


async def test_restart_that_fails_is_tried_again(patient: Patient) -> None:
    kept = Kept("patient", patient.start, patient.wait)
    await kept.start()
    patient.refusals += [EmbeddedError("no disk"), EmbeddedError("no disk")]

    with structlog.testing.capture_logs() as lines:
        patient.die()
        await until(lambda: len(patient.starts) == 4)

    assert [line["event"] for line in lines] == [
        "a process died; starting it again",
        "it does not start",
        "it does not start",
    ]
    assert lines[1]["problem"] == "no disk"
    await kept.release()


async def test_one_that_keeps_dying_is_started_ever_more_rarely(patient: Patient) -> None:
    kept = Kept("patient", patient.start, patient.wait)
    await kept.start()

    for deaths in range(1, 4):
        patient.die()
        await until(lambda deaths=deaths: len(patient.starts) == deaths + 1)

    pauses = [later - earlier for earlier, later in zip(patient.starts, patient.starts[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1 <= pauses[-1] / pauses[0]
    assert kept.restarts == 3
    await kept.release()


async def test_released_one_is_left_dead(patient: Patient) -> None:
    kept = Kept("patient", patient.start, patient.wait)
    await kept.start()

    await kept.release()
    patient.die()

    assert len(patient.starts) == 1
    assert kept.restarts == 0


class NoRoom(Stack):
    """The first gate that is wanted more does not start."""

    tries = 0

    async def add_gate(self) -> None:
        self.tries += 1
        self.gates.append(self._child("gate", ["gate"]))
        if self.tries == 1:
            raise EmbeddedError("no room")


async def test_gate_for_which_there_is_no_room_is_tried_again(tmp_path: Path) -> None:
    stack = NoRoom(load_settings(data_dir=tmp_path, gates=1))
    stack._listener = socket.create_server(("127.0.0.1", 0))  # pyright: ignore[reportPrivateUsage]
    (tmp_path / "gates-wanted").write_text("1")
    follow = asyncio.get_running_loop().create_task(stack._follow_wishes())  # pyright: ignore[reportPrivateUsage]
    try:
        await until(lambda: len(stack.gates) == 1)
        assert stack.tries == 2
    finally:
        follow.cancel()
        stack._listener.close()  # pyright: ignore[reportPrivateUsage]
