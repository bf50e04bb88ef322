"""The simulated gateway in bad weather: the same trouble for the same seed, and webhooks that arrive all the same."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.payments.simulated_chaos import LEVELS, Chaos, Trouble
from doorbuster.adapters.payments.simulated_news import SIGNATURE_HEADER, Event, read
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.payment_ports import Authorized, Declined, News
from helpers.waiting import until
from payments.conformance import Case
from payments.shop import Shop, Stores

SECRET = "a secret for webhooks"
_RUN = (
    "import ctypes; ctypes.CDLL(None).prctl(1, 9); "  # it dies with the tests, whatever ends them
    "import sys; from pathlib import Path; "
    "from doorbuster.adapters.payments.simulated_chaos import Chaos; "
    "from doorbuster.adapters.payments.simulated_server import run; "
    "run('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), announce_fd=int(sys.argv[3]), "
    "chaos=Chaos(sys.argv[4], seed=7), webhook_url=sys.argv[5], webhook_secret=sys.argv[6])"
)


class Weather:
    """A gateway process with trouble of some level."""

    def __init__(self, book: Path, level: str = "none", webhook_url: str = "") -> None:
        self._book = book
        self._level = level
        self._webhook_url = webhook_url
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as announced:
            try:
                arguments = [str(self._port), str(self._book), str(writer), self._level, self._webhook_url, SECRET]
                self._process = subprocess.Popen([sys.executable, "-c", _RUN, *arguments], pass_fds=(writer,))
            finally:
                os.close(writer)
            assert select.select([announced], [], [], 20)[0], "the gateway says nothing"
            self._port = int(announced.readline())

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None


class Receiver:
    """Where webhooks arrive. `answers` are used up one by one; then 200."""

    def __init__(self) -> None:
        self.events: list[News] = []
        self.forged = 0
        self.answers: list[int] = []
        self.url = ""

    async def hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        now_ms = msgspec.json.decode(body, type=Event).created * 1000
        news = read(request.headers.get(SIGNATURE_HEADER, ""), body, [SECRET], now_ms)
        if not isinstance(news, News):
            self.forged += 1
            return web.Response(status=401)
        status = self.answers.pop() if self.answers else 200
        if status == 200:
            self.events.append(news)
        return web.Response(status=status)


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver, None]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hear", receiver.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hear"
    yield receiver
    await runner.cleanup()


# ------------------------------------------------------------------------------------------------ the draws


def test_same_seed_makes_the_same_trouble() -> None:
    def run(seed: int) -> list[Trouble]:
        chaos = Chaos("storm", seed=seed)
        return [chaos.of_call(f"key {number % 50}", "capture") for number in range(500)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_order_of_other_calls_does_not_matter() -> None:
    first, second = Chaos("storm", seed=3), Chaos("storm", seed=3)
    keys = [f"key {number}" for number in range(100)]

    assert {key: first.of_call(key, "void") for key in keys} == {
        key: second.of_call(key, "void") for key in reversed(keys)
    }


@pytest.mark.parametrize("level", LEVELS)
def test_shares_are_what_the_level_says(level: str) -> None:
    chaos, calls = Chaos(level, seed=5), 20_000

    drawn = Counter(chaos.of_call(f"key {number}", "authorize") for number in range(calls))

    for trouble in Trouble:
        if trouble is not Trouble.NONE:
            assert drawn[trouble] / calls == pytest.approx(LEVELS[level].calls.get(trouble, 0.0), abs=0.01)


def test_a_storm_leaves_three_of_ten_without_an_answer() -> None:
    unusable = {trouble: share for trouble, share in LEVELS["storm"].calls.items() if trouble is not Trouble.SLOW}

    assert sum(unusable.values()) == pytest.approx(0.30)


async def test_share_of_charges_is_declined(tmp_path: Path) -> None:
    chaos = Chaos("none", seed=2, decline=0.5)

    declined = sum(chaos.declines(f"key {number}") for number in range(1_000))

    assert 400 < declined < 600


# ------------------------------------------------------------------------------------------------ in bad weather


async def test_everybody_gets_through_a_storm_once(stores: Stores, tmp_path: Path) -> None:
    """Unknown outcomes by the dozen; in the end the book and the orders are one, and nothing is open."""
    weather = Weather(tmp_path / "book", "storm")
    weather.start()
    gateway = SimulatedGateway(weather.url, call_s=1.0)
    shop = Shop(stores, gateway)
    try:
        await shop.open(units=40)
        orders = [await shop.order() for _ in range(40)]
        gate = shop.gate()
        await asyncio.gather(
            *(gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k") for order in orders)
        )
        await gate.stop()

        async def settled() -> bool:
            return not (await shop.resolve()).get("waiting", 0)

        await until(settled, within=60)
        await shop.assert_laws()
        paid = [order for order in orders if (await shop.read(order)).status is OrderStatus.PAID]
        assert len(paid) > 20
    finally:
        await gateway.close()
        weather.kill()


# ------------------------------------------------------------------------------------------------ webhooks


async def test_everything_that_happens_is_told_once(receiver: Receiver, tmp_path: Path) -> None:
    weather = Weather(tmp_path / "book", webhook_url=receiver.url)
    weather.start()
    gateway = SimulatedGateway(weather.url)
    try:
        case, other = Case(gateway, "pm_ok"), Case(gateway, "pm_declined")
        assert isinstance(await gateway.authorize(case.charge), Authorized)
        await gateway.capture(case.charge, case.capture_key)
        await gateway.refund(case.charge, case.refund_key)
        assert isinstance(await gateway.authorize(other.charge), Declined)

        async def all_told() -> bool:
            return len(receiver.events) >= 4

        await until(all_told, within=10)

        told = {(news.kind, news.key) for news in receiver.events}
        assert told == {
            ("authorized", case.charge.key),
            ("captured", case.charge.key),
            ("refunded", case.charge.key),
            ("declined", other.charge.key),
        }
        assert len({news.event_id for news in receiver.events}) == 4
    finally:
        await gateway.close()
        weather.kill()


async def test_event_is_told_until_it_is_acknowledged_also_after_a_kill(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [503] * 1_000
    weather = Weather(tmp_path / "book", webhook_url=receiver.url)
    weather.start()
    gateway = SimulatedGateway(weather.url)
    try:
        case = Case(gateway, "pm_ok")
        await gateway.authorize(case.charge)

        async def tried() -> bool:
            return len(receiver.answers) < 1_000

        await until(tried, within=10)
        weather.kill()
        receiver.answers = []
        weather.start()

        async def told() -> bool:
            return bool(receiver.events)

        await until(told, within=10)
        assert [(news.kind, news.key) for news in receiver.events] == [("authorized", case.charge.key)]
    finally:
        await gateway.close()
        weather.kill()


async def test_acknowledged_events_are_not_told_again_after_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    weather = Weather(tmp_path / "book", webhook_url=receiver.url)
    weather.start()
    gateway = SimulatedGateway(weather.url)
    try:
        first, second = Case(gateway, "pm_ok"), Case(gateway, "pm_ok")
        await gateway.authorize(first.charge)

        async def noted() -> bool:
            sent = tmp_path / "book.sent"
            return sent.exists() and bool(sent.read_text())

        await until(noted, within=10)
        weather.kill()
        weather.start()

        async def authorized() -> bool:  # the first call may meet a connection that died with the gateway
            return isinstance(await gateway.authorize(second.charge), Authorized)

        await until(authorized, within=10)

        async def told() -> bool:
            return len(receiver.events) >= 2

        await until(told, within=10)
        assert [news.key for news in receiver.events] == [first.charge.key, second.charge.key]
    finally:
        await gateway.close()
        weather.kill()


async def test_storm_forges_and_doubles(receiver: Receiver, tmp_path: Path) -> None:
    weather = Weather(tmp_path / "book", "storm", webhook_url=receiver.url)
    weather.start()
    gateway = SimulatedGateway(weather.url, call_s=0.5)
    try:
        for _ in range(60):
            case = Case(gateway, "pm_ok")
            await gateway.authorize(case.charge)

        async def seen() -> bool:
            counts = Counter(news.event_id for news in receiver.events)
            return receiver.forged > 0 and any(count > 1 for count in counts.values())

        await until(seen, within=30)
    finally:
        await gateway.close()
        weather.kill()
