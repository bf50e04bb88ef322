"""Where a story is played: gates and a worker of the real engine on one shop, of either kind.

A gate has its own board and its own committer, as a process has. Time is the ledger's and moves only by `advance`.
Behind every store is a bad wire that a story can script.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from conformance.ledgers import Ledger
from doorbuster.adapters.valkey.keys import NAMES
from doorbuster.agents.line import AdmitterAgent, DrawerAgent, LineKeeperAgent, Lines
from doorbuster.agents.money import ChargerAgent
from doorbuster.agents.resolver import Resolver
from doorbuster.agents.selling import ClockAgent, ExpirerAgent, KeeperAgent, ReleaserAgent, SweeperAgent
from doorbuster.domain.place import Place
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.charging import Charging
from doorbuster.engine.committing import Committer
from doorbuster.engine.describing import Describer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.entering import Entering
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.granting import Admitter, LineKeeper
from doorbuster.engine.line_ports import LineStore
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.paying import Paying
from doorbuster.engine.ports import OutcomeUnknown, StockStore, StoreUnavailable
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.rebuilding import Keeper, Rebuilder
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.releasing import OrphanSweep, Releaser
from doorbuster.engine.selling import Selling
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.watching import LineWatch
from doorbuster.reference.clock import SeededIds
from doorbuster.reference.faults import Faults, faulty
from doorbuster.reference.gateway import ReferenceGateway
from doorbuster.reference.image import Image
from doorbuster.reference.line import ReferenceLineStore
from doorbuster.reference.stock import ReferenceStockStore
from helpers.servers import call

GATES = 2


class StockServer(Protocol):
    """What can happen to the server that holds the stock, besides calls."""

    def lose_stock(self, sale_id: str) -> None:
        """The one key with the number of free units."""
        ...

    def lose_everything(self) -> None: ...
    def remember(self, sale_id: str) -> None: ...

    def throw_back(self, sale_id: str) -> None:
        """To what was remembered."""
        ...


class MemoryServer:
    def __init__(self, stock: ReferenceStockStore) -> None:
        self._stock = stock
        self._images: dict[str, Image] = {}

    def lose_stock(self, sale_id: str) -> None:
        self._stock.lose_stock_key(sale_id)

    def lose_everything(self) -> None:
        self._stock.empty()

    def remember(self, sale_id: str) -> None:
        del sale_id  # it has no other
        self._images = self._stock.snapshot()

    def throw_back(self, sale_id: str) -> None:
        del sale_id
        self._stock.throw_back(self._images)


class ValkeyServer:
    """A real one, by the commands an operator has."""

    def __init__(self, url: str) -> None:
        self._socket = Path(url.removeprefix("unix://"))
        self._dumps: dict[str, object] = {}

    def lose_stock(self, sale_id: str) -> None:
        call(self._socket, "DEL", f"sale:{{{sale_id}}}:stock")

    def lose_everything(self) -> None:
        call(self._socket, "FLUSHALL")

    def remember(self, sale_id: str) -> None:
        keys = [f"sale:{{{sale_id}}}:{name}" for name in NAMES]
        self._dumps = {key: call(self._socket, "DUMP", key) for key in keys}

    def throw_back(self, sale_id: str) -> None:
        for key, dump in self._dumps.items():
            call(self._socket, "DEL", key)
            if isinstance(dump, bytes):
                call(self._socket, "RESTORE", key, 0, dump)


class Gate:
    """One gate."""

    def __init__(self, stage: "Stage") -> None:
        sales, orders, stock = stage.sales, stage.orders, stage.stock
        clock, ids = stage.ledger.clock, stage.ids
        self.board = SaleBoard(sales, clock)
        self.committer = Committer(orders, stock, clock, ids)
        releaser = Releaser(sales, orders, stock)
        rebuilder = Rebuilder(sales, stock, stage.line, stage.lines)
        distrust = Distrust(sales)
        self.selling = Selling(
            board=self.board,
            committer=self.committer,
            stock=stock,
            orders=orders,
            distrust=distrust,
            clock=clock,
            ids=ids,
        )
        self.ordering = Ordering(orders, releaser)
        self.watch = LineWatch(self.board, stage.lines, stock, clock)
        self.tickets = Tickets(stage.lines)
        describer = Describer(self.watch, self.tickets, clock, ids)
        self.queueing = Queueing(
            board=self.board,
            line=stage.line,
            ledger=stage.lines,
            orders=orders,
            ordering=self.ordering,
            entering=Entering(stage.draws, describer, clock, ids),
            describer=describer,
            tickets=self.tickets,
            distrust=distrust,
            clock=clock,
            ids=ids,
        )
        self.refunding = stage.refunding(releaser)
        self.operating = Operating(
            sales=sales,
            orders=orders,
            stock=stock,
            board=self.board,
            rebuilder=rebuilder,
            releaser=releaser,
            refunding=self.refunding,
            clock=clock,
            ids=ids,
        )
        self.paying = Paying(payments=stage.ledger.payments, gateway=stage.gateway, clock=clock, ids=ids, answer_s=10.0)
        self.auditing = Auditing(sales=sales, orders=orders, audits=stage.ledger.audits, stock=stock, clock=clock)

    async def refresh(self) -> None:
        """What a gate reads again and again, whoever asks."""
        await self.board.refresh()
        with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
            await self.watch.refresh()


class Worker:
    """One worker, whose agents take turns when they are told to."""

    def __init__(self, stage: "Stage") -> None:
        sales, orders, stock, clock = stage.sales, stage.orders, stage.stock, stage.ledger.clock
        self.expirer = Expirer(orders, stage.lines)
        self.releaser = Releaser(sales, orders, stock)
        self.sweep = OrphanSweep(orders, stock)
        self.rows = Lines(sales, clock)
        rebuilder = Rebuilder(sales, stock, stage.line, stage.lines)
        self.admitter = Admitter(line=stage.line, orders=orders, distrust=Distrust(sales), clock=clock, ids=stage.ids)
        self.drawer = DrawerAgent(
            lines=self.rows,
            sales=sales,
            drawing=Drawing(stage.draws, None, _inline),
            rebuilder=rebuilder,
            wake=_nobody,
        )
        self.charging = Charging(
            charges=stage.ledger.charges,
            payments=stage.ledger.payments,
            gateway=stage.gateway,
            clock=clock,
            ids=stage.ids,
            ended=lambda: None,
        )
        self.agents = (
            ClockAgent(sales, orders, stage.refunding(self.releaser)),
            self.drawer,
            KeeperAgent(sales, Keeper(sales, stock, rebuilder, clock)),
            SweeperAgent(sales, self.sweep, _nobody),
            ExpirerAgent(self.expirer, _nobody),
            Resolver(payments=stage.ledger.payments, gateway=stage.gateway, clock=clock, wake=_nobody),
            ChargerAgent(self.charging),
            ReleaserAgent(self.releaser),
            AdmitterAgent(self.rows, self.admitter),
            LineKeeperAgent(self.rows, stock, LineKeeper(stage.lines, stage.line)),
        )


def _nobody(agent: str) -> None:
    """Everybody has a turn anyway."""
    del agent


async def _inline(work: Callable[..., Any], *args: Any) -> Any:
    """Nothing else could run meanwhile anyway."""
    return work(*args)


class Stage:
    """The shop of one story. `open` before the first step, `close` after the last."""

    def __init__(
        self,
        ledger: Ledger,
        stock: StockStore,
        server: StockServer,
        *,
        line: LineStore,
        seed: int = 1,
    ) -> None:
        self.ledger = ledger
        self.server = server
        self.ids = SeededIds(seed)
        self.faults = {"stock": Faults(), "line": Faults(), "ledger": Faults(), "gateway": Faults()}
        self.stock = faulty(stock, self.faults["stock"])
        self.sales = faulty(ledger.sales, self.faults["ledger"])
        self.orders = faulty(ledger.orders, self.faults["ledger"])
        self.line = faulty(line, self.faults["line"])
        self.lines = faulty(ledger.lines, self.faults["ledger"])
        self.draws = faulty(ledger.draws, self.faults["ledger"])
        self.gateway = ReferenceGateway(self.faults["gateway"])
        self.gates = [Gate(self) for _ in range(GATES)]
        self.workers = [Worker(self), Worker(self)]
        self.sale_id = ""
        self.latest: dict[str, str] = {}
        """The order each buyer got last."""
        self.places: dict[str, Place] = {}
        """What each buyer was told last of a place in the line."""
        self.told: dict[tuple[int, str], Place] = {}
        """The same by gate."""
        self.tickets: dict[str, str] = {}
        self.http = 0
        """The status of the last refusal by the line, as it leaves over HTTP."""
        self.granted: set[int] = set()
        """Numbers known to have been granted."""
        self.intents: Counter[str] = Counter()
        self._standing: set[asyncio.Task[object]] = set()

    def refunding(self, releaser: Releaser) -> Refunding:
        return Refunding(
            payments=self.ledger.payments,
            orders=self.orders,
            gateway=self.gateway,
            releaser=releaser,
            clock=self.ledger.clock,
        )

    async def open(self) -> None:
        for gate in self.gates:
            gate.committer.start()
            await gate.tickets.refresh()
        self.note_standing()

    def note_standing(self) -> None:
        """Whatever runs now runs for good; `quiet` does not wait for it."""
        self._standing = asyncio.all_tasks()

    async def close(self) -> None:
        for gate in self.gates:
            await gate.committer.stop()

    async def quiet(self) -> None:
        """Let finish what a step has started in the background, and let every board see the rows as they are now."""
        while working := asyncio.all_tasks() - self._standing - {asyncio.current_task()}:
            done, _ = await asyncio.wait(working, timeout=10)
            assert done, f"still at work: {working}"
        for gate in self.gates:
            await gate.refresh()


def stage_in_memory(ledger: Ledger, stock: ReferenceStockStore) -> Stage:
    return Stage(ledger, stock, MemoryServer(stock), line=ReferenceLineStore(stock))
