"""Pages while the ledger is away, when it fails between two calls, and by two workers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from doorbuster.engine.day_ports import NotSent, PageCall
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.reference.clock import ManualClock
from doorbuster.reference.fleet import ReferencePages

CALL = PageCall(key="ledger", title="PostgreSQL does not answer", text="No order can be made.")


class Pages(ReferencePages):
    """Those of its methods that are named do not answer."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.away: set[str] = set()

    def _answers(self, name: str) -> None:
        if name in self.away:
            raise StoreUnavailable("postgres is away")

    async def open(self, call: PageCall) -> bool:
        self._answers("open")
        return await super().open(call)

    async def resolve(self, key: str, text: str) -> bool:
        self._answers("resolve")
        return await super().resolve(key, text)

    async def claim(self, *, lease_ms: int, limit: int) -> Sequence[PageCall]:
        self._answers("claim")
        return await super().claim(lease_ms=lease_ms, limit=limit)

    async def reached(self, call: PageCall, ways: Sequence[str], *, again_ms: int) -> None:
        self._answers("reached")
        await super().reached(call, ways, again_ms=again_ms)


class Bell:
    configured = True

    def __init__(self) -> None:
        self.rung: list[PageCall] = []
        self.silent = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def page(self, call: PageCall) -> Sequence[str]:
        if self.silent:
            raise NotSent("nobody there")
        self.rung.append(call)
        if self.meanwhile is not None:
            await self.meanwhile()
        return ["bell"]


class Duty:
    """A store that can be away, and whoever is called."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.pages = Pages(self.clock)
        self.bell = Bell()
        self.on_call = OnCall(self.pages, self.bell)

    @property
    def told(self) -> list[tuple[str, bool]]:
        return [(call.key, call.resolved) for call in self.bell.rung]


@pytest.fixture
def duty() -> Duty:
    return Duty()


async def test_every_outage_of_the_ledger_is_called_about_once_and_its_end_is_told(duty: Duty) -> None:
    for _ in range(2):
        duty.pages.away = {"open", "resolve"}
        for _ in range(3):
            await duty.on_call.call(CALL)
        duty.pages.away = set()
        await duty.on_call.resolve(CALL.key, "PostgreSQL answers again")
        await duty.on_call.resolve(CALL.key, "PostgreSQL answers again")

    assert duty.told == [("ledger", False), ("ledger", True)] * 2
    assert duty.bell.rung[1].text == "PostgreSQL answers again"


async def test_another_matter_that_is_stored_meanwhile_takes_no_end_away(duty: Duty) -> None:
    duty.pages.away = {"open"}
    await duty.on_call.call(CALL)
    duty.pages.away = set()
    await duty.on_call.call(PageCall(key="drift s", title="drift", text="read the runbook"))

    await duty.on_call.resolve(CALL.key, "PostgreSQL answers again")

    assert duty.told == [("ledger", False), ("drift s", False), ("ledger", True)]


async def test_who_was_never_reached_while_the_ledger_was_away_hears_of_no_end(duty: Duty) -> None:
    duty.pages.away = {"open"}
    duty.bell.silent = True
    assert await duty.on_call.call(CALL) == ()
    duty.pages.away, duty.bell.silent = set(), False

    await duty.on_call.resolve(CALL.key)

    assert duty.told == []


async def test_ledger_that_goes_away_after_the_call_rings_nobody_twice(duty: Duty) -> None:
    duty.pages.away = {"reached"}
    assert await duty.on_call.call(CALL) == ["bell"]
    assert duty.told == [("ledger", False)]


async def test_ledger_that_goes_away_before_the_call_keeps_nobody_from_being_called(duty: Duty) -> None:
    duty.pages.away = {"claim"}
    assert await duty.on_call.call(CALL) == ["bell"]
    assert duty.told == [("ledger", False)]


async def test_slow_way_has_two_workers_send_nothing_twice(duty: Duty) -> None:
    """Ten seconds for each call: the last of seven is under way when a minute is over."""
    keys = [f"k{number}" for number in range(7)]
    for key in keys:
        await duty.pages.open(PageCall(key=key, title=key, text=key))
    other = OnCall(duty.pages, Bell())
    others: list[Mapping[str, int]] = []

    async def ten_seconds() -> None:
        duty.clock.advance_ms(10_000)
        if len(duty.bell.rung) == len(keys):
            others.append(await other.run_once())

    duty.bell.meanwhile = ten_seconds

    assert await duty.on_call.run_once() == {"paged": 7, "missed": 0}
    assert [key for key, _ in duty.told] == keys
    assert others == [{"paged": 0, "missed": 0}]
