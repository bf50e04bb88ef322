"""A sale in a bad world: real engine, reference stores, seeded faults; then calm, and everything must come right.

Owns: the plan a seed draws, the course of a run, and the promises that are checked on the way and at the end.
    safety    faults without end: at every step I1, I6 and the units of PostgreSQL hold, no acknowledged order is lost
    liveness  the faults stop: within a bounded time every unit is paid for, nothing is reserved, the audit is in step
The same seed gives the same run. Read next: `process.py` (what a crash is), `node.py` (what a gate is made of).
"""

import asyncio
import copy
import random
from collections import Counter

import msgspec

from doorbuster.domain.audit import Verdict
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale, SaleTerms
from doorbuster.domain.transitions import ORDER_LIVE, OrderStatus
from doorbuster.engine.ports import Actor
from doorbuster.engine.selling import Reserved
from doorbuster.simulation.node import Gate, Truth, Worker
from doorbuster.simulation.process import Weather, own_tasks

_OPERATOR = Actor(name="operator", reason="simulated")
_LIVENESS_S = 120.0
"""After the last fault: hold TTL, orphan age, a few passes of every agent, and the crowd's own patience."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a seed decides."""

    seed: int
    units: int
    buyers: int
    limit: int
    ttl_s: int
    gates: int
    workers: int
    abandon: float
    cancel: float
    double: float
    greedy: float
    leave: float
    refused: float
    reply_lost: float
    slow: float
    faults: tuple[str, ...]
    faulty_s: float


FAULTS = (
    "kill_gate",
    "kill_worker",
    "pause_gate",
    "pause_worker",
    "stock_emptied",
    "stock_thrown_back",
    "stock_restarted",
    "stock_key_lost",
    "stock_cut_off",
    "ledger_cut_off",
    "pause_sale",
    "top_up",
    "cut_down",
    "rebuild",
    "kill_all",
)


def draw(seed: int) -> Plan:
    """The plan of a seed: which kinds of fault there are in this world, and how bad each is."""
    rng = random.Random(seed)
    kinds = tuple(kind for kind in FAULTS if rng.random() < 0.4)
    return Plan(
        seed=seed,
        units=rng.choice((1, 2, 3, 7, 20)),
        buyers=rng.choice((3, 10, 40)),
        limit=rng.choice((1, 1, 1, 2, 3)),
        ttl_s=rng.choice((3, 5, 15)),
        gates=rng.choice((1, 2, 3)),
        workers=rng.choice((1, 2)),
        abandon=rng.choice((0.0, 0.2, 0.6)),
        cancel=rng.choice((0.0, 0.2)),
        double=rng.choice((0.0, 0.3)),
        greedy=rng.choice((0.0, 0.3)),
        leave=rng.choice((0.0, 0.05)),
        refused=rng.choice((0.0, 0.02, 0.1)),
        reply_lost=rng.choice((0.0, 0.02, 0.1)),
        slow=rng.choice((0.0, 0.02)),
        faults=kinds,
        faulty_s=rng.choice((10.0, 30.0)),
    )


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run. `broken` is empty when every promise held."""

    plan: Plan
    broken: tuple[str, ...]
    sometimes: dict[str, int]
    """How often rare branches were reached; a world that never reaches one proves nothing about it."""


class World:
    """One run. `run` may be called once."""

    def __init__(self, plan: Plan, truth: Truth) -> None:
        self.plan = plan
        self.truth = truth
        self.rng = random.Random(plan.seed + 1)
        self.weather = Weather(refused=plan.refused, reply_lost=plan.reply_lost, slow=plan.slow)
        self.gates: list[Gate] = []
        self.workers: list[Worker] = []
        self.broken: list[str] = []
        self.sometimes: Counter[str] = Counter()
        self.acknowledged: dict[str, Order] = {}
        self.sale_id = ""
        self.calm = False
        self.left = 0
        self._images: list[dict[str, object]] = []

    async def run(self) -> Finding:
        own_tasks(asyncio.get_running_loop())
        for number in range(self.plan.gates):
            self.gates.append(Gate.start(f"gate {number}", self.truth, self.rng, self.weather))
        for number in range(self.plan.workers):
            self.workers.append(Worker.start(f"worker {number}", self.truth, self.rng, self.weather))
        sale = await self._create()
        self.sale_id = sale.sale_id
        watch = asyncio.ensure_future(self._watch())
        crowd = [asyncio.ensure_future(self._buyer(number)) for number in range(self.plan.buyers)]
        await self._nemesis()
        await self._calm_down()
        await self._finish()
        for task in (watch, *crowd):
            task.cancel()
        await asyncio.gather(watch, *crowd, return_exceptions=True)
        for node in (*self.gates, *self.workers):
            await node.process.kill()
        return Finding(plan=self.plan, broken=tuple(self.broken), sometimes=dict(self.sometimes))

    async def _create(self) -> Sale:
        now = self.truth.clock.now_ms()
        terms = SaleTerms(
            product_id="p",
            title="simulated",
            quantity_available=self.plan.units,
            price_cents=0,
            currency="EUR",
            start_ms=now + 1_000,
            end_ms=now + 3_600_000,
            per_user_limit=self.plan.limit,
            max_lapsed_holds=None,  # the few buyers there are come back as often as it takes to sell out
            checkout_ttl_seconds=self.plan.ttl_s,
        )
        return await self.truth.sales.create(self.truth.ids.new_id(), terms, _OPERATOR)

    # ------------------------------------------------------------------------------------------------ the crowd

    async def _buyer(self, number: int) -> None:
        """Wants units until it has paid for its share; repeats a key after every answer that leaves room for it."""
        rng = random.Random(self.plan.seed * 1_000 + number)
        user = f"buyer {number}"
        bought, intent = 0, 0
        await asyncio.sleep(rng.random() * 2)
        while bought < self.plan.limit:
            intent += 1
            order = await self._reserve(user, f"{user} {intent}", rng)
            if order is None:
                return
            self.acknowledged[order.order_id] = order
            if rng.random() < self.plan.greedy:
                await self._grab_more(user, f"{user} {intent} more")
            fate = rng.random()
            if not self.calm and fate < self.plan.abandon:
                self.sometimes["abandoned"] += 1
                await asyncio.sleep(self.plan.ttl_s * 1.5)
            elif not self.calm and fate < self.plan.abandon + self.plan.cancel:
                await self._cancel(order, user)
            elif await self._pay(order, user, rng):
                bought += 1

    async def _grab_more(self, user: str, key: str) -> None:
        """Another tab, another key: what it gets is held against the limit like everything else."""
        answers = await asyncio.gather(*(self._ask(user, f"{key} {tab}") for tab in range(self.plan.limit + 1)))
        for answer in answers:
            if isinstance(answer, Reserved):
                self.acknowledged[answer.order.order_id] = answer.order

    async def _reserve(self, user: str, key: str, rng: random.Random) -> Order | None:
        while True:
            tries = [self._ask(user, key)]
            if rng.random() < self.plan.double:
                tries.append(self._ask(user, key))
            answers = await asyncio.gather(*tries)
            orders = {answer.order.order_id: answer.order for answer in answers if isinstance(answer, Reserved)}
            if len(orders) > 1:
                self.broken.append(f"I5: one key of {user} made {len(orders)} orders")
            if orders:
                order = next(iter(orders.values()))
                return order if order.status is OrderStatus.RESERVED else await self._reserve(user, key + "'", rng)
            codes = {answer.code for answer in answers if isinstance(answer, Refusal)}
            for code in codes:
                self.sometimes[code.value] += 1
            if Code.UNAVAILABLE in codes and not self.calm and rng.random() < self.plan.leave:
                self.sometimes["left for good"] += 1
                self.left += 1
                return None
            if codes & {Code.ENDED, Code.NOT_FOUND}:
                return None
            await asyncio.sleep(0.2 + rng.random())

    async def _ask(self, user: str, key: str) -> Reserved | Refusal:
        gate = self.rng.choice(self.gates)
        answer = await gate.reserve(self.sale_id, user, key)
        if answer is None:  # the gate died with the request in its hands
            self.sometimes["request lost"] += 1
            return Refusal(Code.UNAVAILABLE)
        return answer

    async def _pay(self, order: Order, user: str, rng: random.Random) -> bool:
        """True when the order is paid. Price 0: the ledger alone confirms it."""
        while True:
            current = await self.rng.choice(self.gates).pay(order.order_id, user)
            if current is not None and current.status is OrderStatus.PAID:
                return True
            if current is not None and current.status is not OrderStatus.RESERVED:
                self.sometimes["paid too late"] += 1
                return False
            await asyncio.sleep(0.1 + rng.random() / 4)

    async def _cancel(self, order: Order, user: str) -> None:
        for _ in range(20):
            answer = await self.rng.choice(self.gates).cancel(order.order_id, user)
            if isinstance(answer, Order) or (answer is not None and answer.code is Code.ORDER_CLOSED):
                return
            await asyncio.sleep(0.2)

    # ------------------------------------------------------------------------------------------------ faults

    async def _nemesis(self) -> None:
        end = self.truth.clock.monotonic() + self.plan.faulty_s
        while self.truth.clock.monotonic() < end:
            await asyncio.sleep(self.rng.random() * 3)
            if self.rng.random() < 0.3:
                self._images = [*self._images[-3:], copy.deepcopy(vars(self.truth.stock))]
            if self.plan.faults:
                kind = self.rng.choice(self.plan.faults)
                self.sometimes[kind] += 1
                await getattr(self, f"_{kind}")()

    async def _kill_gate(self) -> None:
        index = self.rng.randrange(len(self.gates))
        await self.gates[index].process.kill()
        self.gates[index] = Gate.start(self.gates[index].process.name, self.truth, self.rng, self.weather)

    async def _kill_worker(self) -> None:
        index = self.rng.randrange(len(self.workers))
        await self.workers[index].process.kill()
        self.workers[index] = Worker.start(self.workers[index].process.name, self.truth, self.rng, self.weather)

    async def _kill_all(self) -> None:
        for _ in range(len(self.gates)):
            await self._kill_gate()
        for _ in range(len(self.workers)):
            await self._kill_worker()

    async def _pause_gate(self) -> None:
        await self._pause_node(self.rng.choice(self.gates))

    async def _pause_worker(self) -> None:
        await self._pause_node(self.rng.choice(self.workers))

    async def _pause_node(self, node: Gate | Worker) -> None:
        node.process.pause()
        asyncio.get_running_loop().call_later(self.rng.choice((1.0, 15.0, 40.0)), node.process.resume)

    async def _stock_emptied(self) -> None:
        await self.truth.stock.drop_image(self.sale_id)

    async def _stock_thrown_back(self) -> None:
        """A fail-over to a replica that lagged: an older image, on another server (S1)."""
        if self._images:
            vars(self.truth.stock).update(copy.deepcopy(self.rng.choice(self._images)))
            self.truth.restart_stock()

    async def _stock_restarted(self) -> None:
        self.truth.restart_stock()

    async def _stock_key_lost(self) -> None:
        self.truth.lose_stock_key(self.sale_id)

    async def _stock_cut_off(self) -> None:
        self._cut_off("stock")

    async def _ledger_cut_off(self) -> None:
        self._cut_off("ledger")

    def _cut_off(self, where: str) -> None:
        self.weather.cut_off.add(where)
        asyncio.get_running_loop().call_later(self.rng.random() * 8, self.weather.cut_off.discard, where)

    async def _pause_sale(self) -> None:
        gate = self.rng.choice(self.gates)
        await gate.operate("pause", self.sale_id)
        await asyncio.sleep(self.rng.random() * 2)
        await self.rng.choice(self.gates).operate("resume", self.sale_id)

    async def _top_up(self) -> None:
        await self._change_stock(1)

    async def _cut_down(self) -> None:
        await self._change_stock(-1)

    async def _change_stock(self, by: int) -> None:
        sale = await self.truth.sales.get(self.sale_id)
        if sale is not None and 1 <= sale.quantity_available + by <= self.plan.buyers * self.plan.limit:
            await self.rng.choice(self.gates).change(self.sale_id, quantity_available=sale.quantity_available + by)

    async def _rebuild(self) -> None:
        await self.rng.choice(self.gates).operate("rebuild", self.sale_id)

    # ------------------------------------------------------------------------------------------------ promises

    async def _watch(self) -> None:
        """Safety: looks at the ledger between any two steps of the others."""
        while True:
            await asyncio.sleep(0.05)
            if self.sale_id:
                await self._check_now()

    async def _check_now(self) -> None:
        sale = await self.truth.sales.get(self.sale_id)
        orders = await self.truth.all_orders(self.sale_id)
        if sale is None:
            return
        live = [order for order in orders if order.status in ORDER_LIVE]
        units = sum(order.quantity for order in live)
        if not 0 <= units <= sale.quantity_available:
            self._break(f"I1: {units} units of {sale.quantity_available} are reserved or paid")
        if units != sale.quantity_sold:
            self._break(f"I2: quantity_sold is {sale.quantity_sold}, live orders have {units}")
        per_user: Counter[str] = Counter()
        for order in live:
            per_user[order.user_id] += order.quantity
        for user, count in per_user.items():
            if count > self.plan.limit:
                self._break(f"I6: {user} has {count} units, the limit is {self.plan.limit}")
        stored = {order.order_id for order in orders}
        lost = self.acknowledged.keys() - stored
        if lost:
            self._break(f"I4: acknowledged and not stored: {sorted(lost)[:3]}")

    def _break(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)

    async def _calm_down(self) -> None:
        self.calm = True
        self.weather.refused = self.weather.reply_lost = self.weather.slow = 0.0
        self.weather.cut_off.clear()
        for node in (*self.gates, *self.workers):
            node.process.resume()
        sale = await self.truth.sales.get(self.sale_id)
        if sale is not None and sale.status.value == "PAUSED":
            await self._resume_until_done()

    async def _resume_until_done(self) -> None:
        for _ in range(100):
            answer = await self.gates[0].operate("resume", self.sale_id)
            if isinstance(answer, Sale):
                return
            await asyncio.sleep(0.5)

    async def _finish(self) -> None:
        """Liveness: I2, I3 and I16 within the bound, then an audit that agrees."""
        wanted = 0
        end = self.truth.clock.monotonic() + _LIVENESS_S
        sale = None
        while self.truth.clock.monotonic() < end:
            await asyncio.sleep(1.0)
            sale = await self.truth.sales.get(self.sale_id)
            if sale is None:
                continue
            wanted = min(sale.quantity_available, (self.plan.buyers - self.left) * self.plan.limit)
            if sale.quantity_paid >= wanted and sale.quantity_sold == sale.quantity_paid:
                break
        if sale is None or sale.quantity_paid < wanted or sale.quantity_sold != sale.quantity_paid:
            self._break(
                f"I3: {sale and sale.quantity_paid} of {wanted} units are paid {_LIVENESS_S:.0f} s after the calm"
            )
            return
        await asyncio.sleep(25.0)  # orphans of the last moment come of age
        report = await self.gates[0].audit(self.sale_id)
        if report is None or isinstance(report, Refusal) or report.verdict is not Verdict.IN_STEP:
            self._break(f"audit: {report}")
