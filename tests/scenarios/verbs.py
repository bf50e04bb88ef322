"""What each verb of a story does. A verb answers in words; a refusal's word is its code.

reserve, cancel, pay        what a buyer does, at gate `at=`
sale, change, block, open, pause, resume, end, abort, rebuild, warm-up, audit      what an operator does
(the line's: `line_verbs.py`)
advance, work, expire, relay, sweep, resolve, keep      time, and the turns of the worker `of=`
fault, lose, remember, throw-back, orphan, late, refund      what goes wrong, and what no gate does yet
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from doorbuster.domain.order import Hold, Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.sale import PaymentMode, Sale, SaleMode, SaleTerms
from doorbuster.engine.ports import Actor, Ask, CommitBatch, OutcomeUnknown, StoreUnavailable
from doorbuster.reference.faults import Fault
from scenarios.notation import Step, span_ms
from scenarios.stage import Gate, Stage, Worker

OPERATOR: Final = Actor(name="operator", reason="the story")
Verb = Callable[[Stage, Step], Awaitable[list[str]]]
VERBS: Final[dict[str, Verb]] = {}
OPTIONS: Final[dict[str, frozenset[str]]] = {}
"""What may be said to each verb with name=value."""


def verb(name: str, *options: str) -> Callable[[Verb], Verb]:
    def register(play: Verb) -> Verb:
        OPTIONS[name] = frozenset(options)

        async def answer(stage: Stage, step: Step) -> list[str]:
            try:
                return await play(stage, step)
            except (StoreUnavailable, OutcomeUnknown):
                return ["unavailable"]  # as whoever calls the engine would say it

        VERBS[name] = answer
        return play

    return register


def gate_of(stage: Stage, step: Step) -> Gate:
    return stage.gates[step.number("at", 1) - 1]


def worker_of(stage: Stage, step: Step) -> Worker:
    return stage.workers[step.number("of", 1) - 1]


def _order_of(stage: Stage, step: Step, buyer: str) -> str:
    """The order a step is about: the buyer's own, or that of `order=`."""
    return stage.latest.get(step.options.get("order", buyer), stage.ids.new_id())


# ---------------------------------------------------------------------------------------------------- buyers


@verb("reserve", "quantity", "key", "body", "at", "sale")
async def reserve(stage: Stage, step: Step) -> list[str]:
    """reserve B1 [quantity=] [key=] [body=] [at=] -> reserved | replayed | a refusal; all named at once."""
    return list(await asyncio.gather(*(_reserve(stage, step, buyer) for buyer in step.names)))


async def _reserve(stage: Stage, step: Step, buyer: str) -> str:
    stage.intents[buyer] += 1
    answer = await gate_of(stage, step).selling.reserve(
        step.options.get("sale", stage.sale_id),
        buyer,
        quantity=step.number("quantity", 1),
        key=step.options.get("key", f"intent {stage.intents[buyer]}"),
        digest=step.options.get("body", "body"),
    )
    if isinstance(answer, Refusal):
        return answer.code.value
    stage.latest[buyer] = answer.order.order_id
    return "replayed" if answer.replayed else "reserved"


@verb("cancel", "order", "by", "at")
async def cancel(stage: Stage, step: Step) -> list[str]:
    """cancel B1 [order=B2] [by=operator] -> cancelled | a refusal; all named at once."""

    async def one(buyer: str) -> str:
        user = None if step.options.get("by") == "operator" else buyer
        ordering = gate_of(stage, step).ordering
        answer = await ordering.cancel(_order_of(stage, step, buyer), user, OPERATOR)
        return answer.status.value.lower() if isinstance(answer, Order) else answer.code.value

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


@verb("pay", "method", "key", "order", "at")
async def pay(stage: Stage, step: Step) -> list[str]:
    """pay B1 [method=pm_ok] [key=] [order=B2] -> paid | pending | a refusal; all named at once."""

    async def one(buyer: str) -> str:
        stage.intents[buyer] += 1
        answer = await gate_of(stage, step).paying.pay(
            _order_of(stage, step, buyer),
            buyer,
            payment_method=step.options.get("method", "pm_ok"),
            key=step.options.get("key", f"payment {stage.intents[buyer]}"),
        )
        if isinstance(answer, Refusal):
            return answer.code.value
        return "paid" if answer.settled else "pending"

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


# ---------------------------------------------------------------------------------------------------- the operator


@verb(
    *("sale", "units", "per_buyer", "hold_ttl", "price", "starts_in", "lasts", "mode"),
    *("standby", "claim_window", "entries_in", "payment", "attempts", "lapses"),
)
async def sale(stage: Stage, step: Step) -> list[str]:
    """sale units= [per_buyer=1] [hold_ttl=10m] [price=1500] [starts_in=0s] [lasts=1h] [mode=race|queue|draw]
    [standby=] [claim_window=] [entries_in=] [payment=checkout|auto|external] [attempts=3] [lapses=2]"""
    now = stage.ledger.clock.now_ms()
    start = now + step.span_ms("starts_in", "0s")
    terms = SaleTerms(
        product_id="p-1",
        title="Lamp",
        quantity_available=step.number("units", 1),
        price_cents=step.number("price", 1_500),
        currency="USD",
        start_ms=start,
        end_ms=start + step.span_ms("lasts", "1h"),
        mode=SaleMode(step.options.get("mode", "race")),
        payment_mode=PaymentMode(step.options.get("payment", "checkout")),
        payment_attempts=step.number("attempts", 3),
        max_lapsed_holds=step.number("lapses", 2),
        per_user_limit=step.number("per_buyer", 1),
        checkout_ttl_seconds=step.span_ms("hold_ttl", "10m") // 1_000,
        standby_limit=step.number("standby", 0) if "standby" in step.options else None,
        claim_window_seconds=step.span_ms("claim_window", "") // 1_000 if "claim_window" in step.options else None,
        entry_opens_ms=now + step.span_ms("entries_in", "") if "entries_in" in step.options else None,
    )
    created = await stage.gates[0].operating.create(terms, OPERATOR)
    if isinstance(created, Refusal):
        return [created.code.value]
    stage.sale_id = created.sale_id
    return ["created"]


def _status(answer: Sale | Refusal) -> list[str]:
    return [answer.code.value if isinstance(answer, Refusal) else answer.status.value.lower()]


_NUMBERS: Final = (
    ("units", "quantity_available"),
    ("per_buyer", "per_user_limit"),
    ("price", "price_cents"),
    ("standby", "standby_limit"),
)


@verb("change", *(name for name, _ in _NUMBERS), "ends_in", "at")
async def change(stage: Stage, step: Step) -> list[str]:
    """change [units=] [per_buyer=] [standby=] [ends_in=] [price=] -> the status | a refusal"""
    changes: dict[str, object] = {}
    for name, term in _NUMBERS:
        if name in step.options:
            changes[term] = step.number(name, 0)
    if "ends_in" in step.options:
        changes["end_ms"] = stage.ledger.clock.now_ms() + step.span_ms("ends_in", "0s")
    return _status(await gate_of(stage, step).operating.change(stage.sale_id, changes, OPERATOR))


@verb("block", "at")
async def block(stage: Stage, step: Step) -> list[str]:
    """block B1 B2: they and nobody else are blocked; without a name nobody is."""
    answer = await gate_of(stage, step).operating.set_blocklist(stage.sale_id, step.names, OPERATOR)
    return [answer.code.value] if isinstance(answer, Refusal) else [str(answer.total)]


def _operate(name: str) -> None:
    async def play(stage: Stage, step: Step) -> list[str]:
        operating = gate_of(stage, step).operating
        method: Callable[[str, Actor], Awaitable[Sale | Refusal]] = getattr(operating, name.replace("-", "_"))
        return _status(await method(stage.sale_id, OPERATOR))

    verb(name, "at")(play)


for _name in ("open", "pause", "resume", "end", "abort", "rebuild", "warm-up"):
    _operate(_name)


@verb("audit", "at")
async def audit(stage: Stage, step: Step) -> list[str]:
    """audit -> in_step | drifted | unknown"""
    report = await gate_of(stage, step).auditing.audit(stage.sale_id, OPERATOR)
    return [report.code.value if isinstance(report, Refusal) else report.verdict.value]


# ---------------------------------------------------------------------------------------------------- time and workers


@verb("advance")
async def advance(stage: Stage, step: Step) -> list[str]:
    """advance 120s"""
    await stage.ledger.advance_ms(sum(span_ms(name) for name in step.names))
    return []


@verb("work", "of")
async def work(stage: Stage, step: Step) -> list[str]:
    """Every agent of a worker has a turn, as often as it takes them to follow one another."""
    for _ in range(2):
        for agent in worker_of(stage, step).agents:
            worker_of(stage, step).rows.forget()  # time stands still here, rows do not
            with contextlib.suppress(
                StoreUnavailable, OutcomeUnknown
            ):  # as the agents' loop does: there is a next turn
                await agent.run_once(stage.ledger.clock.now_ms())
    return []


@verb("expire", "workers")
async def expire(stage: Stage, step: Step) -> list[str]:
    """expire -> how many; `workers=2` at once, each with its count."""
    workers = stage.workers[: step.number("workers", 1)]
    return [str(count) for count in await asyncio.gather(*(each.expirer.run_once() for each in workers))]


@verb("relay", "workers")
async def relay(stage: Stage, step: Step) -> list[str]:
    """relay -> units that went back to the counter; `workers=2` at once."""
    workers = stage.workers[: step.number("workers", 1)]
    return [str(done.units) for done in await asyncio.gather(*(each.releaser.run_once() for each in workers))]


@verb("sweep", "workers")
async def sweep(stage: Stage, step: Step) -> list[str]:
    """sweep -> holds settled that never became orders; `workers=2` at once."""
    row = await stage.ledger.sales.get(stage.sale_id)
    assert row is not None
    now = stage.ledger.clock.now_ms()
    workers = stage.workers[: step.number("workers", 1)]
    return [str(count) for count in await asyncio.gather(*(each.sweep.run_once(row, now) for each in workers))]


# ---------------------------------------------------------------------------------------------------- what goes wrong


@verb("fault", "times")
async def fault(stage: Stage, step: Step) -> list[str]:
    """fault stock|line|ledger|gateway METHOD reply_lost|not_executed [times=1]"""
    where, method, kind = step.names
    stage.faults[where].script(method, *[Fault(kind)] * step.number("times", 1))
    return []


@verb("lose")
async def lose(stage: Stage, step: Step) -> list[str]:
    """lose stock|everything, of the server that holds the counter"""
    if step.names == ("stock",):
        stage.server.lose_stock(stage.sale_id)
    else:
        assert step.names == ("everything",)
        stage.server.lose_everything()
    return []


@verb("remember")
async def remember(stage: Stage, step: Step) -> list[str]:
    """What a replica that lags has of the counter."""
    stage.server.remember(stage.sale_id)
    return []


@verb("throw-back")
async def throw_back(stage: Stage, step: Step) -> list[str]:
    """A fail-over to that replica."""
    stage.server.throw_back(stage.sale_id)
    return []


@verb("orphan", "quantity", "key")
async def orphan(stage: Stage, step: Step) -> list[str]:
    """orphan B1 -> held: a gate took the unit and died before it committed."""
    said: list[str] = []
    for buyer in step.names:
        ask = Ask(stage.ids.new_id(), buyer, step.number("quantity", 1), step.options.get("key", "orphan"), "body")
        taken = await stage.stock.take(stage.sale_id, [ask], now_ms=stage.ledger.clock.now_ms(), epoch_min=0)
        stage.latest[buyer] = ask.hold_id
        said.append(taken.takes[0].word.value)
    return said


@verb("late", "quantity", "key", "epoch")
async def late(stage: Stage, step: Step) -> list[str]:
    """late B1 [epoch=1] -> what the ledger says to the gate that was only paused and commits its orphan now."""
    said: list[str] = []
    for buyer in step.names:
        hold = Hold(
            hold_id=stage.latest[buyer],
            user_id=buyer,
            quantity=step.number("quantity", 1),
            key=step.options.get("key", "orphan"),
            digest="body",
            since_ms=stage.ledger.clock.now_ms(),
        )
        batch = CommitBatch(sale_id=stage.sale_id, epoch=step.number("epoch", 1), tick=1, holds=[hold])
        [answer] = await stage.orders.commit(batch)
        said.append(answer.word.value)
    return said


# ---------------------------------------------------------------------------------------------------- money


@verb("refund", "at")
async def refund(stage: Stage, step: Step) -> list[str]:
    """refund B1 -> refunded | refund_due | a refusal: the operator's word, the gateway's answer."""

    async def one(buyer: str) -> str:
        answer = await gate_of(stage, step).refunding.refund(stage.latest[buyer], OPERATOR)
        if isinstance(answer, Refusal):
            return answer.code.value
        return "none" if answer.payment is None else answer.payment.state.value.lower()

    return list(await asyncio.gather(*(one(buyer) for buyer in step.names)))


@verb("method", "to")
async def method(stage: Stage, step: Step) -> list[str]:
    """method B1 to=pm_declined: what the buyer has stored."""
    for buyer in step.names:
        await stage.ledger.charges.store_method(buyer, step.options["to"])
    return ["stored" for _ in step.names]


@verb("charge", "of")
async def charge(stage: Stage, step: Step) -> list[str]:
    """charge -> what became of every charge: a pass of the charger, and its end."""
    charging = worker_of(stage, step).charging
    started = await charging.run_once()
    await charging.stop()
    ended = await charging.run_once()
    counts = {word: started.get(word, 0) + ended.get(word, 0) for word in {*started, *ended}}
    return [word for word, count in sorted(counts.items()) for _ in range(count)]
