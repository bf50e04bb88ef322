"""What a gate and a worker are made of in a simulated world: the real use cases and agents on wires.

Owns: the wiring of simulated processes, as `bootstrap/` owns that of real ones.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from doorbuster.agents.line import AdmitterAgent, DrawerAgent, LineKeeperAgent, Lines
from doorbuster.agents.loop import AgentLoops
from doorbuster.agents.selling import ClockAgent, ExpirerAgent, KeeperAgent, ReleaserAgent, SweeperAgent
from doorbuster.domain import limits
from doorbuster.domain.audit import AuditReport
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.place import Place
from doorbuster.domain.sale import Sale
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.committing import Committer
from doorbuster.engine.describing import Describer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.entering import Entering
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.granting import Admitter, LineKeeper
from doorbuster.engine.line_ports import DrawLedger, LineLedger, LineStore
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.payment_ports import PaymentStore
from doorbuster.engine.ports import (
    Actor,
    AuditStore,
    Clock,
    Ids,
    OrderStore,
    OutcomeUnknown,
    SaleStore,
    StockStore,
    StoreUnavailable,
)
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.rebuilding import Keeper, Rebuilder
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import OrphanSweep, Releaser
from doorbuster.engine.selling import Reserved, Selling
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.watching import LineWatch
from doorbuster.reference.gateway import ReferenceGateway
from doorbuster.simulation.process import Process, Weather, Wire

_OPERATOR = Actor(name="operator", reason="simulated")
T = TypeVar("T")


class Truth(Protocol):
    """The stores themselves, beyond all wires, and what can be done to them."""

    @property
    def sales(self) -> SaleStore: ...
    @property
    def orders(self) -> OrderStore: ...
    @property
    def audits(self) -> AuditStore: ...
    @property
    def stock(self) -> StockStore: ...
    @property
    def line(self) -> LineStore: ...
    @property
    def lines(self) -> LineLedger: ...
    @property
    def draws(self) -> DrawLedger: ...
    @property
    def payments(self) -> PaymentStore: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def ids(self) -> Ids: ...

    async def all_orders(self, sale_id: str) -> list[Order]: ...
    async def mark_paid(self, order_id: str) -> Order | None: ...
    def restart_stock(self) -> None: ...
    def lose_stock_key(self, sale_id: str) -> None: ...


class _Stores:
    """The stores as one process sees them."""

    def __init__(self, process: Process, truth: Truth) -> None:
        self.sales = cast("SaleStore", Wire(process, "ledger", truth.sales))
        self.orders = cast("OrderStore", Wire(process, "ledger", truth.orders))
        self.audits = cast("AuditStore", Wire(process, "ledger", truth.audits))
        self.stock = cast("StockStore", Wire(process, "stock", truth.stock))
        self.line = cast("LineStore", Wire(process, "stock", truth.line))
        self.lines = cast("LineLedger", Wire(process, "ledger", truth.lines))
        self.draws = cast("DrawLedger", Wire(process, "ledger", truth.draws))
        self.payments = cast("PaymentStore", Wire(process, "ledger", truth.payments))

    def refunding(self, clock: Clock) -> Refunding:
        """Of worlds in which the ledger is told that money came; no gateway is called."""
        releaser = Releaser(self.sales, self.orders, self.stock)
        gateway = ReferenceGateway()
        return Refunding(payments=self.payments, orders=self.orders, gateway=gateway, releaser=releaser, clock=clock)


class Gate:
    """One gate. Every request runs as a task of its process; it answers None if the gate dies meanwhile."""

    def __init__(self, process: Process, truth: Truth) -> None:
        self.process = process
        self._truth = truth
        stores, clock, ids = _Stores(process, truth), truth.clock, truth.ids
        self._board = SaleBoard(stores.sales, clock)
        releaser = Releaser(stores.sales, stores.orders, stores.stock)
        rebuilder = Rebuilder(stores.sales, stores.stock, stores.line, stores.lines)
        distrust = Distrust(stores.sales)
        self._committer = Committer(stores.orders, stores.stock, clock, ids)
        self._selling = Selling(
            board=self._board,
            committer=self._committer,
            stock=stores.stock,
            orders=stores.orders,
            distrust=distrust,
            clock=clock,
            ids=ids,
        )
        self._ordering = Ordering(stores.orders, releaser)
        self._watch = LineWatch(self._board, stores.lines, stores.stock, clock)
        self._tickets = Tickets(stores.lines)
        describer = Describer(self._watch, self._tickets, clock, ids)
        self._queueing = Queueing(
            board=self._board,
            line=stores.line,
            ledger=stores.lines,
            orders=stores.orders,
            ordering=self._ordering,
            entering=Entering(stores.draws, describer, clock, ids),
            describer=describer,
            tickets=self._tickets,
            distrust=distrust,
            clock=clock,
            ids=ids,
        )
        self._operating = Operating(
            sales=stores.sales,
            orders=stores.orders,
            stock=stores.stock,
            board=self._board,
            rebuilder=rebuilder,
            releaser=releaser,
            refunding=stores.refunding(clock),
            clock=clock,
            ids=ids,
        )
        self._auditing = Auditing(
            sales=stores.sales, orders=stores.orders, audits=stores.audits, stock=stores.stock, clock=clock
        )

    @classmethod
    def start(cls, name: str, truth: Truth, rng: random.Random, weather: Weather) -> "Gate":
        gate = cls(Process(name, rng, weather), truth)
        gate.process.spawn(gate._live())
        return gate

    async def _live(self) -> None:
        self._committer.start()
        while True:
            with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
                await self._board.refresh()
                await self._watch.refresh()
                await self._tickets.refresh()
            await asyncio.sleep(limits.SNAPSHOT_INTERVAL_MS / 1000)

    async def reserve(self, sale_id: str, user: str, key: str) -> Reserved | Refusal | None:
        return await self._request(self._selling.reserve(sale_id, user, quantity=1, key=key, digest="d"))

    async def join(self, sale_id: str, user: str, ticket: str | None) -> Place | Refusal | None:
        return await self._request(self._queueing.join(sale_id, user, ticket))

    async def place(self, sale_id: str, user: str, ticket: str | None) -> Place | Refusal | None:
        return await self._request(self._queueing.place(sale_id, user, ticket))

    async def leave(self, sale_id: str, user: str) -> Place | Refusal | None:
        return await self._request(self._queueing.leave(sale_id, user))

    async def cancel(self, order_id: str, user: str) -> Order | Refusal | None:
        return await self._request(self._ordering.cancel(order_id, user, Actor(name=user)))

    async def pay(self, order_id: str, user: str) -> Order | None:
        """The order after paying for it, by the ledger's own confirmation; None if nothing is known."""
        del user
        return await self._request(self.process.call("ledger", self._truth.mark_paid, order_id))

    async def operate(self, verb: str, sale_id: str) -> Sale | Refusal | None:
        return await self._request(getattr(self._operating, verb)(sale_id, _OPERATOR))

    async def change(self, sale_id: str, **changes: object) -> Sale | Refusal | None:
        return await self._request(self._operating.change(sale_id, changes, _OPERATOR))

    async def audit(self, sale_id: str) -> AuditReport | Refusal | None:
        return await self._request(self._auditing.audit(sale_id, _OPERATOR))

    async def _request(self, work: Awaitable[T]) -> T | None:
        task: asyncio.Task[Any] = self.process.spawn(work)
        await asyncio.wait([task])
        if task.cancelled():
            return None
        problem = task.exception()
        if isinstance(problem, StoreUnavailable | OutcomeUnknown):
            return None
        return task.result()


async def _inline(work: Callable[..., Any], *args: Any) -> Any:
    """What a real process computes beside its event loop; here nothing else could run meanwhile anyway."""
    return work(*args)


class Worker:
    """One worker: all agents in their loops."""

    def __init__(self, process: Process, truth: Truth) -> None:
        self.process = process
        stores, clock, ids = _Stores(process, truth), truth.clock, truth.ids
        rebuilder = Rebuilder(stores.sales, stores.stock, stores.line, stores.lines)
        lines = Lines(stores.sales, clock)
        admitter = Admitter(
            line=stores.line, orders=stores.orders, distrust=Distrust(stores.sales), clock=clock, ids=ids
        )
        self._loops: AgentLoops

        def wake(name: str) -> None:
            self._loops.wake(name)

        self._loops = AgentLoops(
            [
                ClockAgent(stores.sales, stores.orders, stores.refunding(clock)),
                KeeperAgent(stores.sales, Keeper(stores.sales, stores.stock, rebuilder, clock)),
                ExpirerAgent(Expirer(stores.orders, stores.lines), wake),
                ReleaserAgent(Releaser(stores.sales, stores.orders, stores.stock)),
                SweeperAgent(stores.sales, OrphanSweep(stores.orders, stores.stock), wake),
                AdmitterAgent(lines, admitter),
                LineKeeperAgent(lines, stores.stock, LineKeeper(stores.lines, stores.line)),
                DrawerAgent(
                    lines=lines,
                    sales=stores.sales,
                    drawing=Drawing(stores.draws, None, _inline),
                    rebuilder=rebuilder,
                    wake=wake,
                ),
            ],
            clock,
            ids,
        )

    @classmethod
    def start(cls, name: str, truth: Truth, rng: random.Random, weather: Weather) -> "Worker":
        worker = cls(Process(name, rng, weather), truth)
        worker.process.spawn(worker._live())
        return worker

    async def _live(self) -> None:
        self._loops.start()
        await asyncio.Event().wait()
