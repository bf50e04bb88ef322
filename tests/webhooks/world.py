"""A shop that is told: the ledger, the outbox, relays and receivers on a real database."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from doorbuster.adapters.postgres.shop_events import PostgresShopEvents
from doorbuster.adapters.shop_webhooks import HttpSender
from doorbuster.adapters.system import SystemClock, SystemIds
from doorbuster.domain.shop_events import DeliveryState
from doorbuster.engine.relaying import Relaying
from doorbuster.engine.shop_ports import Delivery, Sender
from postgres.ledger import Ledger, a_hold, ledger_at
from webhooks.receiver import Receiver, a_receiver

ORDERS = ["order.reserved", "order.paid", "order.cancelled", "order.expired", "order.refunded"]


class World:
    """`receiver` is where the first endpoint leads; `relay` is the relay most tests need."""

    def __init__(self, ledger: Ledger, receiver: Receiver, sender: HttpSender, stack: AsyncExitStack) -> None:
        self.ledger = ledger
        self.receiver = receiver
        self.sender = sender
        self.outbox = PostgresShopEvents(ledger.database)
        self.ids = SystemIds()
        self.clock = SystemClock()
        self.woken = 0
        self.relay = self.a_relay()
        self._stack = stack

    def _wake(self) -> None:
        self.woken += 1

    def a_relay(self, sender: Sender | None = None, *, lease_ms: int = 60_000) -> Relaying:
        return Relaying(
            outbox=self.outbox,
            sender=sender or self.sender,
            clock=self.clock,
            ids=self.ids,
            wake=self._wake,
            lease_ms=lease_ms,
        )

    async def start(self) -> None:
        await self.clock.sync(self.ledger.sales.time_ms)

    async def endpoint(
        self, url: str = "", *, event_types: Sequence[str] = (), enabled: bool = True
    ) -> tuple[str, str]:
        """An endpoint's id and secret."""
        endpoint_id = self.ids.new_id()
        secret = await self.outbox.create(
            endpoint_id, url=url or self.receiver.url, description="", event_types=event_types, enabled=enabled
        )
        assert secret is not None
        return endpoint_id, secret

    async def another_receiver(self) -> Receiver:
        return await self._stack.enter_async_context(a_receiver())

    async def tell(self, relay: Relaying | None = None) -> dict[str, int]:
        """Passes until nothing is due any more. What became of the attempts."""
        relay = relay or self.relay
        total: dict[str, int] = {}
        while True:
            done = await relay.run_once()
            counts = {**done, **await relay.drain()}
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
            if not done["started"]:
                return total

    async def later(self, endpoint_id: str | None = None) -> None:
        """Every pause and every lease is over."""
        await self.ledger.sql.execute(
            "update webhook_deliveries set next_at = least(next_at, clock_ms())"
            " where state = 'pending' and ($1::uuid is null or endpoint_id = $1)",
            endpoint_id,
        )

    async def deliveries(self, endpoint_id: str, state: DeliveryState | None = None) -> list[Delivery]:
        """The oldest first."""
        rows = await self.outbox.deliveries(endpoint_id, state=state, before=None, limit=1_000)
        return list(reversed(rows))

    async def told(self, endpoint_id: str) -> list[str]:
        """The types of all events that were written for an endpoint, in order."""
        return [delivery.type for delivery in await self.deliveries(endpoint_id)]

    async def row(self, query: str, *args: Any) -> Any:
        return await self.ledger.sql.fetchval(query, *args)


async def some_orders(world: World, count: int) -> list[str]:
    """Ids of orders, in the order they were reserved."""
    sale = await world.ledger.sale(quantity_available=count)
    holds = [a_hold(f"buyer-{n}", key=f"key-{n}") for n in range(count)]
    await world.ledger.commit(sale, *holds)
    return [hold.hold_id for hold in holds]


@asynccontextmanager
async def a_world(url: str) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(ledger_at(url))
        receiver = await stack.enter_async_context(a_receiver())
        sender = HttpSender(allow_private=True, timeout_s=5)
        stack.push_async_callback(sender.close)
        world = World(ledger, receiver, sender, stack)
        await world.start()
        stack.push_async_callback(world.relay.stop)
        yield world
