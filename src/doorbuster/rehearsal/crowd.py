"""A crowd at work in a race: every buyer of a plan, over real HTTP, at its own time.

Owns: what a buyer does with each answer, and what is measured. The generator is open-loop: a buyer comes when the plan
says, however slow the servers are, and the latency of a request counts from the moment it was meant to be sent.
Read next: `line_crowd.py`, the same in a line.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec

from doorbuster.api.auth import sign
from doorbuster.rehearsal.client import Answer, Client, Lost
from doorbuster.rehearsal.histogram import Histogram
from doorbuster.rehearsal.line_seen import LineNow, LineSeen
from doorbuster.rehearsal.plan import Buyer, CrowdPlan, Fate, draw_crowd

_TOKEN_TTL_S = 3600
_TRIES = 3
"""Times a good card is tried, as often as a sale allows by default."""
BOT_PAUSE_S = 0.5
"""Between the requests of a program, whatever it was told."""
_AWAY = frozenset({"sold-out", "ended", "not-found"})
_FINAL = _AWAY | {"blocked", "already-purchased", "limit-exceeded"}


class CrowdTask(msgspec.Struct, kw_only=True):
    """What a crowd process is told."""

    url: str
    sale_id: str
    plan: CrowdPlan
    buyer_secret: str
    audience: str
    connections: int = 128
    """For asking. Those who have a unit pay over as many of their own: a real buyer does not queue behind the crowd."""
    give_up_s: float = 55.0
    """Counted from the start of the sale: then everybody goes home, whatever is left."""
    mode: str = "race"
    settle_s: float = 0.0
    """Nobody enters a draw before so long after the crowd was told: gates have to hear of it."""
    kid: str = ""
    """Names the secret in the tokens, where a gate has several."""


class Progress(msgspec.Struct, kw_only=True):
    """The crowd at one moment."""

    requests: int
    arrived: int
    gone: int
    orders: int
    paid: int
    unknown: int
    tired: int
    """Buyers who would have gone on but for `give_up_s`; their demand was not met."""
    turned_away: int = 0
    """Buyers who were told that nothing is left, or that there is no such sale."""
    answers: dict[str, int]
    p50_ms: float
    p99_ms: float
    bots_paid: int = 0
    """Of `paid`, those of programs."""
    peak_per_s: float = 0.0
    """Requests in the busiest second."""
    line: LineNow | None = None
    """In a line only."""
    done: bool = False


class Result(Progress, kw_only=True):
    """The crowd at the end. `acknowledged` maps each order the crowd was told of to its buyer."""

    max_ms: float
    acknowledged: dict[str, str]
    paid_orders: list[str]
    cpu_s: float = 0.0
    latency: dict[int, int] = {}
    """Requests by bucket of their latency."""
    seconds: dict[int, int] = {}
    """Requests by second after the start."""
    seen: LineSeen | None = None
    """What a line was like for those in it."""


class _Problem(msgspec.Struct):
    code: str = ""


class _Order(msgspec.Struct):
    order_id: str
    status: str


_problems = msgspec.json.Decoder(_Problem)
_orders = msgspec.json.Decoder(_Order)


class Crowd:
    """`run` ends when everybody has gone home. `clock` is seconds of the same clock `opens_at` is told in."""

    def __init__(self, task: CrowdTask, client: Client, checkout: Client, clock: Callable[[], float]) -> None:
        self._task = task
        self._client = client
        self._checkout = checkout
        self._clock = clock
        self._now_s = 0
        self._opens_at = 0.0
        self.latency = Histogram()
        self.answers: Counter[str] = Counter()
        self.acknowledged: dict[str, str] = {}
        self.paid: list[str] = []
        self.unknown = 0
        self.tired = 0
        self.turned_away = 0
        self.bots_paid = 0
        self.arrived = 0
        self.gone = 0
        self._seconds: Counter[int] = Counter()

    async def run(self, opens_at: float, now_s: int) -> None:
        """`opens_at` on our clock; `now_s` is the wall's time, for the tokens."""
        self._opens_at, self._now_s = opens_at, now_s
        await asyncio.gather(*[asyncio.ensure_future(buyer) for buyer in self._everybody()])

    def _everybody(self) -> Iterator[Coroutine[Any, Any, None]]:
        return (self._buyer(buyer, self._headers(buyer)) for buyer in draw_crowd(self._task.plan))

    def progress(self) -> Progress:
        return Progress(**self._numbers())

    def result(self, cpu_s: float) -> Result:
        return Result(
            **self._numbers(),
            done=True,
            max_ms=self.latency.max_s * 1000,
            acknowledged=self.acknowledged,
            paid_orders=self.paid,
            cpu_s=cpu_s,
            latency=self.latency.counts(),
            seconds=dict(self._seconds),
        )

    def _numbers(self) -> dict[str, Any]:
        return {
            "requests": self._client.requests + self._checkout.requests,
            "arrived": self.arrived,
            "gone": self.gone,
            "orders": len(self.acknowledged),
            "paid": len(self.paid),
            "unknown": self.unknown,
            "tired": self.tired,
            "turned_away": self.turned_away,
            "bots_paid": self.bots_paid,
            "answers": dict(self.answers),
            "p50_ms": self.latency.percentile(50) * 1000,
            "p99_ms": self.latency.percentile(99) * 1000,
            "peak_per_s": float(max(self._seconds.values(), default=0)),
        }

    def _token(self, buyer: Buyer) -> str:
        return sign(
            self._task.buyer_secret,
            buyer.user_id,
            audience=self._task.audience,
            now_s=self._now_s,
            ttl_s=_TOKEN_TTL_S,
            kid=self._task.kid,
        )

    def _headers(self, buyer: Buyer) -> bytes:
        return f"authorization: Bearer {self._token(buyer)}\r\n".encode()

    async def _buyer(self, buyer: Buyer, headers: bytes) -> None:
        intended = self._opens_at + buyer.arrives_s
        await self._until(intended)
        self.arrived += 1
        order_id = await self._reserve(buyer, headers, intended)
        if order_id is not None:
            self.acknowledged[order_id] = buyer.user_id
            await self._decide(buyer, headers, order_id)
        self.gone += 1

    async def _reserve(self, buyer: Buyer, headers: bytes, intended: float) -> str | None:
        """The id of an order, or None when this buyer goes home without one."""
        path = f"/v1/sales/{self._task.sale_id}/orders"
        keyed = headers + f"idempotency-key: {buyer.user_id}\r\n".encode()
        clicks = 2 if buyer.double_click else 1
        while self._clock() < self._opens_at + self._task.give_up_s:
            asks = (
                self._ask(self._client, "POST", path, keyed, b'{"quantity":1}', intended=intended)
                for _ in range(clicks)
            )
            answers = await asyncio.gather(*asks)
            clicks = 1
            won = next((answer for answer in answers if answer is not None and answer.status == 201), None)
            if won is not None:
                return _orders.decode(won.body).order_id
            answer = answers[0]
            wait_s = 0.2 + buyer.pace / 2
            if answer is not None:
                code = code_of(answer)
                self.turned_away += code in _AWAY
                if code in _FINAL or (code == "all-held" and not buyer.patient):
                    return None
                wait_s = max(answer.retry_after_s, 0.1) * (0.9 + 0.2 * buyer.pace)
                if code == "not-started":
                    wait_s = max(0.0, self._opens_at - self._clock()) + buyer.pace * 0.5
                if buyer.bot:
                    wait_s = BOT_PAUSE_S
            intended = self._clock() + wait_s
            await self._until(intended)
        self.tired += 1
        return None

    async def _decide(self, buyer: Buyer, headers: bytes, order_id: str) -> None:
        match buyer.fate:
            case Fate.ABANDONS:
                return
            case Fate.CANCELS:
                await self._ask(
                    self._checkout, "DELETE", f"/v1/orders/{order_id}", headers, b"", intended=self._clock()
                )
            case Fate.DECLINED_AND_LEAVES:
                await self._pay(headers, order_id, "pm_declined", buyer)
            case Fate.DECLINED_THEN_PAYS:
                await self._pay(headers, order_id, "pm_declined", buyer)
                await self._insist(headers, order_id, buyer)
            case Fate.PAYS:
                await self._insist(headers, order_id, buyer)

    async def _insist(self, headers: bytes, order_id: str, buyer: Buyer) -> None:
        """A good card that a gateway in trouble refuses is tried again, as a person would."""
        for number in range(_TRIES):
            if await self._pay(headers, order_id, "pm_ok", buyer, number):
                return

    async def _pay(self, headers: bytes, order_id: str, method: str, buyer: Buyer, number: int = 0) -> bool:
        """Until the answer is definite; the same key throughout. Whether there is nothing left to try."""
        keyed = headers + f"idempotency-key: {method} {number} {order_id}\r\n".encode()
        path, body = f"/v1/orders/{order_id}/payment", b'{"payment_method":"%s"}' % method.encode()
        while self._clock() < self._opens_at + self._task.give_up_s:
            answer = await self._ask(self._checkout, "POST", path, keyed, body, intended=self._clock())
            if answer is not None and answer.status == 200:
                self.paid.append(order_id)
                self.bots_paid += buyer.bot
                return True
            if answer is not None and answer.status not in {202, 429, 503}:
                return answer.status != 402
            wait_s = 0.3 if answer is None else max(answer.retry_after_s, 0.3)
            await self._until(self._clock() + wait_s * (1 + buyer.pace / 2))
        return True

    async def _ask(
        self, client: Client, method: str, path: str, headers: bytes, body: bytes, *, intended: float
    ) -> Answer | None:
        """None: the answer was lost. Every answer is counted and its latency taken from `intended`."""
        try:
            answer = await client.ask(method, path, headers, body)
        except Lost:
            self.unknown += 1
            return None
        if answer.status < 400 and not answer.body.startswith(b"{"):
            answer = Answer(502, b"", 0.0)  # a page of whoever stands before the gates is no answer of theirs
        now = self._clock()
        self.latency.record(now - intended)
        self._seconds[math.floor(now - self._opens_at)] += 1
        self.answers[_kind(answer)] += 1
        return answer

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self._clock()))


def _kind(answer: Answer) -> str:
    if answer.status < 400:
        return {200: "done", 201: "reserved", 202: "under way"}.get(answer.status, str(answer.status))
    return code_of(answer)


def code_of(answer: Answer) -> str:
    """The code of a refusal, or its status where there is none."""
    try:
        return _problems.decode(answer.body).code or str(answer.status)
    except msgspec.DecodeError:
        return str(answer.status)
