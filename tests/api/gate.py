"""A gate in memory: the real API and the real use cases on reference stores, and callers with tokens."""

import asyncio
import json
from collections import Counter
from typing import Any

from pydantic import SecretStr

from doorbuster.api.app import Api, create_app
from doorbuster.api.auth import sign
from doorbuster.api.http import Header, Reply, Request
from doorbuster.api.services import Services
from doorbuster.api.shapes import stamp
from doorbuster.config import load_settings
from doorbuster.domain.payment import Attempt
from doorbuster.engine.auditing import Auditing
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.committing import Committer
from doorbuster.engine.describing import Describer
from doorbuster.engine.distrust import Distrust
from doorbuster.engine.drawing import Drawing
from doorbuster.engine.entering import Entering
from doorbuster.engine.external import External
from doorbuster.engine.granting import Admitter
from doorbuster.engine.news import Newsroom
from doorbuster.engine.operating import Operating
from doorbuster.engine.ordering import Ordering
from doorbuster.engine.passes import Passes
from doorbuster.engine.paying import Paying
from doorbuster.engine.planning import Planning
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.engine.queueing import Queueing
from doorbuster.engine.rebuilding import Rebuilder
from doorbuster.engine.reconciling import Reconciler
from doorbuster.engine.refunding import Refunding
from doorbuster.engine.rehearsing import Rehearsing
from doorbuster.engine.releasing import Releaser
from doorbuster.engine.reporting import Reporting
from doorbuster.engine.selling import Selling
from doorbuster.engine.shop_endpoints import Webhooks
from doorbuster.engine.tickets import Tickets
from doorbuster.engine.waitlist import PushTerms, Waitlist
from doorbuster.engine.watching import LineWatch
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.gateway import ReferenceGateway
from doorbuster.reference.news import ReferenceNewsStore
from doorbuster.reference.shop import ReferenceShop
from doorbuster.reference.shop_events import ReferenceEndpointStore, ReferenceSender
from helpers.balance import MemoryBalance

SECRET = "a secret of the tests, thirty-two bytes long at least"
ADMIN = "the operator's token of the tests"
Body = dict[str, Any]


_SYNC = frozenset({"take_one", "ask_one"})


def _refuse(*_: object, **__: object) -> object:
    raise StoreUnavailable("cut off")


async def _refuse_later(*_: object, **__: object) -> object:
    raise StoreUnavailable("cut off")


async def _metrics() -> bytes:
    return b"# metrics"


async def _nobody_looks(attempt: Attempt) -> None:
    del attempt


class _Counts:
    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()

    def count(self, code: str) -> None:
        self.answers[code] += 1

    def took(self, seconds: float) -> None:
        assert seconds >= 0


class Answer:
    """A reply, read."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = dict(reply.headers)
        self.content_type = reply.content_type.decode()
        self.raw = reply.body

    @property
    def json(self) -> Body:
        document: Body = json.loads(self.raw)
        return document

    @property
    def code(self) -> str:
        """The problem's code; empty for a success."""
        return str(self.json.get("code", "")) if self.content_type == "application/problem+json" else ""


class Gate:
    """`call` sends one request; `order`, `pay` and `sale` are the common ones."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.ids = SeededIds(1)
        self.shop = ReferenceShop(self.clock, self.ids)
        self.gateway = ReferenceGateway()
        self.counts = _Counts()
        self.problems: list[str] = []
        self._cut_off = False
        self.settings = load_settings(
            **{"buyer_secret": SecretStr(SECRET), "admin_token": SecretStr(ADMIN), "dev_identities": True, **settings}
        )
        shop, clock, ids = self.shop, self.clock, self.ids
        self.payments = shop.payments
        self.balance = MemoryBalance(self.payments)
        self.news = ReferenceNewsStore(self.payments)
        self.endpoints, self.sender = ReferenceEndpointStore(clock, ids), ReferenceSender()
        self.board = SaleBoard(shop.sales, clock)
        releaser = Releaser(shop.sales, shop.orders, shop.stock)
        self.committer = Committer(shop.orders, shop.stock, clock, ids)
        distrust, ordering = Distrust(shop.sales), Ordering(shop.orders, releaser)
        self.watch = LineWatch(self.board, shop.lines, shop.stock, clock)
        self.tickets = Tickets(shop.lines)
        self.passes = self._passes()
        self.services = Services(
            selling=self._selling(distrust),
            board=self.board,
            ordering=ordering,
            operating=self._operating(releaser),
            auditing=Auditing(sales=shop.sales, orders=shop.orders, audits=shop.audits, stock=shop.stock, clock=clock),
            paying=Paying(payments=self.payments, gateway=self.gateway, clock=clock, ids=ids),
            refunding=self._refunding(releaser),
            reconciler=Reconciler(sales=shop.sales, balance=self.balance, gateway=self.gateway, clock=clock),
            charges=shop.charges,
            newsroom=Newsroom(
                store=self.news,
                payments=self.payments,
                gateway=self.gateway,
                clock=clock,
                examine=_nobody_looks,
            ),
            passes=self.passes,
            external=External(shop.reports, ordering, ids),
            queueing=self._queueing(ordering, distrust),
            drawing=Drawing(shop.draws, None, asyncio.to_thread),
            watch=self.watch,
            reporting=self._reporting(),
            planning=Planning(shop.sales, shop.timeline, frozenset(), {}),
            rehearsing=Rehearsing(shop.rehearsals, shop.sales, shop.timeline, shop.ids),
            fleet=shop.fleet,
            monitor=shop.monitor,
            actions=shop.actions,
            waitlist=Waitlist(shop.waitlist, self.board, clock, PushTerms("key", ["push.example.com"])),
            webhooks=Webhooks(store=self.endpoints, sender=self.sender, clock=clock, ids=ids),
            ready=self._ready,
            metrics=_metrics,
            counters=self.counts,
            book=self._book,
        )
        self.api: Api = create_app(self.services, self.settings, clock, ids)
        self.sale_id = ""

    def _operating(self, releaser: Releaser) -> Operating:
        shop = self.shop
        return Operating(
            sales=shop.sales,
            orders=shop.orders,
            stock=shop.stock,
            board=self.board,
            rebuilder=Rebuilder(shop.sales, shop.stock, shop.line, shop.lines),
            releaser=releaser,
            refunding=self._refunding(releaser),
            clock=self.clock,
            ids=self.ids,
        )

    def _passes(self) -> Passes:
        settings = self.settings
        return Passes(
            self.shop.pass_keys,
            self.board,
            self.clock,
            issuer=settings.pass_issuer,
            audience=settings.pass_audience,
        )

    def _selling(self, distrust: Distrust) -> Selling:
        return Selling(
            board=self.board,
            committer=self.committer,
            stock=self.shop.stock,
            orders=self.shop.orders,
            distrust=distrust,
            clock=self.clock,
            ids=self.ids,
        )

    def _refunding(self, releaser: Releaser) -> Refunding:
        return Refunding(
            payments=self.payments,
            orders=self.shop.orders,
            gateway=self.gateway,
            releaser=releaser,
            clock=self.clock,
        )

    def _queueing(self, ordering: Ordering, distrust: Distrust) -> Queueing:
        shop, clock, ids = self.shop, self.clock, self.ids
        self.describer = describer = Describer(self.watch, self.tickets, clock, ids, self.passes)
        return Queueing(
            board=self.board,
            line=shop.line,
            ledger=shop.lines,
            orders=shop.orders,
            ordering=ordering,
            entering=Entering(shop.draws, describer, clock, ids),
            describer=describer,
            tickets=self.tickets,
            distrust=distrust,
            clock=clock,
            ids=ids,
        )

    async def _ready(self) -> list[str]:
        return self.problems

    def _reporting(self) -> Reporting:
        shop = self.shop
        return Reporting(
            sales=shop.sales,
            audits=shop.audits,
            figures=shop.timeline,
            timeline=shop.timeline,
            monitor=shop.monitor,
            stock=shop.stock,
            clock=self.clock,
        )

    def cut_off(self) -> None:
        """From here on no store, no gateway and no clock answers."""
        self._cut_off = True
        for store in (*self.shop.stores, self.balance, self.news, self.endpoints):
            for name in dir(type(store)):
                if not name.startswith("_") and callable(getattr(store, name)):
                    setattr(store, name, _refuse if name in _SYNC else _refuse_later)
        for name in ("_rows", "_missing"):
            getattr(self.board, name).clear()

    async def _book(self) -> list[object]:
        if self._cut_off:
            raise StoreUnavailable("cut off")
        return [{"order_id": charge} for charge in self.gateway.charges]

    async def start(self) -> None:
        self.committer.start()
        await self.tickets.refresh()
        await self.passes.refresh()
        self.sale_id = (await self.create()).json["sale_id"]

    async def stop(self) -> None:
        await self.services.paying.stop()
        await self.committer.stop()

    def terms(self, **changes: Any) -> Body:
        """A good body for creating a sale; a change to None leaves the field out."""
        now = self.clock.now_ms()
        body: Body = {
            "product_id": "sneaker",
            "title": "Sneaker",
            "quantity_available": 3,
            "price_cents": 1000,
            "currency": "EUR",
            "start_time": stamp(now - 1_000),
            "end_time": stamp(now + 3_600_000),
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def token(
        self, user_id: str = "ann", *, secret: str = SECRET, audience: str = "doorbuster", ttl_s: int = 600
    ) -> str:
        return sign(secret, user_id, audience=audience, now_s=self.clock.now_ms() // 1000, ttl_s=ttl_s)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; `raw` is a body as it is."""
        sent: list[Header] = [(b"content-type", b"application/json")]
        if token is not None:
            sent.append((b"authorization", f"Bearer {token}".encode()))
        if key is not None:
            sent.append((b"idempotency-key", key.encode()))
        sent += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        bare, _, query = path.partition("?")
        return Answer(await self.api.dispatch.answer(Request(method, bare, query.encode(), sent, content)))

    async def create(self, **changes: Any) -> Answer:
        return await self.call("POST", "/v1/admin/sales", self.terms(**changes), token=ADMIN)

    async def admin(self, method: str, path: str, body: object = None, *, operator: str | None = None) -> Answer:
        headers = None if operator is None else {"X-Operator": operator}
        return await self.call(method, f"/v1/admin{path}", body, token=ADMIN, headers=headers)

    async def order(self, user_id: str = "ann", *, key: str = "key", quantity: int = 1, sale: str = "") -> Answer:
        path = f"/v1/sales/{sale or self.sale_id}/orders"
        return await self.call("POST", path, {"quantity": quantity}, token=self.token(user_id), key=key)

    async def pay(self, order_id: str, user_id: str = "ann", *, method: str = "pm_ok", key: str = "pay") -> Answer:
        path = f"/v1/orders/{order_id}/payment"
        return await self.call("POST", path, {"payment_method": method}, token=self.token(user_id), key=key)

    async def line(self, **changes: Any) -> str:
        """A sale with a line; its id."""
        answer = await self.create(**{"mode": "queue", **changes})
        assert answer.status == 201, answer.raw
        sale_id: str = answer.json["sale_id"]
        return sale_id

    async def join(self, sale_id: str, user_id: str = "ann", ticket: str | None = None) -> Answer:
        body = None if ticket is None else {"ticket": ticket}
        return await self.call("POST", f"/v1/sales/{sale_id}/queue", body, token=self.token(user_id))

    async def place(self, sale_id: str, user_id: str = "ann", query: str = "") -> Answer:
        return await self.call("GET", f"/v1/sales/{sale_id}/queue/me{query}", token=self.token(user_id))

    async def leave(self, sale_id: str, user_id: str = "ann") -> Answer:
        return await self.call("DELETE", f"/v1/sales/{sale_id}/queue/me", token=self.token(user_id))

    async def admit(self, sale_id: str) -> int:
        """One pass of an admitter; how many were granted."""
        sale = await self.shop.sales.get(sale_id)
        assert sale is not None
        admitter = Admitter(
            line=self.shop.line,
            orders=self.shop.orders,
            distrust=Distrust(self.shop.sales),
            clock=self.clock,
            ids=self.ids,
        )
        granted = (await admitter.run_once(sale)).granted
        await self.board.refresh()
        return granted

    async def state(self) -> tuple[Any, ...]:
        """Everything a refused request must leave as it was."""
        sale = await self.shop.sales.get(self.sale_id)
        image = await self.shop.stock.summary(self.sale_id)
        units = None if image is None else (image.available, image.stock, image.held)
        return (sale, await self.shop.all_orders(self.sale_id), units)
