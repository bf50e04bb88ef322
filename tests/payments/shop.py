"""A shop for the payment tests: a sale on real stores, buyers with reserved orders, gates that can die, and the laws.

Every store that pays passes the same tests: `Stores` is what such a store brings along.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import aiohttp

from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.payments.simulated_book import BookLine
from doorbuster.agents.resolver import Resolver
from doorbuster.domain.audit import Verdict, compare
from doorbuster.domain.order import Hold, Order
from doorbuster.domain.payment import PAYMENT_OPEN, Attempt
from doorbuster.domain.sale import PaymentMode, Sale, SaleTerms
from doorbuster.domain.transitions import OrderStatus, PaymentState, SaleStatus
from doorbuster.engine.charging import Charging
from doorbuster.engine.money_ports import BalanceStore, ChargeStore
from doorbuster.engine.news import NewsStore
from doorbuster.engine.paying import Paying
from doorbuster.engine.payment_ports import Gateway, PaymentStore
from doorbuster.engine.ports import Actor, AuditStore, CommitBatch, CommitWord, OrderStore, SaleStore
from doorbuster.engine.reconciling import Reconciler
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import Releaser
from doorbuster.engine.settling import charge_of
from doorbuster.reference.stock import ReferenceStockStore

OPERATOR = Actor(name="test")
_BODY = ("sale_id", "order_id", "amount_cents", "currency", "payment_method")
T = TypeVar("T")


class Stores(Protocol):
    """The ledger of one kind, and how time is made to pass in it."""

    @property
    def sales(self) -> SaleStore: ...
    @property
    def orders(self) -> OrderStore: ...
    @property
    def audits(self) -> AuditStore: ...
    @property
    def payments(self) -> PaymentStore: ...
    @property
    def charges(self) -> ChargeStore: ...
    @property
    def balance(self) -> BalanceStore: ...

    @property
    def news(self) -> NewsStore: ...

    def now_ms(self) -> int: ...
    async def run_out(self, order_id: str) -> None:
        """Let the hold's time be over."""
        ...

    async def grow_old(self, payment_id: str, by_ms: int) -> None:
        """Let the attempt have begun that much earlier."""
        ...


class ShopClock:
    """The ledger's clock."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def now_ms(self) -> int:
        return self._stores.now_ms()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def trusted(self) -> bool:
        return True


class Ids:
    """Fresh ids; order between them matters to no test here."""

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def jitter(self) -> float:
        return 0.5


class KilledError(Exception):
    """The process died here: nothing after this line of it ever runs."""


class Cut:
    """A store or a gateway as a process sees it that dies at one call: before it, or after it with the reply lost."""

    def __init__(self, target: object, *, before: str = "", after: str = "") -> None:
        self._target = target
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in (self._before, self._after):
            return found
        return self._dying(name, found)

    def _dying(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def die(*args: Any, **options: Any) -> Any:
            if name == self._after:
                await call(*args, **options)
            raise KilledError(name)

        return die


class Shop:
    """One sale. `pay` goes through a gate of its own unless one is given."""

    def __init__(self, stores: Stores, gateway: SimulatedGateway) -> None:
        self.stores = stores
        self.gateway = gateway
        self.clock = ShopClock(stores)
        self.woken: list[str] = []
        self._buyers = 0
        self._gates: list[Paying] = []
        self.sale_id = ""

    async def open(
        self,
        *,
        units: int = 12,
        price_cents: int = 1999,
        attempts: int = 3,
        mode: PaymentMode = PaymentMode.CHECKOUT,
        limit: int = 1,
    ) -> None:
        now = self.clock.now_ms()
        self.sale_id = str(uuid.uuid4())
        terms = SaleTerms(
            product_id="p",
            title="A thing",
            quantity_available=units,
            price_cents=price_cents,
            currency="USD",
            start_ms=now - 60_000,
            end_ms=now + 3_600_000,
            payment_mode=mode,
            per_user_limit=limit,
            payment_attempts=attempts,
        )
        await self.stores.sales.create(self.sale_id, terms, OPERATOR)

    async def order(self, *, quantity: int = 1, buyer: str | None = None) -> Order:
        self._buyers += 1
        hold = Hold(
            hold_id=str(uuid.uuid4()),
            user_id=buyer or f"buyer-{self._buyers}",
            quantity=quantity,
            key=str(uuid.uuid4()),
            digest="d",
            since_ms=self.clock.now_ms(),
        )
        (made,) = await self.stores.orders.commit(CommitBatch(sale_id=self.sale_id, epoch=0, tick=0, holds=[hold]))
        assert made.word is CommitWord.COMMITTED, made
        assert made.order is not None
        return made.order

    def gate(
        self, *, store: object | None = None, gateway: object | None = None, answer_s: float = 20.0, at_once: int = 100
    ) -> Paying:
        gate = Paying(
            payments=cast("PaymentStore", store or self.stores.payments),
            gateway=cast("Gateway", gateway or self.gateway),
            clock=self.clock,
            ids=Ids(),
            answer_s=answer_s,
            at_once=at_once,
        )
        self._gates.append(gate)
        return gate

    def resolver(self, *, gateway: object | None = None, store: object | None = None, quiet_ms: int = 0) -> Resolver:
        return Resolver(
            payments=cast("PaymentStore", store or self.stores.payments),
            gateway=cast("Gateway", gateway or self.gateway),
            clock=self.clock,
            wake=self.woken.append,
            quiet_ms=quiet_ms,
        )

    def refunding(self, *, gateway: object | None = None) -> Refunding:
        stores = self.stores
        releaser = Releaser(stores.sales, stores.orders, ReferenceStockStore())
        bank = cast("Gateway", gateway or self.gateway)
        return Refunding(
            payments=stores.payments, orders=stores.orders, gateway=bank, releaser=releaser, clock=self.clock
        )

    def charging(self, *, gateway: object | None = None, at_once: int = 64) -> Charging:
        return Charging(
            charges=self.stores.charges,
            payments=self.stores.payments,
            gateway=cast("Gateway", gateway or self.gateway),
            clock=self.clock,
            ids=Ids(),
            ended=lambda: self.woken.append("releaser"),
            at_once=at_once,
        )

    def reconciler(self, *, gateway: object | None = None) -> Reconciler:
        bank = cast("Gateway", gateway or self.gateway)
        return Reconciler(sales=self.stores.sales, balance=self.stores.balance, gateway=bank, clock=self.clock)

    async def resolve(self) -> dict[str, int]:
        return dict(await self.resolver().run_once(self.clock.now_ms()))

    async def read(self, order: Order) -> Order:
        found = await self.stores.orders.get(order.order_id)
        assert found is not None
        return found

    async def attempts(self, order: Order) -> Sequence[Attempt]:
        return await self.stores.payments.attempts(order.order_id)

    async def states(self, order: Order) -> list[PaymentState]:
        return [attempt.state for attempt in await self.attempts(order)]

    async def sale(self) -> Sale:
        found = await self.stores.sales.get(self.sale_id)
        assert found is not None
        return found

    async def abort(self) -> None:
        await self.stores.sales.move(self.sale_id, SaleStatus.CANCELLED, OPERATOR)

    async def act(self, attempt: Attempt) -> None:
        """The buyer does what the gateway asks for, in the gateway's own window."""
        charge = charge_of(attempt)
        body = {name: getattr(charge, name) for name in _BODY}
        url = f"{self.gateway._url}/v1/charges/{charge.key}/action"  # pyright: ignore[reportPrivateUsage]
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert response.status == 200

    async def charges(self, order: Order) -> list[BookLine]:
        return await self.gateway.charges_of(order.order_id)

    async def assert_laws(self) -> None:
        """The books balance (I2, I15), and captured money and PAID orders are one to one with equal amounts (I7 I8
        I9). Money that is only set aside belongs to an attempt that is still open."""
        for gate in self._gates:
            await gate.stop()
        facts = await self.stores.audits.facts(self.sale_id)
        assert facts is not None
        report = compare(facts, None, at_ms=self.clock.now_ms())
        assert report.verdict is Verdict.IN_STEP, report.drifts
        orders = (await self.stores.orders.page(self.sale_id, status=None, cursor=None, limit=1000)).orders
        for order in orders:
            await self._assert_laws_of(order)

    async def _assert_laws_of(self, order: Order) -> None:
        lines = [line for line in await self.charges(order) if line.authorized]
        captured = [line for line in lines if line.captured_cents > line.refunded_cents]
        given_back = order.payment is not None and order.payment.state is PaymentState.REFUNDED
        if order.status is OrderStatus.PAID and order.amount_cents and not given_back:
            assert [(line.captured_cents, line.currency) for line in captured] == [(order.amount_cents, order.currency)]
        else:
            assert captured == []
        is_open = any(attempt.state in PAYMENT_OPEN for attempt in await self.attempts(order))
        set_aside = [line for line in lines if not line.captured_cents and not line.voided]
        assert is_open or set_aside == []


async def finished(condition: Callable[[], Awaitable[bool]], *, within_s: float = 10.0) -> None:
    """Returns when the condition holds; fails if that takes too long."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.02)
