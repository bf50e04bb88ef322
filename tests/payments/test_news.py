"""What a gateway says by itself: kept once, never believed, always a reason to look (C40, C41)."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, Sequence

import msgspec
import pytest

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.payments.simulated_news import SIGNATURE_HEADER, TOLERANCE_S, Event, sign
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import Operation, VoidReason, gateway_key
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.news import Newsroom, NewsStore, Noted, Word
from doorbuster.engine.payment_ports import News
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable
from doorbuster.engine.settling import charge_of
from payments.gateway_process import GatewayProcess
from payments.shop import Shop, Stores, finished

SECRET, OTHER = "the gateway's secret", "the secret before"


class Wire:
    """Deliveries to one gate of a shop."""

    def __init__(self, shop: Shop, newsroom: Newsroom) -> None:
        self.shop = shop
        self.newsroom = newsroom

    async def deliver(
        self,
        kind: str,
        key: str,
        *,
        event_id: str = "",
        secret: str = SECRET,
        age_s: int = 0,
        gateway: str = "simulated",
        body: bytes | None = None,
    ) -> Word | Refusal:
        now_s = self.shop.clock.now_ms() // 1000
        event = Event(event_id=event_id or f"{kind} {key}", kind=kind, charge=key, order_id="", created=now_s)
        content = msgspec.json.encode(event) if body is None else body
        headers = {SIGNATURE_HEADER: sign(secret, content, now_s - age_s)}
        return await self.newsroom.hear(gateway, headers, content)

    async def key_of(self, order: Order) -> str:
        return gateway_key((await self.shop.attempts(order))[-1], Operation.AUTHORIZE)


@pytest.fixture
async def hearing(shared_process: GatewayProcess) -> AsyncGenerator[SimulatedGateway, None]:
    gateway = SimulatedGateway(shared_process.url, secrets=[SECRET, OTHER])
    yield gateway
    await gateway.close()


@pytest.fixture
async def wire(shop: Shop, stores: Stores, hearing: SimulatedGateway) -> AsyncGenerator[Wire, None]:
    newsroom = Newsroom(
        store=stores.news,
        payments=stores.payments,
        gateway=hearing,
        clock=shop.clock,
        examine=shop.reconciler().examine,
    )
    yield Wire(shop, newsroom)
    await newsroom.stop()


async def waiting(shop: Shop) -> Order:
    """An order whose buyer has something to do at the gateway."""
    order = await shop.order()
    await shop.gate().pay(order.order_id, order.user_id, payment_method="pm_action_required", key="k")
    return order


def code_of(answer: Word | Refusal) -> Code | None:
    return answer.code if isinstance(answer, Refusal) else None


# ------------------------------------------------------------------------------------------------ what is refused


async def test_other_gateway_is_not_found(wire: Wire) -> None:
    assert code_of(await wire.deliver("captured", "key", gateway="stripe")) is Code.NOT_FOUND


@pytest.mark.parametrize("secret", ["", "somebody else's"])
async def test_forged_event_is_refused_and_nothing_is_looked_at(wire: Wire, secret: str) -> None:
    order = await waiting(wire.shop)
    await wire.shop.act((await wire.shop.attempts(order))[-1])

    answer = await wire.deliver("authorized", await wire.key_of(order), secret=secret)
    await wire.newsroom.stop()

    assert code_of(answer) is Code.UNAUTHENTICATED
    assert await wire.shop.states(order) == [PaymentState.SENT]


@pytest.mark.parametrize("age_s", [TOLERANCE_S + 5, -TOLERANCE_S - 5])
async def test_old_signature_is_refused(wire: Wire, age_s: int) -> None:
    assert code_of(await wire.deliver("captured", "key", age_s=age_s)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"event_id":"","kind":"k","charge":"","order_id":"","created":1}']
)
async def test_signed_nonsense_is_refused(wire: Wire, body: bytes) -> None:
    assert code_of(await wire.deliver("captured", "key", body=body)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "header", ["", "t=1", "v1=ab", "t=,v1=", "t=1,t=2,v1=ab", "t=99999999999999,v1=ab", "t=x,v1=ab", "v1=ab,t=\uff11"]
)
async def test_malformed_signature_is_refused(wire: Wire, header: str) -> None:
    answer = await wire.newsroom.hear("simulated", {SIGNATURE_HEADER: header}, b"{}")

    assert code_of(answer) is Code.UNAUTHENTICATED


async def test_body_that_was_changed_on_the_way_is_refused(wire: Wire) -> None:
    now_s = int(time.time())
    headers = {SIGNATURE_HEADER: sign(SECRET, b'{"a":1}', now_s)}

    assert code_of(await wire.newsroom.hear("simulated", headers, b'{"a":2}')) is Code.UNAUTHENTICATED


async def test_without_a_secret_nothing_is_believed(shop: Shop, stores: Stores) -> None:
    newsroom = Newsroom(
        store=stores.news,
        payments=stores.payments,
        gateway=shop.gateway,
        clock=shop.clock,
        examine=shop.reconciler().examine,
    )

    answer = await Wire(shop, newsroom).deliver("captured", "key", secret="")

    assert code_of(answer) is Code.UNAUTHENTICATED


# ------------------------------------------------------------------------------------------------ what is heard


@pytest.mark.parametrize("secret", [SECRET, OTHER])
async def test_both_secrets_are_good_while_one_is_exchanged(wire: Wire, secret: str) -> None:
    assert await wire.deliver("captured", uuid.uuid4().hex, secret=secret) is Word.HEARD


async def test_event_about_nobody_is_kept_and_changes_nothing(wire: Wire) -> None:
    assert await wire.deliver("captured", uuid.uuid4().hex) is Word.HEARD
    assert await wire.deliver("account.updated", "") is Word.HEARD


async def test_news_lead_to_the_end_at_once(wire: Wire) -> None:
    """Nobody asks again: the buyer acts at the gateway and closes the browser."""
    order = await waiting(wire.shop)
    await wire.shop.act((await wire.shop.attempts(order))[-1])

    assert await wire.deliver("authorized", await wire.key_of(order)) is Word.HEARD
    await wire.newsroom.stop()

    assert (await wire.shop.read(order)).status is OrderStatus.PAID
    assert await wire.shop.states(order) == [PaymentState.CAPTURED]


@pytest.mark.parametrize("kind", ["captured", "authorized", "declined", "refunded", "voided", "never heard of"])
async def test_event_is_not_believed(wire: Wire, kind: str) -> None:
    """Whatever it says, the charge is as it is: the buyer has not acted yet."""
    order = await waiting(wire.shop)

    await wire.deliver(kind, await wire.key_of(order))
    await wire.newsroom.stop()

    assert await wire.shop.states(order) == [PaymentState.SENT]
    assert (await wire.shop.read(order)).status is OrderStatus.RESERVED


async def test_event_before_the_answer_to_the_call(wire: Wire) -> None:
    """SCENARIOS 25: the webhook overtakes the reply; both lead to one capture."""
    order = await wire.shop.order()
    paying = asyncio.create_task(wire.shop.gate().pay(order.order_id, order.user_id, payment_method="pm_slow", key="k"))

    async def sent() -> bool:
        return await wire.shop.states(order) == [PaymentState.SENT]

    await finished(sent)
    await wire.deliver("authorized", await wire.key_of(order))
    await paying
    await wire.newsroom.stop()

    assert (await wire.shop.read(order)).status is OrderStatus.PAID
    assert len(await wire.shop.charges(order)) == 1


async def test_same_event_a_hundred_times(wire: Wire) -> None:
    order = await waiting(wire.shop)
    await wire.shop.act((await wire.shop.attempts(order))[-1])
    key = await wire.key_of(order)

    words = await asyncio.gather(*(wire.deliver("authorized", key) for _ in range(100)))
    await wire.newsroom.stop()
    again = await wire.deliver("authorized", key)

    assert sorted(map(str, words)) == [Word.HEARD] + [Word.KNOWN] * 99
    assert again is Word.KNOWN
    assert [line.captured_cents for line in await wire.shop.charges(order)] == [1999]


async def test_events_in_any_order_end_the_same(wire: Wire) -> None:
    orders = [await waiting(wire.shop) for _ in range(5)]
    for order in orders:
        await wire.shop.act((await wire.shop.attempts(order))[-1])
    deliveries = [
        (kind, await wire.key_of(order)) for order in orders for kind in ("captured", "authorized", "action_required")
    ] * 3
    random.Random(7).shuffle(deliveries)

    await asyncio.gather(*(wire.deliver(kind, key) for kind, key in deliveries))
    await wire.newsroom.stop()

    assert [(await wire.shop.read(order)).status for order in orders] == [OrderStatus.PAID] * 5


async def test_failed_then_succeeded(wire: Wire) -> None:
    """SCENARIOS 25: two attempts of one order, their events the wrong way round."""
    order = await wire.shop.order()
    gate = wire.shop.gate()
    await gate.pay(order.order_id, order.user_id, payment_method="pm_declined", key="k1")
    declined = await wire.key_of(order)
    await gate.pay(order.order_id, order.user_id, payment_method="pm_ok", key="k2")

    await wire.deliver("captured", await wire.key_of(order))
    await wire.deliver("declined", declined)
    await wire.newsroom.stop()

    assert await wire.shop.states(order) == [PaymentState.DECLINED, PaymentState.CAPTURED]
    assert (await wire.shop.read(order)).status is OrderStatus.PAID


async def test_news_three_days_late_find_money_that_nobody_owes(wire: Wire) -> None:
    """P9: the attempt was given up; the gateway captured all the same, and says so days later."""
    order = await waiting(wire.shop)
    attempt = (await wire.shop.attempts(order))[-1]
    await wire.shop.stores.payments.void(attempt.payment_id, VoidReason.TOO_OLD)
    await wire.shop.stores.payments.voided(attempt.payment_id)
    await wire.shop.act((await wire.shop.attempts(order))[-1])
    await wire.shop.gateway.capture(charge_of(attempt), "somebody")

    await wire.deliver("captured", await wire.key_of(order))
    await wire.newsroom.stop()

    assert [(line.captured_cents, line.refunded_cents) for line in await wire.shop.charges(order)] == [(1999, 1999)]
    assert await wire.shop.states(order) == [PaymentState.VOIDED]


async def test_news_that_confirm_an_end_ask_nobody(wire: Wire) -> None:
    order = await wire.shop.order()
    await wire.shop.gate().pay(order.order_id, order.user_id, payment_method="pm_ok", key="k")

    await wire.deliver("captured", await wire.key_of(order))

    assert not wire.newsroom._looks  # pyright: ignore[reportPrivateUsage]


# ------------------------------------------------------------------------------------------------ when the ledger fails


class Failing:
    """A store that fails for a while; `after`: what it did all the same is not told."""

    def __init__(self, store: NewsStore, *problems: Exception, after: bool = False) -> None:
        self._store = store
        self._problems: list[Exception] = list(problems)
        self._after = after

    async def note(self, news: News) -> Noted:
        noted: Noted | None = None
        if self._after or not self._problems:
            noted = await self._store.note(news)
        if self._problems:
            raise self._problems.pop()
        assert noted is not None
        return noted


@pytest.mark.parametrize("after", [False, True])
async def test_event_that_could_not_be_kept_is_delivered_again(wire: Wire, stores: Stores, *, after: bool) -> None:
    """C41 and its sister: 503 until it is kept. Kept and not told is a no-op the second time; the resolver looks."""
    order = await waiting(wire.shop)
    await wire.shop.act((await wire.shop.attempts(order))[-1])
    problem: Sequence[Exception] = [OutcomeUnknown("lost") if after else StoreUnavailable("away")]
    wire.newsroom._store = Failing(stores.news, *problem, after=after)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    key = await wire.key_of(order)

    first = await wire.deliver("authorized", key)
    second = await wire.deliver("authorized", key)
    await wire.newsroom.stop()
    await wire.shop.resolver(quiet_ms=3_600_000).run_once(wire.shop.clock.now_ms())

    assert code_of(first) is Code.UNAVAILABLE
    assert second is (Word.KNOWN if after else Word.HEARD)
    assert (await wire.shop.read(order)).status is OrderStatus.PAID


async def test_resolver_takes_what_there_is_news_of_at_once(wire: Wire) -> None:
    """A gate that dies after the commit: the mark is in the ledger."""
    order = await waiting(wire.shop)
    quiet = await waiting(wire.shop)
    await wire.shop.act((await wire.shop.attempts(order))[-1])
    await wire.shop.stores.news.note(News(event_id="e", kind="authorized", key=await wire.key_of(order)))

    await wire.shop.resolver(quiet_ms=3_600_000).run_once(wire.shop.clock.now_ms())

    assert (await wire.shop.read(order)).status is OrderStatus.PAID
    assert await wire.shop.states(quiet) == [PaymentState.SENT]


async def test_storm(wire: Wire) -> None:
    """Each of many events a hundred times, shuffled, at one gate."""
    orders = [await waiting(wire.shop) for _ in range(8)]
    for order in orders:
        await wire.shop.act((await wire.shop.attempts(order))[-1])
    keys = [await wire.key_of(order) for order in orders] + [uuid.uuid4().hex for _ in range(42)]
    deliveries = [(kind, key) for key in keys for kind in ("authorized", "captured")] * 100
    random.Random(3).shuffle(deliveries)

    words = await asyncio.gather(*(wire.deliver(kind, key) for kind, key in deliveries))
    await wire.newsroom.stop()
    await wire.shop.resolver(quiet_ms=3_600_000).run_once(wire.shop.clock.now_ms())

    assert sum(word is Word.HEARD for word in words) == 100
    assert all([(await wire.shop.read(order)).status is OrderStatus.PAID for order in orders])
