"""A hub on the reference stores: what listeners are told when stores fail, lines are lost and time runs out."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.gate import Gate
from doorbuster.api.live_views import LiveViews
from doorbuster.engine.line_ports import NewsItem, NewsKind
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.live.hub import First, Hub
from doorbuster.live.messages import REMIND_MS
from doorbuster.reference.faults import Fault, Faults, faulty
from helpers.waiting import until

Message = dict[str, Any]


class Recorder:
    """A wire that remembers what it was told, and how it ended."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.closed: tuple[int, str] | None = None

    def send(self, message: bytes) -> None:
        assert self.closed is None, "told something after the end"
        self.told.append(json.loads(message))

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    @property
    def last(self) -> Message:
        return self.told[-1]

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.told]


class Hall:
    """A gate in memory, its hub, and a sale with a line of a few buyers, one of whom may be granted the unit."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.faults = Faults()
        self.sale_id = ""
        gate = self.gate
        self.hub = Hub(
            board=gate.board,
            queueing=gate.services.queueing,
            line=faulty(gate.shop.line, self.faults),
            describer=gate.describer,
            watch=gate.watch,
            identify=gate.api.buyers.identify_token,
            views=LiveViews(gate.watch),
            clock=gate.clock,
            ids=gate.ids,
            sockets_max=100,
        )

    async def start(self, *users: str, **terms: Any) -> None:
        await self.gate.start()
        self.sale_id = await self.gate.line(**{"quantity_available": 1, **terms})
        await self.gate.board.refresh()
        for user in users:
            assert (await self.gate.join(self.sale_id, user)).status == 202

    async def listen(self, user: str, ttl_s: int = 600) -> Recorder:
        wire = Recorder()
        await self.hub.admit(self.sale_id, First(token=self.gate.token(user, ttl_s=ttl_s)), wire)
        return wire

    async def tick(self, after_ms: int = 1_000) -> None:
        self.gate.clock.advance_ms(after_ms)
        await self.gate.board.refresh()
        await self.hub.tick()

    async def lose_line(self) -> None:
        shop = self.gate.shop
        sale = await shop.sales.get(self.sale_id)
        assert sale is not None
        await shop.stock.drop_image(self.sale_id)
        await Rebuilder(shop.sales, shop.stock, shop.line, shop.lines).rebuild(sale, "test")
        await self.gate.board.refresh()


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    hall = Hall()
    yield hall
    await hall.hub.stop()
    await hall.gate.stop()


async def test_grant_is_told_although_the_line_fails_in_the_same_tick(hall: Hall) -> None:
    """The news were read, the places of others could not be: who got the unit has to hear of it all the same."""
    await hall.start("ann", "bob")
    ann = await hall.listen("ann")
    await hall.tick()
    await hall.gate.admit(hall.sale_id)
    bob = await hall.listen("bob")
    hall.faults.script("ask", Fault.NOT_EXECUTED)

    await hall.tick()

    await until(lambda: ann.last["type"] == "granted")
    assert ann.last["order"]["user_id"] == "ann"
    await hall.tick()
    assert bob.last["position"] == 1


async def test_nothing_is_told_while_the_line_does_not_answer_and_all_is_told_after(hall: Hall) -> None:
    await hall.start("ann", "bob", "cyd")
    cyd = await hall.listen("cyd")
    await hall.tick()
    before = len(cyd.told)
    await hall.gate.leave(hall.sale_id, "ann")
    hall.faults.script("news", Fault.NOT_EXECUTED)
    await hall.tick()
    assert len(cyd.told) == before

    await hall.tick()

    assert (cyd.last["position"], cyd.last["ahead"]) == (2, 1)


async def test_news_that_were_missed_are_made_good(hall: Hall) -> None:
    """More happened than the line keeps: every place is asked for anew."""
    await hall.start("ann", "bob", "cyd")
    cyd = await hall.listen("cyd")
    await hall.tick()
    await hall.gate.leave(hall.sale_id, "ann")
    _, head = hall.gate.shop.stock.read(hall.sale_id)
    assert head is not None
    assert head.line is not None
    for number in range(10_000):
        head.line.tell(NewsItem(NewsKind.GONE, 1_000_000 + number, "somebody behind"))

    await hall.tick()

    assert cyd.last["position"] == 2


async def test_listener_of_a_lost_line_keeps_the_place(hall: Hall) -> None:
    await hall.start("ann", "bob", "cyd")
    cyd = await hall.listen("cyd")
    await hall.tick()
    await hall.lose_line()
    await hall.tick()
    await hall.gate.join(hall.sale_id, "dan")
    dan = await hall.listen("dan")

    await hall.tick()

    assert (cyd.closed, dan.closed) == (None, None)
    assert (cyd.last["position"], dan.last["position"]) == (1, 2)


async def test_listener_of_a_lost_line_who_was_not_counted_yet_shows_the_ticket(hall: Hall) -> None:
    """Admitted, and the line was lost before the next tick: only the ticket knows the place."""
    await hall.start("ann", "bob")
    bob = await hall.listen("bob")
    await hall.lose_line()

    await hall.tick()

    await until(lambda: len(bob.told) == 2)
    await hall.tick()
    assert bob.closed is None
    assert bob.last["position"] == 1


async def test_place_that_stands_still_is_told_now_and_then(hall: Hall) -> None:
    await hall.start("ann", "bob")
    bob = await hall.listen("bob")
    await hall.tick()
    await hall.tick(REMIND_MS)
    before = len(bob.told)
    await hall.tick(1_000)
    assert len(bob.told) == before

    await hall.tick(REMIND_MS)

    assert len(bob.told) == before + 1
    assert bob.last["position"] == bob.told[0]["position"]


async def test_token_that_expires_ends_the_connection(hall: Hall) -> None:
    await hall.start("ann", "bob")
    bob = await hall.listen("bob", ttl_s=5)
    await hall.tick(4_000)
    assert bob.closed is None

    await hall.tick(1_000)

    assert bob.closed == (4401, "the token has expired")
    assert hall.hub.listening == 0


async def test_pause_and_resume_are_told_and_the_line_stays(hall: Hall) -> None:
    await hall.start("ann", "bob")
    bob = await hall.listen("bob")
    await hall.tick()

    for verb, status in (("pause", "PAUSED"), ("resume", "ACTIVE")):
        assert (await hall.gate.admin("POST", f"/sales/{hall.sale_id}/{verb}", {})).status == 200
        await hall.tick()
        sales = [message for message in bob.told if message["type"] == "sale"]
        assert sales[-1]["status"] == status

    assert bob.last["position"] == 2


async def test_everybody_who_waits_is_told_of_the_end_in_one_tick(hall: Hall) -> None:
    await hall.start("ann", "bob", "cyd")
    wires = [await hall.listen(user) for user in ("ann", "bob", "cyd")]
    await hall.tick()
    assert (await hall.gate.admin("POST", f"/sales/{hall.sale_id}/end", {})).status == 200

    await hall.tick(100)

    assert [wire.last["state"] for wire in wires] == ["over"] * 3
    assert [wire.closed for wire in wires] == [(1000, "over")] * 3
    assert hall.hub.listening == 0


async def test_buyer_who_leaves_elsewhere_is_told(hall: Hall) -> None:
    await hall.start("ann", "bob")
    bob = await hall.listen("bob")
    await hall.tick()
    await hall.gate.leave(hall.sale_id, "bob")

    await hall.tick(100)

    assert bob.last["type"] == "left"
    assert bob.closed == (1000, "left")


async def test_draining_hub_asks_everybody_back_spread_over_seconds(hall: Hall) -> None:
    users = [f"u{number}" for number in range(50)]
    await hall.start(*users)
    wires = [await hall.listen(user) for user in users]

    hall.hub.drain()

    assert {wire.closed[0] for wire in wires if wire.closed is not None} == {1012}
    waits = [json.loads(wire.closed[1])["reconnect_after_ms"] for wire in wires if wire.closed is not None]
    assert len(waits) == len(users)
    assert max(waits) - min(waits) > 2_000
    assert hall.hub.full
