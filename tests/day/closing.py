"""A shop in memory whose sales' days are done by the real steps, in a time that a test moves."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from api.gate import Gate
from conformance.ledger_bench import MINUTE, LedgerBench
from conformance.ledgers import MemoryLedger
from day.test_running import Day, Rule
from day.test_scaling import Desk, Recorded
from doorbuster.agents.resolver import Resolver
from doorbuster.agents.selling import ClockAgent
from doorbuster.api.report_shapes import composed
from doorbuster.domain.sale import Sale
from doorbuster.domain.timeline import StepName, StepRow
from doorbuster.engine.day_steps import End, FinalAudit, Settle, Start, WarmUp
from doorbuster.engine.expiring import Expirer
from doorbuster.engine.notifying import Notifying
from doorbuster.engine.ports import SaleStore
from doorbuster.engine.rebuilding import Keeper, Rebuilder
from doorbuster.engine.releasing import Releaser
from doorbuster.engine.timeline_ports import TimelineStore
from doorbuster.engine.wrapping_up import WrapUp

LAST = (StepName.END, StepName.SETTLE, StepName.FINAL_AUDIT, StepName.REPORT)


class _Shop(MemoryLedger):
    """The ledger of a gate."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate.clock)
        shop = gate.shop
        self.rows, self.sales, self.orders, self.audits = shop.ledger, shop.sales, shop.orders, shop.audits
        self.payments, self.charges, self.lines = shop.payments, shop.charges, shop.lines
        self.timeline = self.figures = shop.timeline
        self.waitlist = self.notices = shop.waitlist


class Closing:
    """`pass_time` lets the agents of a worker run as well as the steps; those stop while there is no `day`."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.shop = gate.shop
        self.bench = LedgerBench(_Shop(gate))
        self.scaler = Recorded()
        self.desk = Desk(self.bench, self.scaler)
        self.notifying = Notifying(self.shop.waitlist, gate.clock)
        self.rebuilder = Rebuilder(self.shop.sales, self.shop.stock, self.shop.line, self.shop.lines)
        self.faults = gate.gateway._faults  # pyright: ignore[reportPrivateUsage]
        self.sale_id = ""
        self.day: Day | None = self.worker()
        self._clock = ClockAgent(self.shop.sales, self.shop.orders, gate.services.refunding)
        self._expirer = Expirer(self.shop.orders, self.shop.lines)
        self._releaser = Releaser(self.shop.sales, self.shop.orders, self.shop.stock)
        self._keeper = Keeper(self.shop.sales, self.shop.stock, self.rebuilder, gate.clock)
        self._resolver = Resolver(
            payments=self.shop.payments, gateway=gate.gateway, clock=gate.clock, wake=lambda _: None, quiet_ms=0
        )

    def worker(self, rules: Mapping[StepName, Rule] | None = None, *, seed: int = 1) -> Day:
        """One whose steps are the real ones, but for `rules`; nobody rehearses here or fetches pages."""
        return Day(self.bench, {**self.steps(), **(rules or {})}, seed=seed)

    def steps(
        self, *, sales: SaleStore | None = None, timeline: TimelineStore | None = None
    ) -> Mapping[StepName, Rule]:
        """With these stores in place of the shop's."""
        kept, gate = sales or self.shop.sales, self.gate
        auditing, reconciler = gate.services.auditing, gate.services.reconciler
        return {
            StepName.WARM_UP: WarmUp(kept, self.shop.stock).step,
            StepName.NOTIFY_1H: self.notifying.in_an_hour,
            StepName.SCALE_UP: self.desk.scaling.scale_up,
            StepName.WAITLIST_OPEN: self.notifying.waitlist_open,
            StepName.NOTIFY_5M: self.notifying.in_five_minutes,
            StepName.SCALE_CHECK: self.desk.scaling.scale_check,
            StepName.START: Start().step,
            StepName.END: End(self.desk.scaling.stand_down, self.notifying.tell_results).step,
            StepName.SETTLE: Settle(kept, self.notifying.tell_results).step,
            StepName.FINAL_AUDIT: FinalAudit(kept, auditing, reconciler, self.rebuilder).step,
            StepName.REPORT: WrapUp(
                timeline or self.shop.timeline, lambda sale_id: composed(gate.services.reporting, sale_id)
            ).step,
        }

    async def create(self, **changes: Any) -> str:
        """The sale of this test: 3 units at 10.00 EUR, open for an hour from now on, ten minutes to pay."""
        answer = await self.gate.create(**changes)
        assert answer.status == 201, answer.raw
        self.sale_id = answer.json["sale_id"]
        return self.sale_id

    async def waits(self, *users: str) -> None:
        """They were on the waitlist of the sale."""
        for user in users:
            await self.shop.waitlist.join(self.sale_id, user, f"{user}@example.com")

    async def reserve(self, user: str) -> str:
        answer = await self.gate.order(user, sale=self.sale_id, key=f"{user} {self.gate.clock.now_ms()}")
        assert answer.status == 201, answer.raw
        return answer.json["order_id"]

    async def buy(self, user: str) -> str:
        order_id = await self.reserve(user)
        assert (await self.gate.pay(order_id, user)).status == 200
        return order_id

    async def verb(self, verb: str) -> None:
        assert (await self.gate.admin("POST", f"/sales/{self.sale_id}/{verb}", {"reason": "a test"})).status == 200

    async def pass_time(self, ms: int = MINUTE, *, of: int = MINUTE) -> None:
        """So long, in parts of so many milliseconds; after each everybody has done what is due."""
        while ms > 0:
            self.gate.clock.advance_ms(min(ms, of))
            ms -= of
            await self.work()

    async def work(self) -> None:
        now = self.gate.clock.now_ms()
        await self.desk.gates(1)
        await self._clock.run_once(now)
        await self._resolver.run_once(now)
        await self._expirer.run_once()
        await self._releaser.run_once()
        await self._keeper.run_once(await self.shop.sales.live())
        await self.gate.board.refresh()
        if self.day is not None:
            await self.day.run()

    async def sale(self) -> Sale:
        sale = await self.shop.sales.get(self.sale_id)
        assert sale is not None
        return sale

    async def rows(self) -> dict[StepName, StepRow]:
        return {row.step: row for row in await self.shop.timeline.steps(self.sale_id)}

    async def row(self, step: StepName) -> StepRow:
        return (await self.rows())[step]

    async def report(self) -> dict[str, Any]:
        """As an operator is shown it."""
        return (await self.gate.admin("GET", f"/sales/{self.sale_id}/report")).json

    async def run_step(self, step: StepName) -> None:
        answer = await self.gate.admin("POST", f"/sales/{self.sale_id}/timeline/{step}/run", {"reason": "a test"})
        assert answer.status == 200, answer.raw


@asynccontextmanager
async def a_closing(**terms: Any) -> AsyncGenerator[Closing]:
    """With a sale on these terms."""
    gate = Gate()
    gate.committer.start()
    await gate.tickets.refresh()
    await gate.passes.refresh()
    closing = Closing(gate)
    await closing.create(**terms)
    try:
        yield closing
    finally:
        await gate.stop()
